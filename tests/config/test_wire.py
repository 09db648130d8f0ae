"""Values of a config on the wire: peers accept whatever the config accepts."""

from __future__ import annotations

import json
import socket
from ipaddress import IPv6Address, ip_interface

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.support.configs import Case
from tunmesh.config.loading import ConfigError
from tunmesh.config.types import _NODE_NAME
from tunmesh.config.urls import _URL
from tunmesh.netlink import own_address
from tunmesh.node.settings import Reloadable
from tunmesh.service import node_name
from tunmesh.service.settings import settings_of
from tunmesh.testing.credentials import credentials
from tunmesh.testing.mesh import Mesh
from tunmesh.wire.records import NodeRecord
from tunmesh.wire.sizes import MAX_HANDSHAKE_FRAME, MAX_HOST, MAX_NAME, MAX_URL, PROOF_SIZE

URL_KEY = "control_api_advertise_url: https://alice.example:4567"
AT = "4: tun_mesh/clustering/control_api_advertise_url: must be"
LONG_HOST = ".".join(["h" * 63] * 4)[: MAX_HOST - 1]
FORM = (
    "a URL with a host name of letters, digits, dashes and underscores, with 1 to 63 characters "
    "between dots and 253 in all"
)

LABELS = st.text("aZ09_-", min_size=1, max_size=66) | st.text(min_size=1, max_size=4)
HOSTS = (
    st.lists(LABELS, min_size=1, max_size=6).map(".".join)
    | st.just(LONG_HOST)
    | st.just(f"{LONG_HOST}.")
    | st.ip_addresses(v=4).map(str)
    | st.ip_addresses(v=6).map("[{}]".format)
)
URLS = (
    st.builds("https://{}:{}".format, HOSTS, st.integers(-1, 70000))
    | st.from_regex(_URL, fullmatch=True)
    | st.text()
)
NAMES = (
    st.none()
    | st.from_regex(_NODE_NAME, fullmatch=True)
    | st.text("aZ09._-", min_size=60, max_size=70)
    | st.text()
)
SCOPES = st.sampled_from(["", "%eth0"])
ADDRESSES = st.ip_addresses(v=6).flatmap(
    lambda address: st.builds("{}{}/{}".format, st.just(address), SCOPES, st.integers(0, 128))
)
GOOD = ("a", "https://a:1", "fd77::1/64")
# One doubtful value at a time, or hardly any config would be accepted.
VALUES = (
    st.tuples(NAMES, st.just(GOOD[1]), st.just(GOOD[2]))
    | st.tuples(st.just(GOOD[0]), URLS, st.none())
    | st.tuples(st.just(GOOD[0]), st.just(GOOD[1]), ADDRESSES)
)


