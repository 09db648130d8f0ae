"""The keys under `process`: whom the node runs as, and all its durations.

Part of `keys`, where the rules for declarations are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field, ValidationInfo, field_validator, model_validator

from tunmesh.config.keys.accounts import Group, User, group_of
from tunmesh.config.section import Section, wrong
from tunmesh.config.types import NO_EFFECT, WEEK, Duration, Integer, Size
from tunmesh.link import memory_budget
from tunmesh.link.keepalive import PING_INTERVAL, SILENCE

MAX_ID = 2**32 - 2  # the kernel's -1 means "no id"

_EVERY = f"Above {PING_INTERVAL:g} s it counts as {PING_INTERVAL:g} s."
_AFTER = (
    "More than reregistration_interval, preferably three times. "
    f"Above {SILENCE:g} s it counts as {SILENCE:g} s."
)


class IpcGroup(Section):
    """The original's SysV queues."""

    max_init_attempts: Integer = Field(
        default=3,
        ge=0,
        description="Attempts of the original to create its queues. No effect here.",
        json_schema_extra=NO_EFFECT,
    )
    key_range_min: Integer = Field(
        default=0x80000000,
        ge=0,
        description="Lowest key of the original's queues. No effect here.",
        json_schema_extra=NO_EFFECT,
    )
    key_range_max: Integer = Field(
        default=0x8FFFFFF0,
        ge=0,
        description="Highest key of the original's queues. No effect here.",
        json_schema_extra=NO_EFFECT,
    )


class Ipc(Section):
    """The original's traffic between its processes; there is one process here."""

    group: IpcGroup = Field(
        default_factory=IpcGroup,
        description="The original's SysV queues. No effect here.",
        json_schema_extra=NO_EFFECT,
    )


class AuthTiming(Section):
    """How long authentication lasts."""

    session_max_age: Duration = Field(
        default=3600.0, ge=0.5, le=WEEK, description="Age at which a link is replaced by a new one."
    )
    early_validity_window: Duration = Field(
        default=5.0,
        ge=0.0,
        le=WEEK,
        description="Clock error that the original tolerated. No effect here: wall clocks are "
        "never compared.",
        json_schema_extra=NO_EFFECT,
    )
    validity_window: Duration = Field(
        default=30.0,
        ge=0.0,
        le=WEEK,
        description="How long a request of the original was valid. No effect here: wall clocks are "
        "never compared.",
        json_schema_extra=NO_EFFECT,
    )


class LocalRegistration(Section):
    """Contact with peers in the same local subnet."""

    reregistration_interval: Duration = Field(
        default=5.0,
        ge=0.1,
        le=WEEK,
        description=f"How often this node contacts peers in the local subnet. {_EVERY}",
    )
    stale_threshold: Duration = Field(
        default=30.0,
        ge=0.1,
        le=WEEK,
        description=f"Silence after which a peer in the local subnet is considered dead. {_AFTER}",
    )

    @field_validator("stale_threshold")
    @classmethod
    def _later(cls, threshold: float, info: ValidationInfo) -> float:
        interval = info.data.get("reregistration_interval")
        if interval is not None and threshold <= interval:
            raise ValueError(wrong(f"more than reregistration_interval {interval:g}", threshold))
        return threshold


class MeshRegistration(LocalRegistration):
    """Contact with peers outside the local subnet: the same, less often."""

    reregistration_interval: Duration = Field(
        default=30.0,
        ge=0.1,
        le=WEEK,
        description=f"How often this node contacts peers outside the local subnet. {_EVERY}",
    )
    stale_threshold: Duration = Field(
        default=120.0,
        ge=0.1,
        le=WEEK,
        description="Silence after which a peer outside the local subnet is considered dead. "
        f"{_AFTER}",
    )


