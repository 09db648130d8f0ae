"""Problems that the lint finds in files that can be loaded."""

from __future__ import annotations

import os
import random
import socket
import string
import time
from datetime import timedelta

from tests.config.test_reference import filled
from tests.support.certificates import Holder
from tests.support.configs import MINIMAL, ORIGINAL, SECRET, Case, middle
from tunmesh.config.docs.example import example
from tunmesh.config.lint.lint import Findings, lint
from tunmesh.config.secrecy import weakness
from tunmesh.names import resolv_conf
from tunmesh.netlink import forwarding, query

# A network for benchmarks (RFC 2544) that no machine should have.
GOOD = MINIMAL.replace("10.77.0.0/16", "198.18.0.0/16").replace("10.77.1.2/24", "198.18.1.2/24")
DAY = timedelta(days=1)


class LintCase(Case):
    """A directory with a certificate and its key."""

    def setUp(self) -> None:
        super().setUp()
        self.certificate(Holder("mesh", end=365 * DAY))

    def certificate(self, holder: Holder) -> None:
        (self.directory / "cert.pem").write_bytes(holder.pem())
        (self.directory / "key.pem").write_bytes(holder.key_pem())

    def findings(self, text: str, days: float = 0) -> Findings:
        """The lint's findings, this many days from now."""
        self.path.write_text(text)
        return lint(self.path, {}, middle, time.time() + days * DAY.total_seconds())

    def errors(self, text: str) -> list[str]:
        findings = self.findings(text)
        self.assertIsNone(findings.config)
        self.assertEqual(findings.warnings, ())
        return [f"{problem.line}: {problem.key}: {problem.text}" for problem in findings.errors]

    def warnings(self, text: str, days: float = 0) -> list[str]:
        findings = self.findings(text, days)
        self.assertEqual(findings.errors, ())
        self.assertIsNotNone(findings.config)
        lines = [f"{problem.line}: {problem.key}: {problem.text}" for problem in findings.warnings]
        self.assertNotIn(SECRET, str(lines))
        return lines


class Silence(LintCase):
    """Files without findings."""

    def test_minimal(self) -> None:
        """A valid file gets no warning."""
        self.assertEqual(self.warnings(GOOD), [])

    def test_example(self) -> None:
        """The example gets no warning, once its REQUIRED values are filled in."""
        self.assertEqual(self.warnings(filled(example())), [])


class Errors(LintCase):
    """Problems with which a node would not start."""

    def test_not_pem(self) -> None:
        """A certificate, a key or a CA file that is not PEM is named, with its config key and
        line."""
        for name, line, key, what in (
            ("cert.pem", 13, "cert_file_path", "holds no certificate in PEM form"),
            ("key.pem", 14, "key_file_path", "holds no private key in PEM form"),
            ("ca.pem", 15, "ca_file_path", "holds no certificate in PEM form"),
        ):
            self.certificate(Holder("mesh", end=365 * DAY))
            (self.directory / name).write_text("not PEM")
            text = GOOD.replace(
                "key_file_path: key.pem", "key_file_path: key.pem\n      ca_file_path: ca.pem"
            )
            if name != "ca.pem":
                text = GOOD
            (error,) = self.errors(text)
            start = f"{line}: tun_mesh/control_api/ssl/{key}: {self.directory / name}: {what}"
            self.assertTrue(error.startswith(start), error)

    def test_not_its_key(self) -> None:
        """A key that belongs to another certificate is refused."""
        (self.directory / "key.pem").write_bytes(Holder("other").key_pem())
        self.assertEqual(
            self.errors(GOOD),
            [
                f"14: tun_mesh/control_api/ssl/key_file_path: {self.directory}/key.pem: is not the "
                f"private key of the certificate in {self.directory}/cert.pem"
            ],
        )

    def test_host_without_a_name(self) -> None:
        """If the host's name is one that peers refuse, the config must set a name."""
        self.patch(socket, "gethostname", lambda: "büro pc")
        self.assertEqual(
            self.errors(GOOD),
            [
                '3: tun_mesh/clustering/node_name: is not given, and the host name "büro pc" '
                "cannot be a node's name; set it to 1 to 64 letters, digits, dots, dashes or "
                "underscores"
            ],
        )
        automatic = GOOD.replace("clustering:", "clustering:\n    node_name: auto")
        (error,) = self.errors(automatic)
        self.assertIn('4: tun_mesh/clustering/node_name: is auto, and the host name "büro', error)
        named = GOOD.replace("clustering:", "clustering:\n    node_name: office")
        self.assertEqual(self.warnings(named), [])

    def test_network_of_this_machine(self) -> None:
        """A mesh that overlaps with a network of this machine is refused."""
        text = GOOD.replace("198.18.0.0/16", "127.7.0.0/16").replace("198.18.1.2", "127.7.1.2")
        (error,) = self.errors(text)
        self.assertIn(
            "17: tun_mesh/networking/ipv4/network_cidr: 127.7.0.0/16 overlaps 127.0", error
        )
        self.assertIn("which lo uses", error)

    def test_network_of_an_automatic_address(self) -> None:
        """It is compared with this machine's networks before there is an address."""
        text = GOOD.replace("198.18.0.0/16", "127.7.0.0/16").replace("198.18.1.2/24", "auto/24")
        (error,) = self.errors(text)
        self.assertIn("network_cidr: 127.7.0.0/16 overlaps 127.0", error)
        text = text.replace("127.7.0.0/16", "198.18.0.0/16")
        self.assertEqual(self.warnings(text), [])

    def test_network_of_this_node(self) -> None:
        """A network on the configured device is no conflict: the node is already running."""
        text = GOOD.replace("198.18.0.0/16", "127.7.0.0/16").replace("198.18.1.2", "127.7.1.2")
        text = text.replace("    ipv4:", "    tun_device_id: lo\n    ipv4:")
        self.assertEqual(self.warnings(text), [])

    def test_everything_at_once(self) -> None:
        """One mistake does not hide another one of any kind, and they are in the order of the
        file."""
        (self.directory / "key.pem").write_text("not PEM")
        text = GOOD.replace("198.18.0.0/16", "127.7.0.0/16").replace("198.18.1.2", "127.7.1.2")
        text = text.replace("uid: 1000", "uid: 0").replace(
            "config_version: 1.1", "config_version: 2"
        )
        findings = self.findings(text.replace(SECRET, "xy" * 16))
        self.assertEqual([problem.line for problem in findings.errors], [2, 14, 17, 20])
        self.assertEqual([problem.line for problem in findings.warnings], [6])


