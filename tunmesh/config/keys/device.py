"""The keys under `networking` that say how the tun device is made and who looks after it.

Part of `keys`, where the rules for declarations are.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from tunmesh.config.types import RELOADED_BY_HELPER, Integer
from tunmesh.netlink.changes import MAX_MTU, MAX_QUEUE, MIN_MTU, MIN_MTU_IPV6

Mtu = Annotated[
    Integer,
    Field(
        ge=MIN_MTU,
        le=MAX_MTU,
        description="The largest IP packet that the device carries, in bytes. Nodes of one mesh "
        f"may differ. IPv6 needs {MIN_MTU_IPV6} or more.",
        examples=[9000],
        json_schema_extra=RELOADED_BY_HELPER,
    ),
]
QueueLength = Annotated[
    Integer | None,
    Field(
        ge=1,
        le=MAX_QUEUE,
        description="How many packets wait in the kernel for this node to read them: the device's "
        "txqueuelen. Without it, that of the kernel (500).",
        examples=[2000],
        json_schema_extra=RELOADED_BY_HELPER,
    ),
]
DeviceHelper = Annotated[
    bool,
    Field(
        description="Run a helper process that keeps NET_ADMIN. It puts back addresses, routes, "
        "MTU and link state that others take from the device, and mtu, txqueuelen and "
        "node_address_cidr can be reloaded. With automatic or floating addresses it runs anyway.",
    ),
]
