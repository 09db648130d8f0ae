"""OpenVPN 2.6, point to point, certificates checked by fingerprint, AES-256-GCM.

Everything else is the default (tun-mtu 1500, mssfix). It runs in user space: Debian has no kernel
module (DCO), and where one is installed, `disable-dco` turns it off.
"""

from __future__ import annotations

from collections.abc import Callable

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from bench.contender import INNER_LEFT, INNER_RIGHT, Contender
from bench.lab import Ground
from tunmesh.localmesh.plan import self_signed_certificate

CONFIG = """\
dev tun1
dev-type tun
ifconfig {own} {other}
cert certificate.pem
key key.pem
peer-fingerprint {fingerprint}
cipher AES-256-GCM
data-ciphers AES-256-GCM
disable-dco
ping 10
{role}
"""
SERVER = "tls-server\ndh none\nlocal {address}\nproto {server}"
CLIENT = "tls-client\nconnect-retry 1\nnobind\nremote {address}\nproto {client}"
PROTOCOLS = {
    "udp": {"server": "udp", "client": "udp"},
    "tcp": {"server": "tcp-server", "client": "tcp-client"},
}


def prepare(protocol: str) -> Callable[[Ground], None]:
    """`protocol` is udp or tcp."""

    def write(ground: Ground) -> None:
        certificate, key = self_signed_certificate()
        parsed = x509.load_pem_x509_certificate(certificate)
        fingerprint = parsed.fingerprint(hashes.SHA256()).hex(":")
        for host, own, other, role in (
            (ground.left, INNER_LEFT, INNER_RIGHT, SERVER),
            (ground.right, INNER_RIGHT, INNER_LEFT, CLIENT),
        ):
            (host.directory / "certificate.pem").write_bytes(certificate)
            (host.directory / "key.pem").write_bytes(key)
            role = role.format(address=ground.left.address, **PROTOCOLS[protocol])
            config = CONFIG.format(own=own, other=other, fingerprint=fingerprint, role=role)
            (host.directory / "openvpn.conf").write_text(config)

    return write


def contender(name: str, program: str = "openvpn", protocol: str = "udp") -> Contender:
    """`program`: a name or a path."""

    def start(ground: Ground) -> None:
        for host in ground.hosts:
            host.start_daemon(program, "--config", "openvpn.conf")

    return Contender(
        name=name,
        about=f"over {protocol}, AES-256-GCM, user space",
        version=(program, "--version"),
        released={"2.6.3": 2023, "2.6.14": 2025},
        needs={program: "openvpn"},
        prepare=prepare(protocol),
        start=start,
    )


CONTENDERS = (contender("openvpn"), contender("openvpn-tcp", protocol="tcp"))
