"""The keys under `clustering`: who a node is, and how it finds the others."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field, model_validator

from tunmesh.config.keys.names import DIFFERENT, NodeGroup
from tunmesh.config.networks import AnyNetwork
from tunmesh.config.section import SecretFile, Section
from tunmesh.config.types import (
    NO_EFFECT,
    NULL_IS_EMPTY,
    RELOADED,
    GroupName,
    Integer,
    NodeName,
    Secret,
    SecretInFile,
)
from tunmesh.config.urls import AdvertiseUrl, BootstrapUrl
from tunmesh.config.values import AUTO, Endpoint
from tunmesh.wire.sizes import MAX_GROUPS


class Auth(Section):
    """How nodes prove to each other that they belong to the mesh."""

    one_of: ClassVar[tuple[str, ...]] = ("secret", "secret_file", "secrets", "secret_files")

    secret: Secret | None = Field(
        default=None,
        description="The secret that all nodes share: at least 32 random characters, unique to "
        "this mesh, as `tunmesh secret` creates them.",
    )
    secret_file: SecretInFile | None = Field(
        default=None,
        description="File that contains the secret. White space around it does not count.",
        examples=["secret"],
    )
    secrets: Annotated[tuple[Secret, ...], NULL_IS_EMPTY] = Field(
        default=(),
        max_length=8,
        description="Several secrets, to change the secret without downtime. All are accepted, the "
        "first is preferred.",
    )
    secret_files: Annotated[tuple[SecretInFile, ...], NULL_IS_EMPTY] = Field(
        default=(),
        max_length=8,
        description="Several secrets, each in a file of its own. `tunmesh secret rotate` guides "
        "through a change.",
        examples=[["secret-2", "secret"]],
    )
    pub_key_size: Integer = Field(
        default=2048,
        ge=2048,
        description="Length of session keys in the original, in bits. No effect here.",
        json_schema_extra=NO_EFFECT,
    )

    @model_validator(mode="after")
    def _one_source(self) -> Auth:
        given = sum(bool(getattr(self, name)) for name in self.one_of)
        if given != 1:
            raise ValueError(
                "must have exactly one of secret, secret_file, secrets and secret_files, "
                f"not {given or 'none'}"
            )
        if len(set(self.accepted)) != len(self.accepted):
            raise ValueError("must have different secrets in its list; one is there twice")
        return self

    @property
    def files(self) -> tuple[Path, ...]:
        """The files whose contents count."""
        return tuple(file.path for file in self._in_files())

    @property
    def accepted(self) -> tuple[bytes, ...]:
        """Every secret that is valid, the one to offer first."""
        if self._in_files():
            return tuple(file.text.encode() for file in self._in_files())
        return tuple(
            secret.get_secret_value().encode()
            for secret in ((self.secret,) if self.secret else self.secrets)
        )

    def _in_files(self) -> tuple[SecretFile, ...]:
        return (self.secret_file,) if self.secret_file else self.secret_files


class BootstrapGroup(Section):
    """Nodes, or load balancers in front of nodes, through which a node finds the mesh."""

    bootstrap_node_urls: Annotated[tuple[BootstrapUrl, ...], NULL_IS_EMPTY] = Field(
        default=(),
        description="Advertised URLs of other nodes, or of a load balancer. Without a port: 443. "
        "Empty for the first node of a mesh.",
        examples=[["https://192.0.2.11:4567"]],
    )
    bootstrap_retries: Integer = Field(
        default=-1,
        ge=-1,
        description="How often to retry while no node of the group is linked. 0: one attempt; -1: "
        "forever.",
    )


class Clustering(Section):
    """Who this node is to the others, and how it finds them."""

    node_name: NodeName | None = Field(
        default=None,
        description="Name of this node in logs, metrics and status. null: the host name. auto: the "
        "container's name, as Docker and podman give it in answer to a reverse lookup of its "
        "address; the host name where there is none.",
    )
    node_groups: Annotated[tuple[NodeGroup, ...], NULL_IS_EMPTY, DIFFERENT] = Field(
        default=(),
        max_length=MAX_GROUPS,
        description="Names that this node shares with other nodes: GROUP.DOMAIN leads to all of "
        "them that are linked, see networking/dns.",
        examples=[["web"]],
        json_schema_extra=RELOADED,
    )
    control_api_advertise_url: AdvertiseUrl = Field(
        default=Endpoint(AUTO, 0),
        description="The https://HOST:PORT at which other nodes reach this one. Unique to this "
        "node: it cannot be a load balancer. auto, or https://auto:PORT: HOST is the address from "
        "which this node reaches the first other one, or control_api/listen_address. Without PORT: "
        "control_api/listen_port.",
        examples=["https://192.0.2.10:4567"],
    )
    auth: Auth = Field(
        description="How nodes prove that they belong to the mesh.", json_schema_extra=RELOADED
    )
    bootstrap_groups: Mapping[GroupName, BootstrapGroup] = Field(
        description="How to find the mesh: groups of URLs, each with a name for the log. A group "
        "is dialed until one of its URLs leads to a node.",
        examples=["default"],
        json_schema_extra=RELOADED,
    )
    max_nodes_per_source: Integer = Field(
        default=512,
        ge=1,
        le=4096,
        description="How many nodes may be linked from one IPv4 address or IPv6 /64. Nodes behind "
        "one NAT count together. The log warns at half of it.",
    )
    dial_allow: tuple[AnyNetwork, ...] | None = Field(
        default=None,
        description="The only networks in which to dial nodes that were learned from other nodes. "
        "null: all addresses except loopback, link-local, multicast and broadcast ones and "
        "0.0.0.0; loopback and link-local ones too if control_api_advertise_url has such an "
        "address. Bootstrap URLs are dialed anywhere, addresses inside network_cidr never.",
        examples=[["10.0.0.0/8", "fd00::/8"]],
    )
    reload_config_on_bootstrap: bool = Field(
        default=False,
        description="Check before each attempt to bootstrap whether this file has changed, not "
        "only every few seconds.",
        json_schema_extra=RELOADED,
    )
