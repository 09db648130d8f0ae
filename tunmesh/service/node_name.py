"""The name of a node with `node_name: auto`: the one under which the DNS knows its address.

Docker and podman give a container a random host name, and answer a reverse lookup of its address
with its name and network: project-web-3.project_default. Container names stay the same when a
service is scaled down and up again, so the first label is a name that a replica keeps. It becomes a
DNS label, so that project_web_3, as Compose 1 has it, is the same node. In all other places the
host name is the better one: a pod's is the name of the pod, and what a cluster's or a cloud's DNS
says of an address is mostly the address again (10-244-1-7, ip-10-0-0-5).

One query over UDP, to the first name server that is not in the mesh itself, by a child process: for
use before the reactor runs. If applications of this container use the mesh's name server only, it
goes to Docker's. resolv.conf(5); RFC 1035, section 3.5; RFC 3596, section 2.5.
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address
from typing import Any

from tunmesh.addresses import Address, Network
from tunmesh.config.values import AUTO
from tunmesh.host.helper_process import run_in_child
from tunmesh.names import resolv_conf
from tunmesh.netlink import own_address

PATIENCE = 1.0  # seconds in all

_DNS_PORT = 53
_LONGEST = 65535  # bytes of an answer
_DOCKER = ip_address("127.0.0.11")  # on all networks but the default one
_NOT_IN_A_LABEL = re.compile(r"[^a-z0-9-]")


@dataclass(frozen=True, slots=True)
class ChosenName:
    """A node's name. `why` says where it comes from, and is empty if the config says so."""

    name: str
    why: str = ""


def choose(
    configured: str | None,
    networks: Sequence[Network],
    servers: Sequence[Address] = (),
    port: int = _DNS_PORT,
) -> ChosenName:
    """The name of this node. `networks` are those of the mesh: a name server there cannot be
    reached yet. `servers`, if there are any, are asked instead of those in resolv.conf. It blocks,
    for `PATIENCE` at most."""
    host = socket.gethostname()
    if configured != AUTO:
        return ChosenName(configured or host)
    answer = (
        run_in_child(partial(_look_up, networks, servers, port)).decode() or "!the lookup crashed"
    )
    if answer.startswith("!"):
        return ChosenName(host, f"the host name, because {answer[1:]}")
    name, _, address = answer.partition(" ")
    return ChosenName(name, f"the name of {address} in the DNS")


def is_address_like(label: str, address: Address) -> bool:
    """Whether a label only repeats the address: 10-244-1-7, ip-10-0-0-5, 7-1-244-10-static,
    0af40107, fd00-10-244--7."""
    if label.isdecimal():
        return True
    if address.version == 4:
        octets = str(address).split(".")
        numbers = re.findall(r"\d+", label)
        runs = [numbers[at : at + 4] for at in range(len(numbers) - 3)]
        return octets in runs or octets[::-1] in runs or address.packed.hex() in label.lower()
    try:
        return ip_address(label.replace("-", ":")) == address
    except ValueError:
        return address.packed.hex() in label.replace("-", "").lower()


def _look_up(networks: Sequence[Network], servers: Sequence[Address], port: int) -> bytes:
    """What the child finds: the name and the address, or `!` and why there is none."""
    try:
        return _reverse(networks, servers, port).encode()
    except OSError as error:
        return f"!the reverse lookup failed: {error.strerror or error}".encode()


def _reverse(networks: Sequence[Network], servers: Sequence[Address], port: int) -> str:
    if not servers:
        text = resolv_conf.PATH.read_text(errors="replace")
        servers = tuple(map(ip_address, resolv_conf.nameservers(text, ())))
    outside = (each for each in servers if not any(each in network for network in networks))
    server = next(outside, _DOCKER)
    address = ip_address(own_address.guess(networks, [(str(server), _DNS_PORT)]))
    if address.is_loopback:
        return "!this machine has no address yet"
    name = _ask(server, port, address)
    if name is None:
        return f"!{server} knows no name of {address}"
    label = _NOT_IN_A_LABEL.sub("-", name.partition(".")[0].lower()).strip("-")
    if not label or is_address_like(label, address):
        return f"!{address} is {name} in the DNS, which names no container"
    return f"{label} {address}"


def _ask(server: Address, port: int, address: Address) -> str | None:
    """The first name of the address; None if there is none. Raises OSError."""
    from twisted.names import dns  # in the child only

    asked = dns.Message(id=int.from_bytes(address.packed[-2:]) ^ time.monotonic_ns() & 0xFFFF)
    asked.recDes = True
    asked.addQuery(address.reverse_pointer.encode(), dns.PTR)
    family = socket.AF_INET6 if server.version == 6 else socket.AF_INET
    end = time.monotonic() + PATIENCE
    with socket.socket(family, socket.SOCK_DGRAM) as connected:
        connected.connect((str(server), port))  # answers of others are not received
        connected.send(asked.toStr())
        while (left := end - time.monotonic()) > 0:
            connected.settimeout(left)
            try:
                data = connected.recv(_LONGEST)
            except TimeoutError:
                break
            answer = dns.Message()
            try:
                answer.fromStr(data)
            except Exception:  # noqa: S112 (whatever the codec makes of garbage)
                continue
            if answer.answer and answer.id == asked.id:
                pointers: list[Any] = [each for each in answer.answers if each.type == dns.PTR]
                name = pointers[0].payload.name.name if pointers else None
                return None if name is None else str(name, "ascii", "replace")
    raise TimeoutError(f"no answer from {server} within {PATIENCE:.0f} s")
