"""A config as plain values: what a running node keeps of it.

The config is validated by pydantic, which takes 10 MB and is not needed afterwards. So a child
process reads it (host.helper_process), and what it returns must not refer to pydantic, and to
nothing of this folder but these classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from tunmesh.addresses import Address, literal_address, shown_target

DEFAULT_PATH = "/etc/tunmesh/config.yaml"
PATH_VARIABLE = "TUNMESH_CONFIG_PATH"
AUTO = "auto"  # in place of a value: the node finds it out


def path_of(option: str | None, environ: Mapping[str, str]) -> Path:
    """The config file to use: the option, else `$TUNMESH_CONFIG_PATH`, else the fixed place."""
    return Path(option or environ.get(PATH_VARIABLE) or DEFAULT_PATH)


class Plain:
    """A section: its keys and derived properties, as attributes. Frozen. To a type checker it is
    the section of `config.keys.root` that it was made of (`tunmesh.config.plain`)."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.__dict__.update(values)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"{name} is part of a config, which does not change")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Plain) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Plain({', '.join(vars(self))})"  # the names only: some values are secrets


@dataclass(frozen=True)
class Endpoint:
    """The URL of a node: `https://HOST:PORT`. `host` is a name or an address, without brackets,
    in lower case. In the URL that a node advertises, it may be AUTO, and `port` 0 then stands for
    the port that the node listens on: written `auto`."""

    host: str
    port: int

    def __str__(self) -> str:
        if not self.port:
            return self.host
        return f"https://{shown_target((self.host, self.port))}"

    @property
    def address(self) -> Address | None:
        """The host as an address, None when it is a name."""
        return literal_address(self.host)

    @property
    def is_auto(self) -> bool:
        """Whether the node is to find out its host."""
        return self.host == AUTO


@dataclass(frozen=True)
class Automatic:
    """An address that the node chooses itself, in a local subnet with a prefix of this length."""

    prefix: int

    def __str__(self) -> str:
        return f"auto/{self.prefix}"


@dataclass(frozen=True)
class SocketAddress:
    """An address of this machine, and a TCP port of it: `127.0.0.1:9464`, `[::]:9464`."""

    address: Address
    port: int

    def __str__(self) -> str:
        return shown_target((str(self.address), self.port))
