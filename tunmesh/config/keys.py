"""Every config key, declared once: its type, default, bounds and what it is for.

The tree is schema 1.1 of the original, and more: a file of the original loads unchanged and means
what it meant. Keys that steered parts which do not exist here (its batches, its queues between
processes, its request tokens with their wall clock windows) are accepted and marked `NO_EFFECT`.

The first sentence of a description stands alone; what follows it is detail. A section that is
written without anything under it is an empty section.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, get_args, get_origin

from pydantic import Field, model_validator
from pydantic.fields import FieldInfo

from tunmesh.config.file import Loc
from tunmesh.config.networking import Networking
from tunmesh.config.process import Process
from tunmesh.config.types import (
    NO_EFFECT,
    NULL_IS_EMPTY,
    RELOADED,
    WEEK,
    AdvertiseUrl,
    AnyNetwork,
    BootstrapUrl,
    Duration,
    File,
    GroupName,
    Integer,
    IpAddress,
    LabelName,
    ListenAddress,
    NodeName,
    Secret,
    SecretFile,
    SecretInFile,
    Section,
    SocketPath,
    Version,
)


class Auth(Section):
    """How nodes prove to each other that they belong to the mesh."""

    one_of: ClassVar[tuple[str, ...]] = ("secret", "secret_file", "secrets", "secret_files")

    secret: Secret | None = Field(
        default=None,
        description="The secret that all nodes share. At least 32 characters, random, and unique "
        "to this mesh, as `tunmesh secret` makes them.",
    )
    secret_file: SecretInFile | None = Field(
        default=None,
        description="File that holds the secret. White space around it does not count.",
        examples=["secret"],
    )
    secrets: Annotated[tuple[Secret, ...], NULL_IS_EMPTY] = Field(
        default=(),
        max_length=8,
        description="Several secrets, to change over without downtime. The first is offered to "
        "peers, all are accepted.",
    )
    secret_files: Annotated[tuple[SecretInFile, ...], NULL_IS_EMPTY] = Field(
        default=(),
        max_length=8,
        description="Several secrets likewise, each in a file of its own. `tunmesh secret rotate` "
        "shows how to change a secret.",
        examples=[["secret-2", "secret"]],
    )
    pub_key_size: Integer = Field(
        default=2048,
        ge=2048,
        description="Length of the original's session keys, in bits. No effect here.",
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
        description="How often to try again while no node of the group is linked. "
        "0: one attempt; -1: for ever.",
    )


class Clustering(Section):
    """Who this node is to the others, and how it finds them."""

    node_name: NodeName | None = Field(
        default=None,
        description="Name of this node in logs, metrics and status. null: the host name.",
    )
    control_api_advertise_url: AdvertiseUrl = Field(
        description="The https://HOST:PORT at which all other nodes reach this one. Unique to this "
        "node: it cannot be a load balancer.",
        examples=["https://192.0.2.10:4567"],
    )
    auth: Auth = Field(
        description="How nodes prove that they belong to the mesh.", json_schema_extra=RELOADED
    )
    bootstrap_groups: Mapping[GroupName, BootstrapGroup] = Field(
        description="Ways into the mesh, by a name for the log. Each group is tried until one of "
        "its URLs answers.",
        examples=["default"],
        json_schema_extra=RELOADED,
    )
    max_nodes_per_source: Integer = Field(
        default=512,
        ge=1,
        le=4096,
        description="How many nodes may be linked from one IPv4 address, or one IPv6 /64. Nodes "
        "behind one NAT count together. The log warns when half of it is reached.",
    )
    dial_allow: tuple[AnyNetwork, ...] | None = Field(
        default=None,
        description="The only networks in which nodes are dialed that other nodes named. null: all "
        "addresses but loopback, link-local and multicast ones, 0.0.0.0 and broadcast; loopback "
        "and link-local ones, too, where control_api_advertise_url has such an address itself. "
        "Bootstrap URLs are dialed wherever they are; addresses inside network_cidr are never.",
        examples=[["10.0.0.0/8", "fd00::/8"]],
    )
    reload_config_on_bootstrap: bool = Field(
        default=False,
        description="Look whether this file has changed before each attempt to bootstrap, and not "
        "only every few seconds.",
        json_schema_extra=RELOADED,
    )


class Ssl(Section):
    """The TLS certificate of the port. All nodes may share one."""

    ca_file_path: File | None = Field(
        default=None,
        description="Certificates that peers' must chain to. null: the certificate itself.",
    )
    cert_file_path: File = Field(
        description="Certificate, with its chain, in PEM.", examples=["cert.pem"]
    )
    key_file_path: File = Field(
        description="Private key of the certificate, in PEM.", examples=["key.pem"]
    )
    verify_hostname: bool = Field(
        default=False,
        description="Check that a peer's certificate names the host of its URL. Off because "
        "advertised URLs are dynamic.",
    )

    @property
    def files(self) -> tuple[Path, ...]:
        """The files whose contents count."""
        named = (self.cert_file_path, self.key_file_path, self.ca_file_path)
        return tuple(path for path in named if path is not None)


class ControlApi(Section):
    """The one port that this node listens on, for peers and for probes."""

    listen_port: Integer = Field(
        default=4567,
        ge=1,
        le=65535,
        description="TCP port to listen on. May differ from the advertised one behind NAT.",
    )
    listen_address: IpAddress | None = Field(
        default=None,
        description="The only address to listen on, such as that of the pod. null: all of both "
        "families. Then no program beside this node can listen on listen_port, whatever its "
        "address.",
        examples=["${POD_IP}"],
    )
    max_batch_size: Integer = Field(
        default=64,
        ge=1,
        le=1024,
        description="Packets in one request of the original. No effect here.",
        json_schema_extra=NO_EFFECT,
    )
    ssl: Ssl = Field(description="The TLS certificate of the port.", json_schema_extra=RELOADED)


LogLevel = Literal["error", "warn", "info", "debug"]
LogPart = Literal["node", "link", "address", "config", "other"]


class Logging(Section):
    """What the log says, and in what form."""

    level: LogLevel = Field(
        default="info", description="The least important messages that are logged."
    )
    levels: Mapping[LogPart, LogLevel] = Field(
        default_factory=dict,
        description="Other levels for some parts. `other` is what libraries say: from warn on, if "
        "not told otherwise.",
    )
    format: Literal["text", "json"] = Field(
        default="text", description="Lines for people, or one JSON object per line."
    )


class Prometheus(Section):
    """What Prometheus gets to see."""

    base_labels: Mapping[LabelName, str] = Field(
        default_factory=dict, description="Labels that are put on every metric, by name."
    )


class Monitoring(Section):
    """How this node can be watched."""

    method: Literal["none", "prometheus"] = Field(
        default="none", description="Whether /metrics answers. none: it is not found."
    )
    listen: ListenAddress | None = Field(
        default=None,
        description="Address and port where monitoring alone is served: /metrics, and /livez, "
        "/readyz and /health with the reasons. null: /metrics is on the port of the mesh, where "
        "strangers can read it. On that port, health is one word in either case.",
        examples=["127.0.0.1:9464"],
    )
    tls: bool = Field(
        default=False,
        description="Whether monitoring.listen answers over HTTPS, with the certificate of the "
        "mesh's port, or over HTTP.",
    )
    enable_node_packet_metrics: bool = Field(
        default=False, description="Count packets and bytes for each peer by its name."
    )
    metric_ttl: Duration = Field(
        default=3600.0,
        ge=0.5,
        le=WEEK,
        description="How long the metrics of a peer that is gone are kept.",
    )
    expected_nodes: Integer | None = Field(
        default=None,
        ge=1,
        le=4097,
        description="How many nodes the mesh should have, this one included. While there are "
        "fewer, status, the page and an alert say so; it makes no node unready. null: unknown.",
        json_schema_extra=RELOADED,
    )
    prometheus: Prometheus = Field(
        default_factory=Prometheus, description="What Prometheus gets to see."
    )


class Admin(Section):
    """How those who run this node ask it and tell it things: `tunmesh status` and the like."""

    socket: SocketPath | None = Field(
        default=Path("/run/tunmesh/control.sock"),
        description="Unix socket that `tunmesh status` and the other commands speak to. Only who "
        "started the node may use it. null: there is none.",
    )
    http_port: Integer | None = Field(
        default=None,
        ge=1,
        le=65535,
        description="TCP port of a page that shows the mesh live, on 127.0.0.1 and ::1 and for "
        "reading only. Whoever is in this node's network namespace may look. null: there is none.",
        examples=[8600],
    )


class Config(Section):
    """Everything under `tun_mesh`."""

    config_version: Version = Field(description="Version of this tree of keys: 1.1.")
    clustering: Clustering = Field(description="Who this node is, and how it finds the others.")
    control_api: ControlApi = Field(description="The one port that this node listens on.")
    logging: Logging = Field(
        default_factory=Logging,
        description="What the log says, and in what form.",
        json_schema_extra=RELOADED,
    )
    monitoring: Monitoring = Field(
        default_factory=Monitoring, description="How this node can be watched."
    )
    admin: Admin = Field(
        default_factory=Admin, description="How those who run this node ask it and tell it things."
    )
    networking: Networking = Field(description="The private network, and the device for it.")
    process: Process = Field(
        description="The process that the node is: at least the user that it becomes, `uid`."
    )


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
