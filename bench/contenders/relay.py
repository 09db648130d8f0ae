"""The baseline: bench/relay.c, the minimum for one TLS connection between two tun devices."""

from __future__ import annotations

from bench.contender import INNER_LEFT, INNER_RIGHT, Contender
from bench.lab import Ground
from bench.tools import compile_program
from tunmesh.localmesh.plan import self_signed_certificate

PORT = 4000


def prepare(ground: Ground) -> None:
    compile_program("relay", ground.directory.parent, "-lssl", "-lcrypto")
    certificate, key = self_signed_certificate()
    for host, own in (ground.left, INNER_LEFT), (ground.right, INNER_RIGHT):
        (host.directory / "certificate.pem").write_bytes(certificate)
        (host.directory / "key.pem").write_bytes(key)
        host.run("ip", "tuntap", "add", "tun1", "mode", "tun", "vnet_hdr")
        host.run("ip", "address", "add", f"{own}/24", "dev", "tun1")
        host.run("ip", "link", "set", "tun1", "up")


def start(ground: Ground) -> None:
    program = str(ground.directory.parent / "relay")
    for host, role in (ground.left, "listen"), (ground.right, "connect"):
        files = ("certificate.pem", "key.pem")
        where = f"{ground.left.address}:{PORT}"
        host.start_daemon(program, role, where, "tun1", *files)


CONTENDER = Contender(
    name="relay",
    about="bench/relay.c: one thread, TLS 1.3 AES-256-GCM over TCP, tun offload",
    needs={"cc": "gcc", "ip": "iproute2"},
    prepare=prepare,
    start=start,
)
