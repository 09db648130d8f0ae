"""The yardstick: bench/relay.c, the least that one TLS connection between two tun devices takes."""

from __future__ import annotations

from bench.contender import INNER_LEFT, INNER_RIGHT, Contender
from bench.lab import Pair
from bench.tools import compile_program
from tunmesh.localmesh.plan import self_signed_certificate

PORT = "4000"


def prepare(pair: Pair) -> None:
    compile_program("relay", pair.directory.parent, "-lssl", "-lcrypto")
    certificate, key = self_signed_certificate()
    for host, own in (pair.left, INNER_LEFT), (pair.right, INNER_RIGHT):
        (host.directory / "certificate.pem").write_bytes(certificate)
        (host.directory / "key.pem").write_bytes(key)
        host.run("ip", "tuntap", "add", "tun1", "mode", "tun", "vnet_hdr")
        host.run("ip", "address", "add", f"{own}/24", "dev", "tun1")
        host.run("ip", "link", "set", "tun1", "up")


def start(pair: Pair) -> None:
    program = str(pair.directory.parent / "relay")
    for host, role in (pair.left, "listen"), (pair.right, "connect"):
        files = ("certificate.pem", "key.pem")
        host.start_daemon(program, role, pair.left.address, PORT, "tun1", *files)


CONTENDER = Contender(
    name="relay",
    about="bench/relay.c: one thread, TLS 1.3 AES-256-GCM over TCP, tun offload",
    needs={"cc": "gcc", "ip": "iproute2"},
    prepare=prepare,
    start=start,
)
