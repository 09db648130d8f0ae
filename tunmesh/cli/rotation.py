"""The steps of changing the secret of a mesh, as `tunmesh secret rotate` presents them.

No state is kept between calls. The current step follows from the secrets in the config and from the
keys of the node's links:

    secrets in the config   the node                           step
    one                     has no link by a revoked one       none, or finished
    one, the next exists                                       1: add it to all configs
    several                 has not read them yet              1
    several, the old first                                     1: put the new one first
    several                 has links by others than `1`       2: wait
    several                 has links by `1` only              3: remove the old one
    one                     has links by a revoked one         4: these links end

The new secret is put first from the start. A dialer offers all of its secrets, and the listener
chooses the first of its own list that was offered: two nodes with a secret in common can link, in
whatever order configs are changed. A link by `1` shows that the peer has the new secret, so a node
that is linked with all others sees which ones lack it.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tunmesh.cli.tables import cut, table
from tunmesh.units import counted, duration

if TYPE_CHECKING:
    from tunmesh.config.loading import Config
    from tunmesh.observe.status_json import Json

WIDTH = 80
GRACE = 60.0  # seconds after its session that a link by a revoked secret may last: node.node
NOTICED = 5.0  # seconds until a node goes by changed files: service.reload
AGAIN = "Then, here again: tunmesh secret rotate"
_NUMBERED = re.compile(r"(.+)-(\d{1,4})")


@dataclass(frozen=True)
class Configured:
    """What a config says about its secrets, without the secrets."""

    path: Path
    key: str  # the key in use: secret, secret_file, secrets or secret_files
    count: int
    files: tuple[Path, ...]  # empty when they are in the config itself
    session_max_age: float  # seconds, at most
    changed: float  # when the config or one of the files did, in seconds since the epoch

    @classmethod
    def of(cls, path: Path, config: Config) -> Configured:
        auth = config.clustering.auth
        return cls(
            path=path,
            key=next(key for key in auth.one_of if getattr(auth, key)),
            count=len(auth.accepted),
            files=auth.files,
            session_max_age=config.process.timing.auth.session_max_age,
            changed=max(file.stat().st_ctime for file in (path, *auth.files)),
        )

    @property
    def newest(self) -> int:
        """The place (from 1) of the newest secret, by the numbers in the file names."""
        numbers = [_number(file)[1] for file in self.files]
        return numbers.index(max(numbers)) + 1 if numbers else 1

    @property
    def next_file(self) -> Path:
        """The path of the next secret: `secret-2` beside `secret`."""
        if not self.files:
            return self.path.parent / "secret-2"
        newest = self.files[self.newest - 1]
        name, number = _number(newest)
        return newest.with_name(f"{name}-{number + 1}")

    def shown(self, file: Path) -> str:
        """A file's path as the config may write it."""
        is_beside = file.parent == self.path.parent
        return file.name if is_beside else str(file)


def _number(file: Path) -> tuple[str, int]:
    """`secret-3` is the third `secret`, `secret` the first."""
    match = _NUMBERED.fullmatch(file.name)
    return (match[1], int(match[2])) if match else (file.name, 1)


def steps(configured: Configured, tree: Json) -> Iterator[str]:
    """The current step of the change, and what to do next. `tree` is the node's status."""
    known = len(tree["key_ids"])
    if known != configured.count:
        yield from _not_read(configured, known)
    elif configured.count > 1:
        yield from _changing(configured, tree)
    elif any(peer["key_id"] not in tree["key_ids"] for peer in tree["peers"]):
        yield from _ending(configured, tree)
    elif configured.next_file.exists():
        yield "Step 1 of 4: the new secret is made, and not in the config yet."
        yield from to_deploy(configured)
    else:
        yield from _none(tree)


def _none(tree: Json) -> Iterator[str]:
    peers = counted(len(tree["peers"]), "peer")
    yield from _text(
        f"No change of the secret is under way. This node is linked with {peers}, all by the one "
        "secret that it accepts."
    )
    yield from _unseen(tree)
    yield from _text("To begin one, make a new secret, on one node for all of them:")
    yield "  tunmesh secret rotate --make"


def to_deploy(configured: Configured) -> Iterator[str]:
    """What to do with the file of the next secret, which is there."""
    new, old = configured.next_file, configured.files
    yield from _text(
        "On every node, but for one that is to be thrown out: copy this file there, then put this "
        f"into the config in place of {configured.key} (tun_mesh/clustering/auth):"
    )
    if old:
        yield "  secret_files:"
        yield f"    - {configured.shown(new)}  # the new one"
        yield from (f"    - {configured.shown(file)}  # accepted until all have it" for file in old)
    else:
        yield "  secrets:"
        yield f'    - "…"  # what is in {new}'
        yield '    - "…"  # the secret that is there now: accepted until all have the new one'
    yield from _text(
        "In any order, without a restart: nodes go by it within some 5 s, and links stay up. Two "
        "nodes that have the new one link by it, all others by the old one."
    )
    yield AGAIN


def _not_read(configured: Configured, known: int) -> Iterator[str]:
    yield from _text(
        f"{configured.path} has {counted(configured.count, 'secret')}, and this node goes by "
        f"{known}: it has not read its files anew yet, or they are no good (tunmesh events says "
        "which), or this is another node's config (--config)."
    )
    yield AGAIN


