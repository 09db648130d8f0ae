"""wireguard-go with the MTU 1420 that `wg-quick` would choose for this cable.

Its control socket under /run is named after the interface, which is the same in every namespace. So
each gets its own /run, which also cleans up after it.
"""

from __future__ import annotations

import shlex
from base64 import b64encode

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from bench.contender import INNER_LEFT, INNER_RIGHT, Contender
from bench.lab import Ground

PORT = 51820
CONFIG = """\
[Interface]
PrivateKey = {private}
ListenPort = {port}
[Peer]
PublicKey = {public}
AllowedIPs = {other}/32
Endpoint = {address}:{port}
"""
# The daemon is configured over its socket, which it takes a moment to create.
START = """\
mount -t tmpfs none /run && mkdir /run/wireguard || exit 1
(
  for _ in $(seq 1000); do [ -S /run/wireguard/wg1.sock ] && break; sleep 0.005; done
  wg setconf wg1 wg.conf && ip address add {own}/24 dev wg1 && ip link set wg1 up
) &
exec {program} --foreground wg1
"""


def prepare(ground: Ground, program: str) -> None:
    """Write configs, and the script that starts `program`."""
    left, right = X25519PrivateKey.generate(), X25519PrivateKey.generate()
    for host, peer, own, other, mine, theirs in (
        (ground.left, ground.right, INNER_LEFT, INNER_RIGHT, left, right),
        (ground.right, ground.left, INNER_RIGHT, INNER_LEFT, right, left),
    ):
        config = CONFIG.format(
            private=b64encode(mine.private_bytes_raw()).decode(),
            public=b64encode(theirs.public_key().public_bytes_raw()).decode(),
            other=other,
            address=peer.address,
            port=PORT,
        )
        (host.directory / "wg.conf").write_text(config)
        (host.directory / "start").write_text(START.format(own=own, program=shlex.quote(program)))


def start(ground: Ground) -> None:
    for host in ground.hosts:
        host.start_daemon("unshare", "--mount", "sh", "start")


def contender(name: str = "wireguard-go", program: str = "wireguard-go") -> Contender:
    """`program`: a name or a path."""
    return Contender(
        name=name,
        about="user space, MTU 1420",
        version=(program, "--version"),
        released={},
        needs={program: "wireguard-go", "wg": "wireguard-tools", "ip": "iproute2"},
        prepare=lambda ground: prepare(ground, program),
        start=start,
    )