class Registrations(Section):
    """How the members of the mesh keep in touch."""

    groom_interval: Duration = Field(
        default=5.0, ge=0.1, le=WEEK, description="How often the list of members is cleaned up."
    )
    startup_grace: Duration = Field(
        default=0.0,
        ge=0.0,
        le=WEEK,
        description="How long a node without links counts as ready after its start, so that the "
        "first nodes of a mesh can enter service discovery.",
    )
    bootstrap_retry_interval: Duration = Field(
        default=15.0, ge=0.1, le=WEEK, description="Pause between attempts to bootstrap."
    )
    local: LocalRegistration = Field(
        default_factory=LocalRegistration, description="Contact with peers in the local subnet."
    )
    mesh: MeshRegistration = Field(
        default_factory=MeshRegistration, description="Contact with peers outside it."
    )


class PacketTiming(Section):
    """How long a packet may wait for a peer that is slow to take it."""

    packet_expiration: Duration = Field(
        default=0.1,
        ge=0.01,
        le=3600.0,
        description="Age at which a waiting packet is dropped. Keep it below 0.2 s, or TCP "
        "retransmits it meanwhile.",
    )


class NetworkTiming(Section):
    """How long packets may wait."""

    local: PacketTiming = Field(
        default_factory=PacketTiming, description="For peers in the local subnet."
    )
    mesh: PacketTiming = Field(
        default_factory=PacketTiming, description="For peers outside the local subnet."
    )


class TunHandlerTiming(Section):
    """The original's separate tun process."""

    heartbeat_interval: Duration = Field(
        default=1.0,
        ge=0.0,
        le=WEEK,
        description="Heartbeat of the original's tun process. No effect here.",
        json_schema_extra=NO_EFFECT,
    )
    fault_delay: Duration = Field(
        default=1.0,
        ge=0.0,
        le=WEEK,
        description="Pause of the original's tun process after a fault. No effect here.",
        json_schema_extra=NO_EFFECT,
    )


class Timing(Section):
    """Durations: a number of seconds, 10s, 5m, 1h, 2d, or a range such as 10..20s, from which one
    value is drawn when the file is read."""

    request_timeout: Duration = Field(
        default=1.0, ge=0.1, le=WEEK, description="How long a peer may take to answer."
    )
    auth: AuthTiming = Field(
        default_factory=AuthTiming, description="How long authentication lasts."
    )
    registrations: Registrations = Field(
        default_factory=Registrations, description="How members keep in contact."
    )
    network: NetworkTiming = Field(
        default_factory=NetworkTiming, description="How long packets may wait."
    )
    tun_handler: TunHandlerTiming = Field(
        default_factory=TunHandlerTiming,
        description="The original's separate tun process. No effect here.",
        json_schema_extra=NO_EFFECT,
    )


class Process(Section):
    """The process that the node is."""

    uid: User = Field(
        ge=1,
        le=MAX_ID,
        description="User to run as once the tun device is set up, preferably one of its own. "
        "Root (0) is refused.",
        examples=["tunmesh"],
    )
    gid: Group = Field(
        default_factory=lambda checked: checked.get("uid"),
        ge=1,
        le=MAX_ID,
        description="Group to run as. Default: the user's own group if uid is a name, the same "
        "number if uid is a number.",
        examples=[65532],
    )
    ipc: Ipc = Field(
        default_factory=Ipc,
        description="Communication between the original's processes. No effect here.",
        json_schema_extra=NO_EFFECT,
    )
    memory_budget: Size = Field(
        default=memory_budget.DEFAULT,
        ge=memory_budget.LEAST,
        le=64 << 30,
        description="Limit for everything buffered for and from peers. One source address may use "
        "at most as much as it leaves for all others: half of it if it is the only one.",
    )
    timing: Timing = Field(default_factory=Timing, description="All durations.")

    @model_validator(mode="before")
    @classmethod
    def _own_group(cls, value: Any) -> Any:
        """A user that is given by name has a group of its own."""
        if isinstance(value, Mapping) and "gid" not in value:
            gid = group_of(value.get("uid"))
            if gid is not None:
                return {**value, "gid": str(gid)}
        return value
