"""Loading valid config files, and keeping their secrets."""

from __future__ import annotations

import grp
import json
import pwd
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network
from pathlib import Path

import yaml

from tests.support.configs import MINIMAL, ORIGINAL, SECRET, Case, as_deployed, timing
from tunmesh.config.keys.root import key_paths
from tunmesh.config.loading import ConfigError, Endpoint, dump, path_of
from tunmesh.config.values import Automatic


class ValidFiles(Case):
    """Valid files."""

    def test_minimal(self) -> None:
        """A file with only the required keys gets the documented defaults."""
        config = self.load(MINIMAL)
        self.assertEqual(
            config.clustering.control_api_advertise_url, Endpoint("alice.example", 4567)
        )
        self.assertEqual(config.clustering.auth.accepted, (SECRET.encode(),))
        self.assertIsNone(config.clustering.node_name)
        self.assertEqual(config.clustering.bootstrap_groups["default"].bootstrap_retries, -1)
        self.assertEqual(config.control_api.listen_port, 4567)
        self.assertEqual(config.control_api.ssl.cert_file_path, self.directory / "cert.pem")
        self.assertIsNone(config.control_api.ssl.ca_file_path)
        self.assertEqual((config.logging.level, config.logging.format), ("info", "text"))
        self.assertEqual((config.monitoring.method, config.monitoring.metric_ttl), ("none", 3600.0))
        self.assertEqual(config.networking.tun_device_id, "tun1")
        self.assertIsNone(config.networking.ipv6)
        self.assertEqual((config.process.uid, config.process.gid), (1000, 1000))
        timing = config.process.timing
        self.assertEqual(timing.auth.session_max_age, 3600.0)
        self.assertEqual(timing.registrations.startup_grace, 0.0)
        self.assertEqual(timing.registrations.local.stale_threshold, 30.0)
        self.assertEqual(timing.registrations.mesh.stale_threshold, 120.0)
        self.assertEqual(timing.registrations.mesh.reregistration_interval, 30.0)
        self.assertEqual(timing.network.local.packet_expiration, 0.1)

    def test_advertised_host_to_be_found(self) -> None:
        """Without an advertised URL, or with `auto` as its host, the node finds the host; the port
        is the one it listens on unless another is given. Printed and read again, it is the same."""
        line = "    control_api_advertise_url: https://alice.example:4567\n"
        for value, written, endpoint in (
            ("", "auto", Endpoint("auto", 0)),
            (line.replace("https://alice.example:4567", "auto"), "auto", Endpoint("auto", 0)),
            (line.replace("alice.example", "auto"), "https://auto:4567", Endpoint("auto", 4567)),
            (line.replace("alice.example", "AUTO"), "https://auto:4567", Endpoint("auto", 4567)),
        ):
            config = self.load(MINIMAL.replace(line, value))
            url = config.clustering.control_api_advertise_url
            self.assertEqual((url, url.is_auto), (endpoint, True))
            printed = dump(config)["tun_mesh"]["clustering"]["control_api_advertise_url"]
            self.assertEqual(printed, written)
        self.assertFalse(self.load(MINIMAL).clustering.control_api_advertise_url.is_auto)

    def test_user_by_name(self) -> None:
        """A user and a group may be given by name; a user without a group has its own."""
        users = {"tunmesh": pwd.struct_passwd(("tunmesh", "x", 998, 997, "", "/", ""))}
        self.patch(pwd, "getpwnam", users.__getitem__)
        self.patch(grp, "getgrnam", {"keys": grp.struct_group(("keys", "x", 996, []))}.__getitem__)
        for text, ids in (
            ("uid: tunmesh", (998, 997)),
            ("uid: tunmesh\n    gid: keys", (998, 996)),
            ("uid: tunmesh\n    gid: 5", (998, 5)),
            ("uid: 998", (998, 998)),
        ):
            process = self.load(MINIMAL.replace("uid: 1000", text)).process
            self.assertEqual((process.uid, process.gid), ids)

    def test_original(self) -> None:
        """A file of the original that uses every key loads unchanged, with the same meaning."""
        config = self.load(ORIGINAL)
        clustering = config.clustering
        self.assertEqual(str(clustering.control_api_advertise_url), "https://192.0.2.10:4567")
        self.assertEqual(clustering.auth.pub_key_size, 4096)
        groups = clustering.bootstrap_groups
        self.assertEqual(
            groups["local"].bootstrap_node_urls,
            (Endpoint("192.0.2.11", 31234), Endpoint("2001:db8::1", 4567)),
        )
        self.assertEqual(groups["local"].bootstrap_retries, 0)
        self.assertEqual(
            groups["balanced"].bootstrap_node_urls, (Endpoint("mesh.example.com", 443),)
        )
        self.assertEqual(groups["first"].bootstrap_node_urls, ())
        self.assertTrue(clustering.reload_config_on_bootstrap)
        self.assertEqual(config.control_api.listen_port, 14567)
        self.assertEqual(config.control_api.ssl.ca_file_path, self.directory / "ca.pem")
        self.assertTrue(config.control_api.ssl.verify_hostname)
        self.assertEqual(config.logging.level, "debug")
        self.assertEqual(config.monitoring.metric_ttl, 600.0)
        self.assertEqual(
            config.monitoring.prometheus.base_labels, {"environment": "production", "replica": "3"}
        )
        ipv4, ipv6 = config.networking.ipv4, config.networking.ipv6
        assert ipv4 is not None and ipv6 is not None
        self.assertEqual(ipv4.network_cidr, IPv4Network("10.77.0.0/16"))
        self.assertEqual(ipv4.node_address_cidr, (IPv4Interface("10.77.1.2/24"),))
        self.assertTrue(ipv4.enable_broadcast)
        self.assertEqual(ipv6.network_cidr, IPv6Network("fd77::/48"))
        self.assertEqual(ipv6.node_address_cidr, (IPv6Interface("fd77::2/64"),))
        self.assertEqual(config.process.gid, 2000)
        self.assertEqual(config.process.ipc.group.key_range_min, 0x80000000)
        registrations = config.process.timing.registrations
        self.assertEqual(registrations.startup_grace, 300.0)
        self.assertEqual(registrations.bootstrap_retry_interval, 15.0)
        self.assertEqual(registrations.mesh.reregistration_interval, 30.0)
        self.assertEqual(config.process.timing.network.mesh.packet_expiration, 0.15)

    def test_automatic_addresses(self) -> None:
        """`auto` has the prefix of the network, unless it says another one; shown as such."""
        text = ORIGINAL.replace("10.77.1.2/24", "auto").replace("fd77::2/64", "auto/64")
        networking = self.load(text).networking
        assert networking.ipv4 is not None and networking.ipv6 is not None
        self.assertEqual(networking.ipv4.node_address_cidr, Automatic(16))
        self.assertEqual(networking.ipv6.node_address_cidr, Automatic(64))
        shown = dump(self.load(text))["tun_mesh"]["networking"]
        self.assertEqual(shown["ipv4"]["node_address_cidr"], "auto/16")
        self.assertEqual(shown["ipv6"]["node_address_cidr"], "auto/64")

    def test_as_deployed(self) -> None:
        """A file from a deployment of the original, with its service discovery, ranges and the keys
        of its extra processes, loads unchanged."""
        (self.directory / "tls").mkdir()
        for name in ("ca.pem", "node.pem", "node.key"):
            (self.directory / "tls" / name).write_text("PEM")
        config = self.load(as_deployed())
        self.assertEqual(config.clustering.control_api_advertise_url, Endpoint("10.31.7.24", 28113))
        groups = config.clustering.bootstrap_groups
        self.assertEqual(list(groups), ["same-datacenter", "other-datacenter", "spare"])
        self.assertEqual(len(groups["same-datacenter"].bootstrap_node_urls), 2)
        self.assertEqual(groups["other-datacenter"].bootstrap_retries, 20)
        self.assertEqual(groups["spare"].bootstrap_node_urls, ())
        self.assertEqual(config.control_api.ssl.ca_file_path, self.directory / "tls" / "ca.pem")
        timing = config.process.timing
        self.assertEqual(timing.auth.session_max_age, 2700.0)
        self.assertEqual(timing.registrations.startup_grace, 120.0)
        self.assertEqual(timing.registrations.mesh.reregistration_interval, 30.0)
        self.assertEqual(timing.network.local.packet_expiration, 0.05)
        self.assertEqual(config.process.ipc.group.key_range_max, 0x8FFF0000)
        labels = {"env": "production", "service": "billing", "replica": "07", "canary": "no"}
        self.assertEqual(config.monitoring.prometheus.base_labels, labels)

    def test_every_key_is_covered(self) -> None:
        """The original-style file above uses every key, except for new ones."""
        new = {"node_name", "secret_file", "secrets", "format", "levels", "admin", "listen", "tls"}
        new |= {"max_nodes_per_source", "memory_budget", "listen_address", "expected_nodes"}
        new |= {"dial_allow", "guard", "allow_overlap", "secret_files", "node_groups", "dns"}
        new |= {"transport", "mtu", "txqueuelen", "device_helper", "advertise", "accept_routes"}
        new |= {"enable_multicast", "floating", "relay"}
        tree = yaml.safe_load(ORIGINAL)
        for path in key_paths():
            if new & set(path):
                continue
            place = tree
            for name in path:
                place = place["local" if name == "NAME" else name]

    def test_several_addresses(self) -> None:
        """A node may have several addresses of a family. What is shown can be loaded again."""
        text = MINIMAL.replace("10.77.1.2/24", "[10.77.1.2/24, 10.77.9.1/32]")
        networking = self.load(text).networking
        assert networking.ipv4 is not None
        own = (IPv4Interface("10.77.1.2/24"), IPv4Interface("10.77.9.1/32"))
        self.assertEqual(networking.ipv4.node_address_cidr, own)
        shown = dump(self.load(text))["tun_mesh"]["networking"]["ipv4"]["node_address_cidr"]
        self.assertEqual(shown, ["10.77.1.2/24", "10.77.9.1/32"])
        self.assertFalse(networking.has_helper)

    def test_device(self) -> None:
        """The device has an MTU of 1500 and no helper process unless the config says so, or the
        node chooses an address."""
        networking = self.load(MINIMAL).networking
        self.assertEqual((networking.mtu, networking.txqueuelen), (1500, None))
        for old, new, mtu, queue in (
            ("10.77.1.2/24", "auto", 1500, None),
            ("  networking:", "  networking:\n    device_helper: true\n    mtu: 9000", 9000, None),
        ):
            networking = self.load(MINIMAL.replace(old, new)).networking
            self.assertEqual((networking.mtu, networking.txqueuelen), (mtu, queue))
            self.assertTrue(networking.has_helper)

    def test_monitoring_address(self) -> None:
        """Monitoring may have its own address, of either family."""
        for text, address, port in (
            ("127.0.0.1:9464", "127.0.0.1", 9464),
            ("0.0.0.0:1", "0.0.0.0", 1),
            ('"[::1]:65535"', "::1", 65535),
            ('"[::]:9464"', "::", 9464),
        ):
            config = self.load(MINIMAL + f"  monitoring: {{listen: {text}}}\n")
            listen = config.monitoring.listen
            assert listen is not None
            self.assertEqual((str(listen.address), listen.port), (address, port))
            self.assertEqual(dump(config)["tun_mesh"]["monitoring"]["listen"], text.strip('"'))
        self.assertFalse(config.monitoring.tls)

    def test_listen_address(self) -> None:
        """A listen address may come from the environment; by default there is none."""
        text = self.with_line("  control_api:\n", "  control_api:\n    listen_address: ${POD_IP}\n")
        for address in ("10.1.2.3", "fd00::3", "0.0.0.0"):
            config = self.load(text, {"POD_IP": address})
            self.assertEqual(str(config.control_api.listen_address), address)
        self.assertIsNone(self.load(MINIMAL).control_api.listen_address)

    def test_levels(self) -> None:
        """Parts of the log may have their own levels."""
        config = self.load(MINIMAL + "  logging: {levels: {link: error, other: debug}}\n")
        self.assertEqual(dict(config.logging.levels), {"link": "error", "other": "debug"})

    def test_allowed_overlaps(self) -> None:
        """Networks of both families that may overlap with the mesh can be listed, and nothing
        else."""
        text = MINIMAL.replace("networking:\n", "networking:\n    allow_overlap: {}\n")
        config = self.load(text.format("[10.77.9.0/24, 'fd77:9::/64']"))
        expected = (IPv4Network("10.77.9.0/24"), IPv6Network("fd77:9::/64"))
        self.assertEqual(config.networking.allow_overlap, expected)
        self.assertEqual(self.load(text.format("")).networking.allow_overlap, ())
        error = self.assertRaises(ConfigError, self.load, text.format("[10.77.9.1/24]"))
        self.assertIn("must be 10.77.9.0/24, the network itself", str(error))

    def test_durations(self) -> None:
        """A duration is a number of seconds or has a unit; a value from a range is drawn when it is
        loaded."""
        for text, seconds in {
            "7": 7.0,
            "7.5": 7.5,
            "'7'": 7.0,
            "10s": 10.0,
            "5m": 300.0,
            "1h": 3600.0,
            "2d": 172800.0,
            "0.5H": 1800.0,
            "10..20s": 15.0,
            "1..3m": 120.0,
            "10..20": 15.0,
            "10..10s": 10.0,
        }.items():
            config = self.load(MINIMAL.replace("uid: 1000", timing("request_timeout", text)))
            self.assertEqual(config.process.timing.request_timeout, seconds, text)

    def test_range_is_drawn_in_seconds(self) -> None:
        """The value is drawn between the ends of the range in seconds."""
        asked = []

        def draw(low: float, high: float) -> float:
            asked.append((low, high))
            return high

        text = MINIMAL.replace("uid: 1000", timing("request_timeout", "1..3m"))
        self.assertEqual(self.load(text, draw=draw).process.timing.request_timeout, 180.0)
        self.assertEqual(asked, [(60.0, 180.0)])

    def test_durations_are_whole_milliseconds(self) -> None:
        """A drawn or tiny duration can be written to a file and read again."""
        for text, drawn, seconds in (("1..3", 1.23456789012345, 1.235), ("1.00005", 0, 1.0)):
            config = self.load(
                MINIMAL.replace("uid: 1000", timing("request_timeout", text)),
                draw=lambda low, high, drawn=drawn: drawn,  # type: ignore[misc]
            )
            self.assertEqual(config.process.timing.request_timeout, seconds, text)

    def test_environment(self) -> None:
        """${NAME} is replaced in any value, including numbers and list items, but nowhere else."""
        text = MINIMAL.replace("uid: 1000", "uid: ${UID}")
        text = text.replace("bob.example:4567", "${BOB}.example:${PORT}")
        text = text.replace(f"secret: {SECRET}", 'secret: "${SECRET}$$ ${not a name} $HOME"')
        config = self.load(text, {"UID": "7", "BOB": "b", "PORT": "99", "SECRET": SECRET})
        self.assertEqual(config.process.uid, 7)
        group = config.clustering.bootstrap_groups["default"]
        self.assertEqual(group.bootstrap_node_urls, (Endpoint("b.example", 99),))
        expected = f"{SECRET}$$ ${{not a name}} $HOME"
        self.assertEqual(config.clustering.auth.accepted, (expected.encode(),))

    def test_default_of_a_variable(self) -> None:
        """${NAME:-default} is the default where the variable is not set or empty, as in a POSIX
        shell; it may be empty, and have colons and slashes in it."""
        for text, environ, expected in (
            ("${M:-1..2}", {}, 2.0),
            ("${M:-7}", {"M": ""}, 7.0),
            ("${M:-7}", {"M": "\n"}, 7.0),
            ("${M:-7}", {"M": "5m\n"}, 300.0),
            ("${A:-}${M:-7}${B:-s}", {"B": "m"}, 420.0),
        ):
            config = self.load(
                MINIMAL.replace("uid: 1000", timing("request_timeout", text)),
                environ,
                draw=lambda _low, high: high,
            )
            self.assertEqual(config.process.timing.request_timeout, expected, text)
        url = MINIMAL.replace("https://bob.example:4567", '"${BOB:-https://b.example:99}"')
        group = self.load(url).clustering.bootstrap_groups["default"]
        self.assertEqual(group.bootstrap_node_urls, (Endpoint("b.example", 99),))

    def test_environment_is_not_yaml(self) -> None:
        """The value of a variable is never parsed as YAML, and not expanded again."""
        text = MINIMAL.replace(f"secret: {SECRET}", "secret: ${S}")
        value = f"{SECRET}: [${{S}}"
        self.assertEqual(self.load(text, {"S": value}).clustering.auth.accepted, (value.encode(),))

    def test_scalars_are_text(self) -> None:
        """A secret of digits keeps its leading zeros, and a label value may look like a bool."""
        digits = "0" * 8 + "1" * 32
        text = MINIMAL.replace(SECRET, digits) + (
            "  monitoring: {prometheus: {base_labels: {up: yes, tag: 1.10}}}\n"
        )
        config = self.load(text)
        self.assertEqual(config.clustering.auth.accepted, (digits.encode(),))
        self.assertEqual(config.monitoring.prometheus.base_labels, {"up": "yes", "tag": "1.10"})

    def test_empty_sections(self) -> None:
        """A section in which all keys are commented out has its defaults."""
        config = self.load(MINIMAL + "  logging:\n  monitoring:\n    # method: prometheus\n")
        self.assertEqual(config.logging.level, "info")
        self.assertEqual(config.monitoring.method, "none")

    def test_secret_file(self) -> None:
        """A secret can be in a file of its own, next to the config; the final newline is not part
        of it."""
        (self.directory / "secret").write_text(SECRET + "\n")
        config = self.load(MINIMAL.replace(f"secret: {SECRET}", "secret_file: secret"))
        self.assertEqual(config.clustering.auth.accepted, (SECRET.encode(),))

    def test_white_space_around_a_secret(self) -> None:
        """White space, line ends of any system and byte order marks around a secret are ignored,
        whether it is in a file, in the config or in a variable."""
        file = self.directory / "secret"
        for around in ("{}\n", "{}\r\n", "\ufeff{}", "\ufeff{}\r\n\r\n", "  {}\t\n", "{} \ufeff"):
            text = around.format(SECRET)
            file.write_bytes(text.encode())
            for source in (
                "secret_file: secret",
                "secret: ${SECRET}",
                "secrets: ['${SECRET}']",
                f"secret: |\n        {SECRET}\n",
                f"secret: {json.dumps(text.replace(chr(13), ''))}",
            ):
                config = self.load(MINIMAL.replace(f"secret: {SECRET}", source), {"SECRET": text})
                self.assertEqual(config.clustering.auth.accepted, (SECRET.encode(),), source)

    def test_lines_of_a_secret(self) -> None:
        """Line ends inside a secret are converted to those of Unix."""
        half = SECRET[:20]
        (self.directory / "secret").write_bytes(f"{half}\r\n{half}\r\n".encode())
        config = self.load(MINIMAL.replace(f"secret: {SECRET}", "secret_file: secret"))
        self.assertEqual(config.clustering.auth.accepted, (f"{half}\n{half}".encode(),))

    def test_line_end_of_a_variable(self) -> None:
        """A variable with the content of a whole file may end with a line end."""
        text = MINIMAL.replace("uid: 1000", "uid: ${MESH_UID}")
        self.assertEqual(self.load(text, {"MESH_UID": "1000\r\n"}).process.uid, 1000)

    def test_several_secrets(self) -> None:
        """Of several secrets all are accepted, and the first is preferred."""
        other = "another-secret-of-32-characters!"
        config = self.load(MINIMAL.replace(f"secret: {SECRET}", f"secrets: [{other}, {SECRET}]"))
        self.assertEqual(config.clustering.auth.accepted, (other.encode(), SECRET.encode()))

    def test_several_secret_files(self) -> None:
        """The same with a file for each; white space around each secret is ignored."""
        other = "another-secret-of-32-characters!"
        (self.directory / "old").write_text(SECRET)
        (self.directory / "new").write_text(f"{other}\n")
        text = MINIMAL.replace(f"secret: {SECRET}", "secret_files: [new, old]")
        auth = self.load(text).clustering.auth
        self.assertEqual(auth.accepted, (other.encode(), SECRET.encode()))
        self.assertEqual(auth.files, (self.directory / "new", self.directory / "old"))

    def test_relative_to_the_file(self) -> None:
        """Relative file paths are relative to the config file, absolute ones are used unchanged."""
        absolute = self.directory / "ca.pem"
        config = self.load(MINIMAL.replace("key_file_path: key.pem", f"key_file_path: {absolute}"))
        self.assertEqual(config.control_api.ssl.key_file_path, absolute)
        self.assertTrue(config.control_api.ssl.cert_file_path.is_absolute())

    def test_only_ipv6(self) -> None:
        """A mesh may be IPv6 only, and may use the smallest networks."""
        text = MINIMAL.replace("ipv4", "ipv6").replace("10.77.0.0/16", "fd77::/126")
        config = self.load(text.replace("10.77.1.2/24", "fd77::2/127"))
        self.assertIsNone(config.networking.ipv4)

    def test_frozen(self) -> None:
        """A config cannot be changed after it was checked."""
        config = self.load(MINIMAL)
        with self.assertRaises(ValueError):
            config.process.uid = 0

    def test_path(self) -> None:
        """The option takes precedence over the environment, which takes precedence over /etc."""
        environ = {"TUNMESH_CONFIG_PATH": "/b"}
        self.assertEqual(path_of("/a", environ), Path("/a"))
        self.assertEqual(path_of(None, environ), Path("/b"))
        self.assertEqual(path_of(None, {}), Path("/etc/tunmesh/config.yaml"))


