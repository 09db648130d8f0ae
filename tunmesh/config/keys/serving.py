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
LogPart = Literal["node", "link", "address", "config", "names", "other"]


class Ssl(Section):
    """The TLS certificate of the port. All nodes may share one."""

    ca_file_path: File | None = Field(
        default=None,
        description="Certificates that peers' certificates must chain to. null: this node's own "
        "certificate.",
    )
    cert_file_path: File = Field(
        description="Certificate, with its chain, in PEM.", examples=["cert.pem"]
    )
    key_file_path: File = Field(
        description="Private key of the certificate, in PEM.", examples=["key.pem"]
    )
    verify_hostname: bool = Field(
        default=False,
        description="Check that a peer's certificate names the host of its URL. Off by default "
        "because advertised URLs are dynamic.",
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
        description="TCP port to listen on, and the UDP port for packets (networking/transport). "
        "Behind NAT it may differ from the advertised one.",
    )
    listen_address: IpAddress | None = Field(
        default=None,
        description="The only address to listen on, such as the pod's. null: all addresses of "
        "both families, so that no other program in the network namespace can use listen_port.",
        examples=["${POD_IP}"],
    )
    max_batch_size: Integer = Field(
        default=64,
        ge=1,
        le=1024,
        description="Packets per request in the original. No effect here.",
        json_schema_extra=NO_EFFECT,
    )
    ssl: Ssl = Field(description="The TLS certificate of the port.", json_schema_extra=RELOADED)


class Logging(Section):
    """What the log says, and in what form."""

    level: LogLevel = Field(default="info", description="The lowest level that is logged.")
    levels: Mapping[LogPart, LogLevel] = Field(
        default_factory=dict,
        description="Levels for single parts. `other` is what libraries log; its default is warn.",
    )
    format: Literal["text", "json"] = Field(
        default="text", description="Lines for people, or one JSON object per line."
    )


class Prometheus(Section):
    """What Prometheus gets to see."""

    base_labels: Mapping[LabelName, str] = Field(
        default_factory=dict, description="Labels that are added to every metric."
    )


class Monitoring(Section):
    """How this node can be watched."""

    method: Literal["none", "prometheus"] = Field(
        default="none", description="prometheus: /metrics is served. none: it answers 404."
    )
    listen: ListenAddress | None = Field(
        default=None,
        description="Address and port for monitoring only: /metrics, and /livez, /readyz and "
        "/health with reasons. null: /metrics is on the mesh's port, where strangers can read it. "
        "Health on the mesh's port is one word in either case.",
        examples=["127.0.0.1:9464"],
    )
    tls: bool = Field(
        default=False,
        description="Serve monitoring.listen over HTTPS, with the certificate of the mesh's port, "
        "instead of HTTP.",
    )
    enable_node_packet_metrics: bool = Field(
        default=False, description="Count packets and bytes per peer, by its name."
    )
    metric_ttl: Duration = Field(
        default=3600.0,
        ge=0.5,
        le=WEEK,
        description="How long to keep the metrics of a peer that is gone.",
    )
    expected_nodes: Integer | None = Field(
        default=None,
        ge=1,
        le=4097,
        description="How many nodes the mesh should have, including this one. While there are "
        "fewer, status, the live page and an alert say so; readiness is not affected. null: "
        "unknown.",
        json_schema_extra=RELOADED,
    )
    prometheus: Prometheus = Field(
        default_factory=Prometheus, description="Settings for Prometheus."
    )


class Admin(Section):
    """How those who run this node ask it and tell it things: `tunmesh status` and the like."""

    socket: SocketPath | None = Field(
        default=Path("/run/tunmesh/control.sock"),
        description="Unix socket for `tunmesh status` and the other commands. Only the user who "
        "started the node may use it. null: no socket.",
    )
    http_port: Integer | None = Field(
        default=None,
        ge=1,
        le=65535,
        description="TCP port of a read-only live page of the mesh, on 127.0.0.1 and ::1. Any "
        "process in this node's network namespace may read it. null: no page.",
        examples=[8600],
    )
