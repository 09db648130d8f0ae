"""Every config key, declared once: its type, default, bounds and what it is for.

The tree is schema 1.1 of the original, and more: a file of the original loads unchanged and means
what it meant. Keys that steered parts which do not exist here (its batches, its queues between
processes, its request tokens with their wall clock windows) are accepted and marked `NO_EFFECT`.

The first sentence of a description stands alone; what follows it is detail. A section that is
written without anything under it is an empty section.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, get_args, get_origin

from pydantic import Field, model_validator
from pydantic.fields import FieldInfo

from tunmesh.config.file import Loc
from tunmesh.config.keys.clustering import Clustering
from tunmesh.config.keys.networking import Networking
from tunmesh.config.keys.process import Process
from tunmesh.config.keys.serving import Admin, ControlApi, Logging, Monitoring
from tunmesh.config.section import Section
from tunmesh.config.types import (
    NO_EFFECT,
    RELOADED,
    RELOADED_BY_HELPER,
    Version,
)
from tunmesh.config.values import AUTO, Endpoint


class Config(Section):
    """Everything under `tun_mesh`."""

    config_version: Version = Field(description="Version of this schema: 1.1.")
    clustering: Clustering = Field(description="Which node this is, and how it finds the others.")
    control_api: ControlApi = Field(description="The one port that this node listens on.")
    logging: Logging = Field(
        default_factory=Logging,
        description="What is logged, and in which format.",
        json_schema_extra=RELOADED,
    )
    monitoring: Monitoring = Field(
        default_factory=Monitoring, description="How this node is monitored."
    )
    admin: Admin = Field(default_factory=Admin, description="Access for those who run this node.")
    networking: Networking = Field(description="The private network and its tun device.")
    process: Process = Field(
        description="The node's process; at least `uid`, the user that it becomes."
    )

    @model_validator(mode="after")
    def _reaches_others_outside(self) -> Config:
        """A link cannot run through the mesh (tunmesh.tls.underlay)."""
        direct = self.networking.allow_overlap
        for group in self.clustering.bootstrap_groups.values():
            for url in group.bootstrap_node_urls:
                address = url.address
                for route in self.networking.accept_routes:
                    if (
                        address is not None
                        and address in route.network
                        and not any(address in each for each in direct)
                    ):
                        raise ValueError(
                            f"must have networking/accept_routes without the nodes to dial, and "
                            f"{url} is in {route.network}: the way to it would lead through the "
                            "mesh; accept less, or say networking/allow_overlap if this machine "
                            "has a route of its own to it"
                        )
        return self

    @property
    def advertised_url(self) -> Endpoint:
        """The URL that others are to dial, with its port. Its host is the only address that the
        node listens on if the node is to find it out; AUTO if it listens on all."""
        url, listen = self.clustering.control_api_advertise_url, self.control_api.listen_address
        if not url.is_auto:
            return url
        port = url.port or self.control_api.listen_port
        is_url = listen is not None and not listen.is_unspecified and "%" not in str(listen)
        return Endpoint(str(listen) if is_url else AUTO, port)


class ConfigFile(Section):
    """The whole file."""

    tun_mesh: Config = Field(description="The one top key; everything is under it.")


def key_paths(section: type[Section] = ConfigFile) -> Iterator[tuple[str, ...]]:
    """The path of every key that exists, sections included; NAME stands for a name of the
    operator's choice."""
    for name, declaration in section.model_fields.items():
        yield (name,)
        inner = section_in(declaration.annotation)
        if inner is not None:
            chosen = ("NAME",) if get_origin(declaration.annotation) is Mapping else ()
            yield from ((name, *chosen, *path) for path in key_paths(inner))


def section_in(annotation: Any) -> type[Section] | None:
    """The section that a key of this type holds, directly, optionally or by name."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    return next(filter(None, map(section_in, get_args(annotation))), None)


def section_around(loc: Loc) -> type[Section]:
    """The section that the key at `loc` is, or would be, in."""
    section: type[Section] = ConfigFile
    for name in loc[:-1]:
        declaration = section.model_fields.get(str(name))
        section = section_in(declaration.annotation) or section if declaration else section
    return section


def has_effect(declaration: FieldInfo) -> bool:
    """Whether a key steers anything here, or is only accepted."""
    return declaration.json_schema_extra != NO_EFFECT


def is_reloaded(declaration: FieldInfo) -> bool:
    """Whether a running node reads a key, or what is in a section, anew."""
    return declaration.json_schema_extra == RELOADED


def is_reloaded_by_helper(declaration: FieldInfo) -> bool:
    """Whether a running node with a helper process reads a key anew."""
    return declaration.json_schema_extra == RELOADED_BY_HELPER
