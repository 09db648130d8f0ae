"""nebula with the settings of its example config: AES, MTU 1300, one routine; one end is the
lighthouse."""

from __future__ import annotations

import shutil
from pathlib import Path

import yaml

from bench.contender import INNER_LEFT, INNER_RIGHT, Contender
from bench.lab import Ground

PORT = 4242


def prepare(ground: Ground, issuer: str) -> None:
    """Write configs, and certificates issued by the program `issuer`."""
    left, right = ground.hosts
    left.run(issuer, "ca", "-name", "bench", *_files(ground, "ca"))
    for host, own in (left, INNER_LEFT), (right, INNER_RIGHT):
        authority = (
            "-ca-crt",
            f"{ground.directory}/ca.crt",
            "-ca-key",
            f"{ground.directory}/ca.key",
        )
        sign = (issuer, "sign", "-name", own, "-ip", f"{own}/24")
        host.run(*sign, *authority, *_files(ground, own))
        config = yaml.safe_dump(_config(ground, own, left.address))
        (host.directory / "config.yml").write_text(config)


def _files(ground: Ground, name: str) -> tuple[str, ...]:
    return (
        "-out-crt",
        f"{ground.directory}/{name}.crt",
        "-out-key",
        f"{ground.directory}/{name}.key",
    )


def _config(ground: Ground, own: str, lighthouse: str) -> dict[str, object]:
    everything = [{"port": "any", "proto": "any", "host": "any"}]
    is_lighthouse = own == INNER_LEFT
    return {
        "pki": {
            "ca": f"{ground.directory}/ca.crt",
            "cert": f"{ground.directory}/{own}.crt",
            "key": f"{ground.directory}/{own}.key",
        },
        "static_host_map": {INNER_LEFT: [f"{lighthouse}:{PORT}"]},
        "lighthouse": {
            "am_lighthouse": is_lighthouse,
            "interval": 60,
            "hosts": [] if is_lighthouse else [INNER_LEFT],
        },
        "listen": {"host": "0.0.0.0", "port": PORT},  # noqa: S104 its namespace has only the cable
        "punchy": {"punch": True},
        "cipher": "aes",
        "tun": {"dev": "tun1", "mtu": 1300, "tx_queue": 500},
        "firewall": {"outbound": everything, "inbound": everything},
    }


def contender(name: str = "nebula", program: str = "nebula") -> Contender:
    """`program`: a name or a path. The nebula-cert next to it is used if there is one."""
    beside = str(Path(program).with_name("nebula-cert"))
    issuer = beside if shutil.which(beside) else "nebula-cert"

    def start(ground: Ground) -> None:
        for host in ground.hosts:
            host.start_daemon(program, "-config", "config.yml")

    return Contender(
        name=name,
        about="AES-256-GCM, MTU 1300, default settings",
        version=(program, "-version"),
        released={"1.6.1": 2022},
        needs={program: "nebula", issuer: "nebula"},
        prepare=lambda ground: prepare(ground, issuer),
        start=start,
    )
