"""How many file descriptors a node may have.

Programs start with a soft limit of 1,024 in most places, for the sake of select(2), which a node
does not use; the hard limit is far higher (systemd.exec(5), LimitNOFILE). Each link takes one, and
members decide how many there are: the identities of one of them may take more than 1,024, and then
nobody gets in, probes of health neither.
"""

from __future__ import annotations

import resource
from contextlib import suppress


def raise_limit() -> int:
    """Have as many as may be had without a privilege; how many that are."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):  # then it stays as it is
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    return soft
