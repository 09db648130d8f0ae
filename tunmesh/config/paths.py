"""Where the control socket of this container's node is.

Only the standard library is imported until more is needed, since health checks ask every few
seconds: most configs do not mention the socket, and of one that does only the YAML is read. To
check a config as the node does takes five times as long.
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
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return DEFAULT_SOCKET
    if "admin" not in text or "socket" not in text:
        return DEFAULT_SOCKET
    from tunmesh.config.file import ConfigError, read

    document = read(path, environ)
    if document.problems:
        raise ConfigError(path, document.problems)
    value = document.part(("tun_mesh", "admin"))
    if not isinstance(value, dict) or "socket" not in value:
        return DEFAULT_SOCKET
    said = value["socket"]
    return path.absolute().parent / said if isinstance(said, str) and said else None
