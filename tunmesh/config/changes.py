"""The differences between two configs that need a restart.

The declaration of a key says which of three kinds it is: it has no effect, a running node reloads
it (RELOADED), or it takes effect at the next start. Keys of the last kind are reported here.
"""

from __future__ import annotations

from collections.abc import Iterator

from tunmesh.config.keys.root import Config, has_effect, is_reloaded, section_in
from tunmesh.config.section import Section
from tunmesh.config.values import Plain


def fixed_changes(old: Config, new: Config) -> list[str]:
    """The keys that differ and need a restart; whole sections where one came or went. Both are
    plain (tunmesh.config.plain)."""
    return list(_fixed(Config, old, new, "tun_mesh"))


def _fixed(declared: type[Section], old: object, new: object, path: str) -> Iterator[str]:
    for name, key in declared.model_fields.items():
        before, after = getattr(old, name), getattr(new, name)
        if before == after or is_reloaded(key) or not has_effect(key):
            continue
        inner = section_in(key.annotation)
        if inner is not None and isinstance(before, Plain) and isinstance(after, Plain):
            yield from _fixed(inner, before, after, f"{path}/{name}")
        else:
            yield f"{path}/{name}"