def _changing(configured: Configured, tree: Json) -> Iterator[str]:
    newest = configured.newest
    if newest != 1:
        yield from _text(
            f"Step 1 of 4: {_name(configured, newest)} is the new secret, but not the first in "
            f"{configured.path}. Put it first on every node: only a link by the first one shows "
            "that a peer has it."
        )
        yield AGAIN
        return
    old = [peer for peer in tree["peers"] if peer["key_id"] != tree["key_ids"][0]]
    if not tree["peers"]:
        yield from _text(
            "Step 2 of 4: this node is linked with nobody, so it cannot say who has the new secret."
        )
        yield from _unseen(tree)
        yield AGAIN.replace("here again", "beside a node that has peers")
        return
    if old:
        yield "Step 2 of 4: wait until every node has shown that it has the new secret."
        yield from _text(f"By the new one, {_name(configured, 1)}: {_by_first(tree)}.")
        yield from _text("By an old one:")
        yield from _table(
            ["PEER", "SECRET", "LINKED FOR", "NEXT LINK WITHIN", ""],
            [
                [
                    peer["name"],
                    peer["key_id"],
                    *_ages(peer, configured),
                    _mark(peer, configured, tree),
                ]
                for peer in old
            ],
        )
        if any(_mark(peer, configured, tree) for peer in old):
            yield "* linked after the change here: it did not have the new one then, or not first"
        yield from _unseen(tree)
        yield from _text(
            "Who never shows it: look at its config and its log. Who is to be thrown out stays in "
            "this list; when nobody else is, go on:"
        )
    else:
        unseen = list(_unseen(tree))
        yield f"Step 3 of 4: the old secret may go{', as far as this node sees' * bool(unseen)}."
        yield from _text(
            f"All links are by the new one, {_name(configured, 1)}: {_by_first(tree)}."
        )
        yield from unseen
    yield from _to_take_away(configured)


def _to_take_away(configured: Configured) -> Iterator[str]:
    yield from _text(f"On every node, in place of {configured.key}:")
    if configured.files:
        yield f"  secret_file: {configured.shown(configured.files[0])}"
        gone = ", ".join(str(file) for file in configured.files[1:])
        yield from _text(f"and delete {gone}.")
    else:
        yield '  secret: "…"  # the one that is first now'
    longest = duration(configured.session_max_age + GRACE)
    yield from _text(
        f"What ends then: links with nodes that do not have the new one, {longest} later at the "
        "latest. Everybody else's are renewed by the new one, and no packet is lost."
    )
    yield AGAIN


def _ending(configured: Configured, tree: Json) -> Iterator[str]:
    yield "Step 4 of 4: links by the old secret end, or are renewed by the new one."
    revoked = [peer for peer in tree["peers"] if peer["key_id"] not in tree["key_ids"]]
    yield from _text(
        f"By the one secret that this node accepts: {_by_first(tree)}. By the old one:"
    )
    yield from _table(
        ["PEER", "LINKED FOR", "OVER WITHIN"],
        [[peer["name"], duration(peer["linked_for"]), _over(peer, configured)] for peer in revoked],
    )
    yield from _text(
        "Who has the new secret is linked anew before that, without a gap; who has not is out. A "
        "restart of this node ends these links at once."
    )
    yield AGAIN


def _ages(peer: Json, configured: Configured) -> list[str]:
    left = max(0.0, configured.session_max_age - peer["linked_for"])
    return [duration(peer["linked_for"]), duration(left + GRACE)]


def _over(peer: Json, configured: Configured) -> str:
    return duration(max(0.0, configured.session_max_age + GRACE - peer["linked_for"]))


def _mark(peer: Json, configured: Configured, tree: Json) -> str:
    """A mark for a link that is younger than the config change."""
    return "*" if tree["time"] - peer["linked_for"] > configured.changed + NOTICED else ""


def _unseen(tree: Json) -> Iterator[str]:
    """Nodes whose keys this node cannot see."""
    names = {node["name"] for node in tree["lost"]}
    names |= {dial["name"] for dial in tree["dials"] if dial["kind"] == "node"}
    if names:
        yield from _text(
            f"Not linked with this node, so not seen by it: {', '.join(sorted(names))}."
        )
    expected, count = tree["expected_nodes"], len(tree["peers"]) + 1
    if expected is not None and count < expected:
        yield from _text(f"Of {expected} nodes that are expected, {count} are in this mesh.")


def _by_first(tree: Json) -> str:
    count = sum(peer["key_id"] == tree["key_ids"][0] for peer in tree["peers"])
    return counted(count, "peer")


def _name(configured: Configured, place: int) -> str:
    """How a secret is called without revealing it."""
    if configured.files:
        return f"{configured.shown(configured.files[place - 1])} (place {place})"
    return f"the one at place {place}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    shown = [[cut(name, 32), *rest] for name, *rest in rows]
    left = range(2 if len(head) == 5 else 1)
    yield from (f"  {line}" for line in table(head, shown, left))


def _text(text: str) -> Iterator[str]:
    yield from textwrap.wrap(text, WIDTH, break_long_words=False, break_on_hyphens=False)
