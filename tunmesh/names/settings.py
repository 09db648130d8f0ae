"""The settings of names, in plain values."""

from __future__ import annotations

from dataclasses import dataclass

from tunmesh.addresses import Address


@dataclass(frozen=True, slots=True)
class NamesSettings:
    """`addresses`: where queries are sent, at most one of each family. `servers`: addresses of the
    name servers that other names are forwarded to; without any, those are refused."""

    domain: str
    addresses: tuple[Address, ...]
    servers: tuple[str, ...] = ()
