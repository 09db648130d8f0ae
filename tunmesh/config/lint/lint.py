"""The lint: what is wrong or doubtful about a config file, everything at once.

An error is what a node would refuse to start with: everything that `load` finds, unusable
certificates, a host name that is no valid node name, a mesh that overlaps this machine's networks.
A warning is for what a node starts with but somebody should look at.

Each check concerns one section and runs whenever that section is valid, so a misspelt key elsewhere
does not hide a certificate that does not match its key.

Nothing is changed, and no privilege is needed beyond reading the files that are named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from tunmesh.config import loading
from tunmesh.config.file import Document, Problem
from tunmesh.config.keys.root import Config, has_effect, section_around, section_in
from tunmesh.config.lint import clustering, networking, serving, timing
from tunmesh.config.section import Loading, Section


@dataclass(frozen=True)
class Findings:
    """What the lint found, in the order of the file. Without errors there is a config. `doubts`
    are those of the warnings that a node logs when it starts."""

    config: Config | None
    errors: tuple[Problem, ...]
    warnings: tuple[Problem, ...]
    doubts: tuple[Problem, ...]


def lint(
    path: Path,
    environ: Mapping[str, str],
    draw: Callable[[float, float], float],
    now: float,
    with_networks: bool = True,
    with_port: bool = True,
) -> Findings:
    """Check a file; the arguments are those of `config.load`, and the time in seconds since the
    epoch. `with_networks`: compare it with those of this machine, as a node does by itself;
    `with_port`: who has it here. Raises ConfigError when the file cannot be read at all."""
    loaded, document = loading.examine(path, environ, draw)
    errors, warnings = list(document.problems), list(_without_effect(document))
    doubts = []
    for loc, kind, check in (
        *clustering.CHECKS,
        *serving.CHECKS,
        *timing.CHECKS,
        *networking.ROUTE_CHECKS,
        *networking.CHECKS * with_networks,
        *serving.PORT_CHECKS * with_port,
    ):
        section = _alone(kind, document.part(loc), loading.loading(path, draw))
        for remark in check(section, now) if section is not None else ():
            problem = document.problem((*loc, *remark.key), remark.text)
            (errors if remark.is_error else warnings).append(problem)
            doubts += [problem] * remark.is_logged
    return Findings(
        config=None if errors else loaded,
        errors=tuple(sorted(errors)),
        warnings=tuple(sorted(warnings)),
        doubts=tuple(sorted(doubts)),
    )


def _alone(kind: type[Section], tree: object, loading: Loading) -> Section | None:
    """One section by itself; None when it is wrong, of which `config.examine` has told."""
    try:
        return kind.model_validate(tree, context=loading)
    except ValidationError:
        return None


def _without_effect(document: Document) -> Iterator[Problem]:
    for loc in document.lines:
        key = section_around(loc).model_fields.get(str(loc[-1])) if loc else None
        if key is not None and not has_effect(key) and section_in(key.annotation) is None:
            yield document.problem(loc, "has no effect here; it can be removed")