class OnTheWire(Case):
    """Values of a config in a node record."""

    def record(self, name: str | None, url: str, address: str | None = None) -> NodeRecord:
        """The record of a node with these values."""
        lines = [f"node_name: {json.dumps(name)}"] if name is not None else []
        lines.append(f"control_api_advertise_url: {json.dumps(url)}")
        text = self.with_line(URL_KEY, "\n    ".join(lines))
        if address is not None:
            ipv6 = f"ipv6: {{network_cidr: '::/0', node_address_cidr: {json.dumps(address)}}}"
            text = self.with_line("    ipv4:", f"    {ipv6}\n    ipv4:", text)
        reloadable = Reloadable(keys=(), credentials=credentials(), groups=())
        config = self.load(text)
        chosen = node_name.choose(config.clustering.node_name, ())
        return settings_of(config, reloadable, chosen.name).record

    @settings(max_examples=150, deadline=None)
    @given(VALUES)
    def test_accepted_values(self, values: tuple[str | None, str, str | None]) -> None:
        """Any name, URL and addresses that a config may have are accepted by a peer unchanged."""
        try:
            record = self.record(*values)
        except ConfigError:
            return
        encoded = record.encode()
        self.assertEqual(NodeRecord.decode(encoded), record)
        self.assertLessEqual(PROOF_SIZE + len(encoded), MAX_HANDSHAKE_FRAME)

    def test_longest(self) -> None:
        """The longest name and URL of a config are the longest on the wire."""
        record = self.record("n" * MAX_NAME, f"https://{LONG_HOST}.:65535", "fd77::1234:1/64")
        self.assertEqual((len(record.name), len(record.url)), (MAX_NAME, MAX_URL))
        self.assertEqual(NodeRecord.decode(record.encode()), record)
        address = IPv6Address("fd77::1234:1")
        self.assertEqual(record.addresses[1], ip_interface((address, 64)))

    def test_url_to_be_found(self) -> None:
        """Where the host is to be found out, there is one from the start; the port is given, or the
        one that is listened on."""
        self.patch(own_address, "guess", lambda networks, targets: "2001:db8::7")
        for url, port in (("auto", 4567), ("https://auto:14567", 14567)):
            record = self.record("n", url)
            self.assertEqual(record.url, f"https://[2001:db8::7]:{port}")
            self.assertEqual(NodeRecord.decode(record.encode()), record)

    def test_the_only_address(self) -> None:
        """A node that listens on one address only is to be dialed there, wherever it dials from."""
        for listen, host in (("192.0.2.9", "192.0.2.9"), ("2001:db8::9", "[2001:db8::9]")):
            text = self.with_line(URL_KEY, "control_api_advertise_url: auto")
            text = self.with_line("    ssl:", f"    listen_address: '{listen}'\n    ssl:", text)
            config = self.load(text)
            reloadable = Reloadable(keys=(), credentials=credentials(), groups=())
            settings = settings_of(config, reloadable, "n")
            self.assertEqual(settings.record.url, f"https://{host}:4567")
            self.assertIsNone(settings.auto_port)
        everywhere = text.replace("2001:db8::9", "::")
        self.assertTrue(self.load(everywhere).advertised_url.is_auto)

    def test_host_name(self) -> None:
        """A host name may be as long as the kernel permits, so the default node name is never too
        long."""
        self.patch(socket, "gethostname", lambda: "h" * 64)
        record = self.record(None, "https://alice.example:4567")
        self.assertEqual(NodeRecord.decode(record.encode()), record)

    def test_refused(self) -> None:
        """A host that resolvers do not accept is refused, with what would be right."""
        ascii_only = "a URL in ASCII, with an international host name in its xn-- form"
        for host, expected in {
            "h" * 64: FORM,
            f"{LONG_HOST}h": FORM,
            "a..b": FORM,
            ".a": FORM,
            "-a": FORM,
            "a~b": FORM,
            "münchen.example": ascii_only,
            "例え.jp": ascii_only,
        }.items():
            url = f"https://{host}:4567"
            (line,) = self.refusal(self.with_line("https://alice.example:4567", url))
            self.assertTrue(line.startswith(f"{AT} {expected}, not "), line)
        self.refused(
            URL_KEY,
            f"node_name: {'n' * 65}\n    {URL_KEY}",
            "4: tun_mesh/clustering/node_name: must be 1 to 64 letters, digits, dots, dashes or "
            f'underscores, not "{"n" * 60}…", which has 65 characters',
        )

    def test_scope(self) -> None:
        """An address with a scope is refused: it has a meaning on one machine only."""
        error = self.assertRaises(
            ConfigError, self.record, "a", "https://alice.example:1", "fe80::1%eth0/64"
        )
        form = "must be auto, or an IPv6 address such as fd77::1/64, without a scope"
        self.assertIn(form, str(error))

    def test_kinds_of_hosts(self) -> None:
        """Underscores, digits, a final dot and addresses are valid in a host."""
        for host in (
            "my_app",
            "_a-",
            "1",
            "a.example.",
            "192.0.2.1",
            "[fd77::1]",
            "xn--mnchen-3ya",
        ):
            record = self.record("a", f"https://{host}:4567")
            self.assertEqual(record.url, f"https://{host}:4567")


class RefusedRecord(SynchronousTestCase):
    """A record that a peer refuses."""

    def test_both_say_so(self) -> None:
        """The node that refuses it says what is wrong with it; the refused node, that the secret is
        not the reason."""
        mesh = Mesh()
        a, b = mesh.add("a"), mesh.add("n" * 70)
        mesh.advance(3)
        self.assertEqual((a.linked_with, b.linked_with), ([], []))
        (refuses,) = a.logged("handshake_failed")[:1]
        self.assertIn("a node record whose name has 70 characters, more than 64", refuses["why"])
        (refused,) = b.logged("handshake_failed")[:1]
        self.assertIn("it has the same secret, but refuses this node's record", refused["why"])
