"""What a config says differently from another one, as far as a running node cannot follow.

Every key is one of three kinds, told by its declaration: it has no effect, or a running node reads
it anew (RELOADED), or it takes effect at the next start. Those of the last kind are told here.
"""

from __future__ import annotations

from collections.abc import Iterator

from tunmesh.config.keys import Config, has_effect, is_reloaded
from tunmesh.config.values import Section


def fixed_changes(old: Config, new: Config) -> list[str]:
    """The keys, or whole sections that came or went, that differ and need a new start."""
    return list(_fixed(old, new, "tun_mesh"))


def _fixed(old: Section, new: Section, path: str) -> Iterator[str]:
    for name, key in type(new).model_fields.items():
        before, after = getattr(old, name), getattr(new, name)
        if before == after or is_reloaded(key) or not has_effect(key):
            continue
        if isinstance(before, Section) and isinstance(after, Section):
            yield from _fixed(before, after, f"{path}/{name}")
        else:
            yield f"{path}/{name}"
