"""The differences between two configs that need a restart.

The declaration of a key says which kind it is: it has no effect, a running node reloads it
(RELOADED), one with a helper process does (RELOADED_BY_HELPER), or it takes effect at the next
start. Keys that the running node cannot follow are reported here.
"""

from __future__ import annotations

from collections.abc import Iterator

from tunmesh.config.keys.root import (
    Config,
    has_effect,
    is_reloaded,
    is_reloaded_by_helper,
    section_in,
)
from tunmesh.config.section import Section
from tunmesh.config.values import Automatic, Plain


def fixed_changes(old: Config, new: Config) -> list[str]:
    """The keys that differ and need a restart; whole sections where one came or went. `old` is what
    the node started with. Both are plain (tunmesh.config.plain)."""
    return list(_fixed(Config, old, new, "tun_mesh", old.networking.has_helper))


def _fixed(
    declared: type[Section], old: object, new: object, path: str, has_helper: bool
) -> Iterator[str]:
    for name, key in declared.model_fields.items():
        before, after = getattr(old, name), getattr(new, name)
        if before == after or is_reloaded(key) or not has_effect(key):
            continue
        is_automatic = isinstance(before, Automatic) or isinstance(after, Automatic)
        if has_helper and is_reloaded_by_helper(key) and not is_automatic:
            continue
        inner = section_in(key.annotation)
        if inner is not None and isinstance(before, Plain) and isinstance(after, Plain):
            yield from _fixed(inner, before, after, f"{path}/{name}", has_helper)
        else:
            yield f"{path}/{name}"