class Warnings(LintCase):
    """Problems with which a node would start all the same."""

    def test_without_effect(self) -> None:
        """Keys of the original that have no effect here are named, each with its line."""
        text = ORIGINAL.replace("10.77.0.0/16", "198.18.0.0/16")
        text = text.replace("10.77.1.2/24", "198.18.1.2/24").replace("ca_file_path: ca.pem", "")
        text = text.replace("verify_hostname: true", "")
        warnings = [line for line in self.warnings(text) if "has no effect" in line]
        self.assertEqual(
            [warning.split(": ")[1].split("/")[-1] for warning in warnings],
            [
                "pub_key_size",
                "max_batch_size",
                "max_init_attempts",
                "key_range_min",
                "key_range_max",
                "early_validity_window",
                "validity_window",
                "heartbeat_interval",
                "fault_delay",
            ],
        )
        self.assertEqual(
            warnings[0],
            "8: tun_mesh/clustering/auth/pub_key_size: has no effect here; it can be removed",
        )

    def test_monotonous_secrets(self) -> None:
        """A long secret of few different characters gets a warning, wherever it is."""
        (self.directory / "secret").write_text("ab" * 20)
        (self.directory / "secret").chmod(0o600)
        for source, key in (
            (f"secret: {'abc' * 20}", "secret"),
            (f"secrets: [{SECRET}, {'ab' * 20}]", "secrets/1"),
            ("secret_file: secret", "secret_file"),
        ):
            (warning,) = self.warnings(GOOD.replace(f"secret: {SECRET}", source))
            self.assertTrue(
                warning.startswith(f"6: tun_mesh/clustering/auth/{key}: has too little ")
            )

    def test_patterns(self) -> None:
        """A secret that repeats or counts up gets a warning, however many characters it has."""
        counting = "0123456789abcdefghijklmnopqrstuvwxyz"
        for pattern in (
            "abcdefgh" * 4,
            "password1" * 4,
            counting,
            counting[::-1],
            "Mesh-2026!" * 4,
        ):
            (warning,) = self.warnings(GOOD.replace(SECRET, pattern))
            self.assertIn("/auth/secret: is a pattern that repeats or counts up", warning)

    def test_short_without_white_space(self) -> None:
        """A secret of the original that is long enough only with surrounding white space gets a
        warning."""
        (warning,) = self.warnings(GOOD.replace(SECRET, f"'{SECRET[:30]}  '"))
        self.assertIn("has 30 characters without the white space around it, not 32", warning)

    def test_placeholders(self) -> None:
        """What an example has in place of a secret gets a warning, however long it is."""
        for placeholder in (
            "changeme-0123-please-abcdef-xyzw-98",
            "REPLACE_WITH_A_LONG_RANDOM_VALUE",
            "<your secret of 32 characters here>",
            "at least 32 random characters, please",
        ):
            self.assertIn("reads like the placeholder of an example", weakness(placeholder))
        (doubt,) = self.findings(GOOD.replace(SECRET, f"'{placeholder}'")).doubts
        self.assertIn("/auth/secret", doubt.key)

    def test_public_networks(self) -> None:
        """A mesh of addresses that somebody on the internet has gets a warning, also one that is
        only partly private, as by a typing error; one of private addresses does not."""
        ipv4, ipv6 = GOOD, GOOD.replace("198.18.0.0/16", "fd97::/64")
        ipv6 = ipv6.replace("ipv4:", "ipv6:").replace("198.18.1.2/24", "fd97::2/64")
        for text, network, address in (
            (ipv4, "172.160.0.0/16", "172.160.1.2/24"),
            (ipv4, "192.0.0.0/8", "192.168.1.2/24"),
            (ipv6, "2a0e:97::/64", "2a0e:97::2/64"),
        ):
            changed = text.replace("198.18.0.0/16", network).replace("198.18.1.2/24", address)
            changed = changed.replace("fd97::/64", network).replace("fd97::2/64", address)
            (doubt,) = self.findings(changed).doubts
            self.assertIn(f"has public addresses ({network}): what has them on", doubt.text)
            self.assertTrue(doubt.key.endswith("/network_cidr"))
        for network in ("100.100.0.0/16", "240.9.0.0/16", "172.31.96.0/20"):
            address = network.replace("0.0/16", "0.2/24").replace("0/20", "2/24")
            changed = ipv4.replace("198.18.0.0/16", network).replace("198.18.1.2/24", address)
            self.assertEqual(self.findings(changed).doubts, ())
        self.assertEqual(self.findings(ipv6).doubts, ())

    def test_ports_of_something_else(self) -> None:
        """A URL with the port of the metrics, or of the page, leads to no node; the mesh's own port
        may be any."""
        more = "  monitoring: {method: prometheus, listen: '127.0.0.1:9464'}\n"
        text = f"{GOOD}{more}  admin: {{http_port: 8600}}\n"
        self.assertEqual(self.warnings(text), [])
        for port, key in (("9464", "monitoring/listen"), ("8600", "admin/http_port")):
            wrong = text.replace("bob.example:4567", f"bob.example:{port}")
            (warning,) = self.warnings(wrong)
            self.assertIn(
                f"/bootstrap_node_urls/0: has port {port}, which is that of {key} here; the mesh's "
                "is 4567 (control_api/listen_port)",
                warning,
            )
        (warning,) = self.warnings(text.replace("alice.example:4567", "alice.example:8600"))
        self.assertIn("/control_api_advertise_url: has port 8600", warning)

    def test_names_of_many_machines(self) -> None:
        """A node whose name is that of a machine without a name is told to have one."""
        self.patch(socket, "gethostname", lambda: "localhost.localdomain")
        (warning,) = self.warnings(GOOD)
        self.assertIn("node_name: is not given, and the host name is localhost.loc", warning)
        self.patch(socket, "gethostname", lambda: "web-1")
        self.assertEqual(self.warnings(GOOD), [])

    def test_random_secrets(self) -> None:
        """Random secrets get no warning, whatever characters they have."""
        chance = random.Random(11)
        for alphabet in (string.digits, string.hexdigits, string.ascii_letters):
            for _ in range(6):
                secret = "".join(chance.choices(alphabet, k=39))
                self.assertEqual(self.warnings(GOOD.replace(SECRET, f"'{secret}'")), [], secret)

    def test_public_secret_file(self) -> None:
        """A secret file that all users of the machine can read gets a warning."""
        file = self.directory / "secret"
        file.write_text(SECRET)
        text = GOOD.replace(f"secret: {SECRET}", "secret_file: secret")
        file.chmod(0o644)
        self.assertEqual(
            self.warnings(text),
            [
                "6: tun_mesh/clustering/auth/secret_file: can be read by everybody on this machine "
                f"(mode 0644); take that away, as with chmod o= {file}"
            ],
        )
        listed = text.replace("secret_file: secret", "secret_files: [secret]")
        (warning,) = self.warnings(listed)
        self.assertIn("6: tun_mesh/clustering/auth/secret_files/0: can be read", warning)
        file.chmod(0o640)
        self.assertEqual(self.warnings(text), [])

    def test_certificate_dates(self) -> None:
        """A certificate that has expired, expires within 30 days or is not valid yet is named."""
        key = "13: tun_mesh/control_api/ssl/cert_file_path"
        self.certificate(Holder("mesh", begin=DAY, end=100 * DAY))
        (early,) = self.warnings(GOOD)
        self.assertTrue(early.startswith(f"{key}: is not valid before 2"), early)
        self.assertEqual(self.warnings(GOOD, 69), [])
        self.assertEqual(self.warnings(GOOD, 75), [f"{key}: expires in 24 days; renew it"])
        self.assertEqual(
            self.warnings(GOOD, 105),
            [f"{key}: expired 5 days ago; nodes that dial this one refuse it, renew it"],
        )

    def test_public_metrics(self) -> None:
        """Metrics that strangers can read get a warning that says what they reveal; metrics at
        their own address do not."""
        text = f"{GOOD}  monitoring:\n    method: prometheus\n"
        told = (
            "shows /metrics to strangers on the mesh's port: name, version and counts of this node"
        )
        right = "; give it an address of its own with monitoring/listen"
        (warning,) = self.warnings(text)
        self.assertTrue(warning.endswith(f"tun_mesh/monitoring/method: {told}{right}"), warning)
        (warning,) = self.warnings(text + "    enable_node_packet_metrics: true\n")
        self.assertTrue(warning.endswith(f", and the names of its peers{right}"), warning)
        self.assertEqual(self.warnings(text + "    listen: 127.0.0.1:9464\n"), [])

    def test_name_of_the_host(self) -> None:
        """If host names are verified, the certificate should be for the advertised one; a final dot
        makes no difference."""
        text = GOOD.replace(
            "      key_file_path", "      verify_hostname: true\n      key_file_path"
        )
        self.certificate(Holder("mesh", "bob.example", end=365 * DAY))
        self.assertEqual(
            self.warnings(text),
            [
                "13: tun_mesh/control_api/ssl/cert_file_path: is not for alice.example, the host "
                "of control_api_advertise_url; peers that verify_hostname, as this node does, "
                "refuse it"
            ],
        )
        self.assertEqual(self.warnings(text.replace("alice.example", "bob.example.")), [])
        self.certificate(Holder("mesh", "192.0.2.1", end=365 * DAY))
        self.assertEqual(self.warnings(text.replace("alice.example", "192.0.2.1")), [])

    def test_name_of_a_container(self) -> None:
        """An automatic address follows from the name; a container's random host name is no name to
        follow from."""
        text = GOOD.replace("198.18.1.2/24", "auto")
        self.patch(socket, "gethostname", lambda: "4f2a90c1b7de")
        (warning,) = self.warnings(text)
        self.assertIn("tun_mesh/clustering/node_name: is not given, and the host name", warning)
        self.assertIn("4f2a90c1b7de is that of a container", warning)
        for name in ("auto", "web-1"):
            named = text.replace("clustering:", f"clustering:\n    node_name: {name}")
            self.assertEqual(self.warnings(named), [])
        self.assertEqual(self.warnings(GOOD), [], "static")
        self.patch(socket, "gethostname", lambda: "web-1")
        self.assertEqual(self.warnings(text), [])

    def test_issuer_that_has_expired(self) -> None:
        """The dates of the issuers are checked as well, and logged at the start."""
        root = Holder("root", begin=-9 * DAY, end=-5 * DAY)
        self.certificate(Holder("node", "alice.example", issuer=root, end=90 * DAY))
        (self.directory / "ca.pem").write_bytes(root.pem())
        findings = self.findings(GOOD.replace("key.pem", "key.pem\n      ca_file_path: ca.pem"))
        (warning,) = findings.warnings
        self.assertIn("is by CN=root, whose certificate expired 5 days ago", warning.text)
        self.assertEqual((findings.errors, findings.doubts), ((), (warning,)))

    def test_loopback(self) -> None:
        """A node that advertises loopback cannot be reached from any other machine."""
        for host in ("localhost", "LOCALHOST", "a.localhost", "127.0.0.1", "127.9.9.9", "[::1]"):
            text = self.with_line("https://alice.example:4567", f'"https://{host}:4567"', GOOD)
            (warning,) = self.warnings(text)
            self.assertEqual(len(self.findings(text).doubts), 1)  # so it is in the log, too
            self.assertIn("4: tun_mesh/clustering/control_api_advertise_url: is https://", warning)
            self.assertIn("give the host name or address at which other nodes reach", warning)

    def test_url_to_be_found(self) -> None:
        """A URL whose host the node is to find out says nothing that could be doubted."""
        text = GOOD.replace("      key_file", "      verify_hostname: true\n      key_file")
        text = text.replace("    auth:\n", "    dial_allow: [192.0.2.0/24]\n    auth:\n")
        for url in ("auto", "https://auto:14567"):
            self.assertEqual(self.warnings(text.replace("https://alice.example:4567", url)), [])

    def test_forwarding(self) -> None:
        """A gateway is told what its machine cannot forward, for the log of a start as well."""
        text = GOOD.replace("networking:\n", "networking:\n    advertise: [192.0.2.0/24]\n")
        said = "this machine does not forward"
        self.patch(forwarding, "obstacles", lambda *_: [said])
        findings = self.findings(text)
        self.assertIn(said, str(findings.doubts[0]))
        self.assertIn("tun_mesh/networking/advertise", str(findings.doubts[0]))
        self.patch(forwarding, "obstacles", lambda *_: [])
        self.assertEqual(self.findings(text).doubts, ())

    def test_what_this_machine_needs(self) -> None:
        """A name server of this machine, or the API of its cluster, in an accepted network is
        doubtful."""
        text = GOOD.replace("networking:\n", "networking:\n    accept_routes: [192.0.2.0/24]\n")
        self.patch(resolv_conf, "read", lambda _: ("192.0.2.53", "198.51.100.53"))
        self.patch(os, "environ", {**os.environ, "KUBERNETES_SERVICE_HOST": "192.0.2.1"})
        doubts = [str(each) for each in self.findings(text).doubts]
        self.assertEqual(len(doubts), 2)
        self.assertIn("192.0.2.1, the API of the cluster that this pod is in", doubts[0])
        self.assertIn("192.0.2.53, a name server of this machine, is in 192.0.2.0/24", doubts[1])

    def test_dial_allow(self) -> None:
        """A node whose own address is not in its dial_allow will not be dialed by others."""
        text = GOOD.replace("alice.example", "192.0.2.1")
        key = "    dial_allow: [192.0.2.0/24]\n    auth:\n"
        self.assertEqual(self.warnings(text.replace("    auth:\n", key)), [])
        (warning,) = self.warnings(text.replace("    auth:\n", key.replace("192.0", "10.0")))
        self.assertIn("dial_allow: does not have 192.0.2.1, which is this node's own", warning)

    def test_only_itself(self) -> None:
        """A bootstrap list with only the node itself does not make it the first one."""
        bob, alice = "- https://bob.example:4567", "- https://alice.example:4567"
        (warning,) = self.warnings(self.with_line(bob, alice, GOOD))
        self.assertIn("bootstrap_groups/default/bootstrap_node_urls: leads only to this", warning)
        self.assertEqual(self.warnings(self.with_line(bob, f"{alice}\n          {bob}", GOOD)), [])

    def test_patience(self) -> None:
        """A peer that is given up after fewer than three intervals may just be slow."""
        text = GOOD + (
            "    timing:\n      registrations:\n        local:\n"
            "          reregistration_interval: 4\n          stale_threshold: 11\n"
        )
        self.assertEqual(
            self.warnings(text),
            [
                "25: tun_mesh/process/timing/registrations/local/stale_threshold: is 11 s, less "
                "than 3 times reregistration_interval (4 s), so a peer that is slow once may be "
                "given up; make it 12 or more"
            ],
        )
        self.assertEqual(self.warnings(text.replace("11", "12")), [])

    def test_values_above_the_maximum(self) -> None:
        """Values above the maximum of either key are reported only if the file sets them, since
        their defaults are above it, too. The effective values are then compared."""
        text = GOOD + (
            "    timing:\n      registrations:\n        mesh:\n"
            "          reregistration_interval: 30\n          stale_threshold: 120\n"
        )
        key = "tun_mesh/process/timing/registrations/mesh"
        more = "links are not more patient than that"
        self.assertEqual(
            self.warnings(text),
            [
                f"24: {key}/reregistration_interval: is 30 s and counts as 5 s: {more}",
                f"25: {key}/stale_threshold: is 120 s and counts as 15 s: {more}",
            ],
        )
        self.assertEqual(self.warnings(text.replace("30", "5").replace("120", "15")), [])

    def test_unreadable_networks(self) -> None:
        """If the networks of the machine cannot be read, that is no error of the file."""

        def refusing(groups: int = 0) -> None:
            raise PermissionError(13, "Permission denied")

        self.patch(query, "open_socket", refusing)
        self.assertEqual(
            self.warnings(GOOD),
            [
                "17: tun_mesh/networking/ipv4/network_cidr: could not be compared with the "
                "networks of this machine: cannot use netlink: Permission denied"
            ],
        )
