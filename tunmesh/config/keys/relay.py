"""The key of `networking` about links between other nodes.

Part of `keys`, where the rules for declarations are.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from tunmesh.config.types import RELOADED

Relay = Annotated[
    bool,
    Field(
        description="Carry links between other nodes that cannot connect to each other: up to "
        "8,192 streams, encrypted from end to end, which get no more than half of a link while "
        "this node's own packets wait. With `false` this node declines; others may still carry "
        "links of its own.",
        json_schema_extra=RELOADED,
    ),
]