class Secrets(Case):
    """Secrets do not leak."""

    def test_not_in_repr(self) -> None:
        """The repr of a config, or of any part of it, shows no secret."""
        (self.directory / "secret").write_text(SECRET)
        for source in (
            f"secret: {SECRET}",
            f"secrets: [{SECRET}]",
            "secret_file: secret",
            "secret_files: [secret]",
        ):
            config = self.load(MINIMAL.replace(f"secret: {SECRET}", source))
            auth = config.clustering.auth
            for shown in (repr(config), str(config), repr(auth), str(auth.model_dump())):
                self.assertNotIn(SECRET, shown)

    def test_not_in_dump(self) -> None:
        """A dump has a placeholder for every secret, or the path of its file."""
        auth = dump(self.load(MINIMAL))["tun_mesh"]["clustering"]["auth"]
        self.assertEqual(auth["secret"], "(redacted)")
        (self.directory / "secret").write_text(SECRET)
        text = MINIMAL.replace(f"secret: {SECRET}", "secret_file: secret")
        tree = dump(self.load(text), reveal=True)
        self.assertNotIn(SECRET, str(tree))
        self.assertEqual(
            tree["tun_mesh"]["clustering"]["auth"]["secret_file"], str(self.directory / "secret")
        )

    def test_revealed_dump_loads_again(self) -> None:
        """A dump with secrets is a valid config that loads as the same config."""
        for text in (MINIMAL, ORIGINAL):
            config = self.load(text)
            again = self.load(yaml.safe_dump(dump(config, reveal=True)))
            self.assertEqual(config, again)
