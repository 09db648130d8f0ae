"""The keys under `control_api`, `monitoring`, `admin` and `logging`: what a node serves."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field

from tunmesh.config.section import Section
from tunmesh.config.types import (
    NO_EFFECT,
    RELOADED,
    WEEK,
    Duration,
    File,
    Integer,
    IpAddress,
    LabelName,
    ListenAddress,
    SocketPath,
)

LogLevel = Literal["error", "warn", "info", "debug"]
LogPart = Literal["node", "link", "address", "config", "other"]


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
