"""Where the control socket of this container's node is.

Only the standard library is imported until more is needed: reading a config as the node does takes
half a second of imports, and most configs do not mention the socket.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

DEFAULT_SOCKET = Path("/run/tunmesh/control.sock")
SOCKET_VARIABLE = "TUNMESH_SOCKET"


def socket_path(option: str | None, environ: Mapping[str, str]) -> Path | None:
    """What was said, or what the node's config says, or the default; None where the config wants no
    socket. Raises OperatorError for a config that cannot be used."""
    said = option or environ.get(SOCKET_VARIABLE)
    return Path(said) if said else _configured(environ)


def _configured(environ: Mapping[str, str]) -> Path | None:
    path = Path(environ.get("TUNMESH_CONFIG_PATH") or "/etc/tunmesh/config.yaml")
    try:
        if "admin" not in path.read_text(encoding="utf-8"):
            return DEFAULT_SOCKET
    except (OSError, ValueError):
        return DEFAULT_SOCKET
    from tunmesh.config import loading

    return loading.load(path, environ, lambda low, _: low).admin.socket
