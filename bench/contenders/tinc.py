"""tinc 1.0 with its default settings: UDP, and its default cipher and digest."""

from __future__ import annotations

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from bench.contender import INNER_LEFT, INNER_RIGHT, Contender
from bench.lab import Ground, Host


def prepare(ground: Ground) -> None:
    names = ("left", "right")
    publics = [
        _write_node(host, name, own)
        for host, name, own in zip(ground.hosts, names, (INNER_LEFT, INNER_RIGHT), strict=True)
    ]
    for host in ground.hosts:
        (host.directory / "hosts").mkdir()
        for name, public in zip(names, publics, strict=True):
            (host.directory / "hosts" / name).write_text(public)


def _write_node(host: Host, name: str, own: str) -> str:
    """Write all files but the other node's host file; returns the text of this node's host file."""
    key = rsa.generate_private_key(65537, 2048)
    private = host.directory / "rsa_key.priv"
    private.touch(mode=0o600)
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
    )
    connect = "" if name == "left" else "ConnectTo = left\n"
    (host.directory / "tinc.conf").write_text(
        f"Name = {name}\nInterface = tun1\nAddressFamily = ipv4\n{connect}"
    )
    up = host.directory / "tinc-up"
    up.write_text(f"#!/bin/sh\nip address add {own}/24 dev tun1\nip link set tun1 up\n")
    up.chmod(0o755)
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.PKCS1
    )
    return f"Address = {host.address}\nSubnet = {own}/32\n{public.decode()}"


def contender(name: str = "tinc", program: str = "tincd") -> Contender:
    """`program`: a name or a path."""

    def start(ground: Ground) -> None:
        for host in ground.hosts:
            host.start_daemon(program, "-c", ".", "-D", "--pidfile=pid")

    return Contender(
        name=name,
        about="over udp, default settings",
        version=(program, "--version"),
        released={"1.0.36": 2019},
        needs={program: "tinc", "ip": "iproute2"},
        prepare=prepare,
        start=start,
    )
