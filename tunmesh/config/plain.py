"""A config without its declarations: the same values, as `config.values` has them."""

from __future__ import annotations

from typing import Any, cast

from pydantic import SecretStr

from tunmesh.config.keys.root import Config
from tunmesh.config.section import REDACTED, SecretFile, Section
from tunmesh.config.values import Plain


def plain(config: Config) -> Config:
    """The same config as plain values, which can be pickled and compared. Secrets are in what is
    made of them (`clustering.auth.accepted`) and nowhere else."""
    return cast(Config, _plain(config))


def _plain(value: Any) -> Any:
    match value:
        case Section():
            names = [*type(value).model_fields, *_made(type(value))]
            return Plain({name: _plain(getattr(value, name)) for name in names})
        case SecretStr() | SecretFile():
            return REDACTED
        case dict():
            return {name: _plain(each) for name, each in value.items()}
        case tuple():
            return tuple(map(_plain, value))
    origin = type(value).__module__
    if origin.startswith(("pydantic", "tunmesh.config.")) and origin != Plain.__module__:
        raise TypeError(f"{type(value)} leads back to {origin}: it belongs into config.values")
    return value


def _made(kind: type[Section]) -> list[str]:
    """The properties of a section."""
    return [name for name, each in vars(kind).items() if isinstance(each, property)]
