"""wireguard-go as Debian has it, its MTU 1420 as `wg-quick` would choose for this cable.

It puts a control socket under /run, by the name of its interface and not by its namespace. So each
gets a /run of its own, which also leaves nothing behind.
"""

from __future__ import annotations

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
# The daemon takes its keys over the socket that it makes, so somebody has to wait for that, and not
# for ever.
START = """\
mount -t tmpfs none /run && mkdir /run/wireguard || exit 1
(
  for _ in $(seq 1000); do [ -S /run/wireguard/wg1.sock ] && break; sleep 0.005; done
  wg setconf wg1 wg.conf && ip address add {own}/24 dev wg1 && ip link set wg1 up
) &
exec wireguard-go --foreground wg1
"""


def prepare(ground: Ground) -> None:
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
        (host.directory / "start").write_text(START.format(own=own))


def start(ground: Ground) -> None:
    for host in ground.hosts:
        host.start_daemon("unshare", "--mount", "sh", "start")


CONTENDER = Contender(
    name="wireguard-go",
    about="user space, MTU 1420",
    version=("wireguard-go", "--version"),
    needs={"wireguard-go": "wireguard-go", "wg": "wireguard-tools", "ip": "iproute2"},
    prepare=prepare,
    start=start,
)
