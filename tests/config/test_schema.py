"""The JSON schema, as an editor applies it to a config file."""

from __future__ import annotations

import json
from typing import Any

import yaml
from jsonschema import Draft202012Validator

from tests.config.test_reference import ANSWERS_FOR_IPV6, filled, uncommented
from tests.support.configs import MINIMAL, ORIGINAL, SECRET, Case, as_deployed, timing
from tunmesh.config.docs.example import example
from tunmesh.config.docs.schema import DRAFT, schema
from tunmesh.config.keys.root import key_paths


class Schema(Case):
    """`tunmesh config schema`."""

    def complaints(self, text: str) -> list[str]:
        """The innermost keys of the errors that an editor underlines."""
        validator = Draft202012Validator(schema())
        errors = validator.iter_errors(yaml.safe_load(text))
        return [f"{'/'.join(map(str, error.absolute_path))}: {error.message}" for error in errors]

    def test_is_a_schema(self) -> None:
        """It is a valid JSON schema of draft 2020-12, and survives being written to a file."""
        Draft202012Validator.check_schema(schema())
        self.assertEqual(schema()["$schema"], DRAFT)
        self.assertEqual(json.loads(json.dumps(schema())), schema())

    def test_right_files(self) -> None:
        """Nothing is underlined in valid files."""
        for text in (
            MINIMAL,
            ORIGINAL,
            as_deployed(),
            filled(example()),
            filled(uncommented(example()), ANSWERS_FOR_IPV6),
            MINIMAL + "  logging:\n  monitoring:\n    # method: prometheus\n",
            MINIMAL.replace(f"secret: {SECRET}", f"secrets: [{SECRET}]"),
            MINIMAL.replace("10.77.1.2/24", "auto"),
            MINIMAL.replace("10.77.1.2/24", "auto/24"),
        ):
            self.assertEqual(self.complaints(text), [])

    def test_environment(self) -> None:
        """A value of any type may come from the environment."""
        text = MINIMAL.replace("uid: 1000", timing("request_timeout", "${T}"))
        text = text.replace("10.77.0.0/16", "${NET}").replace(SECRET, "${SECRET}")
        text = text.replace("https://alice.example:4567", "https://${HOST}:${PORT}")
        text += "  logging: {level: '${L}'}\n"
        text = text.replace(
            "  control_api:\n    ssl:", "  control_api:\n    listen_port: ${P}\n    ssl:"
        )
        self.assertEqual(self.complaints(text), [])

    def test_wrong_files(self) -> None:
        """Values that the lint would refuse for their form alone are underlined, in the right
        place."""
        for old, new, place in (
            ("uid: 1000", "uid: 0", "tun_mesh/process/uid"),
            ("uid: 1000", "uid: root", "tun_mesh/process/uid"),
            ("uid: 1000", "uid: 1000\n    gdi: 5", "tun_mesh/process"),
            ("uid: 1000", "gid: 1000", "tun_mesh/process"),
            ("1.1", "1.2", "tun_mesh/config_version"),
            ("https://alice", "http://alice", "tun_mesh/clustering/control_api_advertise_url"),
            (SECRET, "hunter2", "tun_mesh/clustering/auth/secret"),
            (f"secret: {SECRET}", "pub_key_size: 2048", "tun_mesh/clustering/auth"),
            (
                "https://bob.example:4567",
                "bob",
                "tun_mesh/clustering/bootstrap_groups/default/bootstrap_node_urls/0",
            ),
            ("10.77.0.0/16", "fd77::/48", "tun_mesh/networking/ipv4/network_cidr"),
            ("10.77.1.2/24", "automatic", "tun_mesh/networking/ipv4/node_address_cidr"),
            ("ipv4:", "ipv5:", "tun_mesh/networking"),
        ):
            self.wrong(MINIMAL, old, new, place)
        for old, new, place in (
            ("level: debug", "level: loud", "tun_mesh/logging/level"),
            ("listen_port: 14567", "listen_port: 70000", "tun_mesh/control_api/listen_port"),
            ("tun_device_id: mesh0", "tun_device_id: a b", "tun_mesh/networking/tun_device_id"),
            ("metric_ttl: 10m", "metric_ttl: soon", "tun_mesh/monitoring/metric_ttl"),
            ("metric_ttl: 10m", "metric_ttl: 0", "tun_mesh/monitoring/metric_ttl"),
            ("environment:", "9lives:", "tun_mesh/monitoring/prometheus/base_labels"),
            (
                "verify_hostname: true",
                "verify_hostname: 3",
                "tun_mesh/control_api/ssl/verify_hostname",
            ),
        ):
            self.wrong(ORIGINAL, old, new, place)

    def wrong(self, text: str, old: str, new: str, place: str) -> None:
        text = self.with_line(old, new, text) if text.count(old) == 1 else text.replace(old, new, 1)
        self.refusal(text)
        places = [line.split(": ")[0] for line in self.complaints(text)]
        self.assertIn(place, places, new)

    def test_every_key(self) -> None:
        """Every key has a description for the editor to show."""
        for path in key_paths():
            place: dict[str, Any] = schema()
            for name in path:
                place = (
                    place["additionalProperties"] if name == "NAME" else place["properties"][name]
                )
            self.assertEqual(place["title"], path[-1])
            self.assertTrue(place["description"])
