"""The limit on a node's open file descriptors.

Most programs start with a soft limit of 1,024, because select(2) can handle no more. A node does
not use select; the hard limit is far higher (systemd.exec(5), LimitNOFILE). Each link takes a
descriptor, and one member may open more than 1,024 of them under different identities. With the
soft limit, nobody else could then connect, health probes included.
"""

from __future__ import annotations

import resource
from contextlib import suppress


def raise_limit() -> int:
    """Raise the soft limit to the hard one, which needs no privilege. Returns the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):  # then it stays as it is
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    return soft
