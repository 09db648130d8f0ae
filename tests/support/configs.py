"""Valid config files, and a test case that loads variations of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from twisted.trial import unittest

from tunmesh.config.loading import Config, ConfigError, load

SECRET = "correct-horse-battery-staple-0123456789"

MINIMAL = f"""\
tun_mesh:
  config_version: 1.1
  clustering:
    control_api_advertise_url: https://alice.example:4567
    auth:
      secret: {SECRET}
    bootstrap_groups:
      default:
        bootstrap_node_urls:
          - https://bob.example:4567
  control_api:
    ssl:
      cert_file_path: cert.pem
      key_file_path: key.pem
  networking:
    ipv4:
      network_cidr: 10.77.0.0/16
      node_address_cidr: 10.77.1.2/24
  process:
    uid: 1000
"""

ORIGINAL = f"""\
---
tun_mesh:
  config_version: 1.1
  clustering:
    control_api_advertise_url: "https://192.0.2.10:4567/"
    auth:
      secret: '{SECRET}'
      pub_key_size: 4096
    bootstrap_groups:
      local:
        bootstrap_node_urls:
          - https://192.0.2.11:31234
          - https://[2001:db8::1]:4567
        bootstrap_retries: 0
      balanced:
        bootstrap_node_urls: [https://mesh.example.com]
      first:
        bootstrap_node_urls: null
    reload_config_on_bootstrap: true
  control_api:
    listen_port: 14567
    max_batch_size: 128
    ssl:
      ca_file_path: ca.pem
      cert_file_path: cert.pem
      key_file_path: key.pem
      verify_hostname: true
  logging:
    level: debug
  monitoring:
    method: prometheus
    enable_node_packet_metrics: true
    metric_ttl: 10m
    prometheus:
      base_labels:
        environment: production
        replica: 3
  networking:
    tun_device_id: mesh0
    ipv4:
      network_cidr: 10.77.0.0/16
      node_address_cidr: 10.77.1.2/24
      enable_broadcast: true
    ipv6:
      network_cidr: fd77::/48
      node_address_cidr: fd77::2/64
  process:
    uid: 1000
    gid: 2000
    ipc:
      group:
        max_init_attempts: 5
        key_range_min: 0x80000000
        key_range_max: 0x8ffffff0
    timing:
      request_timeout: 2.5
      auth:
        session_max_age: 1h
        early_validity_window: 6
        validity_window: 31
      registrations:
        groom_interval: 4.0
        startup_grace: 5m
        bootstrap_retry_interval: 10..20s
        local:
          reregistration_interval: 6
          stale_threshold: 36
        mesh:
          reregistration_interval: 0.5m
          stale_threshold: 130
      network:
        local:
          packet_expiration: 0.05
        mesh:
          packet_expiration: 0.15
      tun_handler:
        heartbeat_interval: 1.0
        fault_delay: 1.0
"""


def as_deployed() -> str:
    """A config file as deployed with the original, comments and all."""
    return Path(__file__).with_name("original-config.yaml").read_text(encoding="utf-8")


def middle(low: float, high: float) -> float:
    return (low + high) / 2


def timing(key: str, value: str) -> str:
    return f"uid: 1000\n    timing:\n      {key}: {value}"


class Case(unittest.SynchronousTestCase):
    """A directory with a certificate, a key and the file under test."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir()
        for name in ("ca.pem", "cert.pem", "key.pem"):
            (self.directory / name).write_text("PEM")
        self.path = self.directory / "config.yaml"

    def load(
        self,
        text: str | bytes,
        environ: Mapping[str, str] | None = None,
        draw: Callable[[float, float], float] = middle,
    ) -> Config:
        data = text.encode() if isinstance(text, str) else text
        self.path.write_bytes(data)
        return load(self.path, environ or {}, draw)

    def refusal(self, text: str | bytes, environ: Mapping[str, str] | None = None) -> list[str]:
        """The lines with which a file is refused, without the leading file name."""
        error = self.assertRaises(ConfigError, self.load, text, environ)
        lines = [line.removeprefix(f"{self.path}:") for line in error.report()]
        self.assertEqual(str(error), error.report()[0])
        for line in lines:
            self.assertTrue(line.isprintable(), line)
            self.assertNotIn(SECRET, line)
        return lines

    def with_line(self, old: str, new: str, text: str = MINIMAL) -> str:
        """`text` with one piece replaced, which must occur exactly once."""
        self.assertEqual(text.count(old), 1, old)
        return text.replace(old, new)

    def refused(self, old: str, new: str, *lines: str, text: str = MINIMAL) -> None:
        self.assertEqual(self.refusal(self.with_line(old, new, text)), list(lines))
