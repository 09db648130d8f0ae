"""The name servers of this machine, as /etc/resolv.conf lists them: resolv.conf(5)."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address
from pathlib import Path

from tunmesh.addresses import Address, literal_address

PATH = Path("/etc/resolv.conf")
MAX_SERVERS = 3  # MAXNS: the C library ignores more
_MAX_SIZE = 65536  # characters that are read


def read(ours: Iterable[Address], path: Path = PATH) -> tuple[str, ...]:
    """The name servers in the file; none if it cannot be read."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return nameservers(file.read(_MAX_SIZE), ours)
    except OSError:
        return ()


def nameservers(text: str, ours: Iterable[Address]) -> tuple[str, ...]:
    """The addresses of the servers, without `ours`: a node must not ask itself. As in the C
    library, lines that cannot be parsed are ignored."""
    found = []
    for line in text.splitlines():
        words = line.split()
        is_named = len(words) >= 2 and words[0] == "nameserver"
        if is_named and literal_address(words[1]) is not None:
            found.append(words[1])
    mine = set(ours)
    given = (each for each in found[:MAX_SERVERS] if ip_address(each) not in mine)
    return tuple(dict.fromkeys(given))
