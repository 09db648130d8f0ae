"""Which requests the helper carries out: the rules and the bytes, compared with a plain list."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface, ip_network

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial import unittest

from tunmesh.assigner import wire
from tunmesh.assigner.allowance import AT_A_TIME, Allowance, Family
from tunmesh.assigner.wire import PUT, TAKE_OFF

NET4, NET6 = ip_network("10.77.0.0/16"), ip_network("fd77::/48")
DNS = ip_address("10.77.255.254")
FAMILIES = [Family(NET4, 24, True, (DNS,)), Family(NET6, 64, False)]


class Rules(unittest.SynchronousTestCase):
    """What is allowed, and in which words the rest is refused."""

    def setUp(self) -> None:
        self.allowance = Allowance(FAMILIES)

    def put(self, address: str) -> str:
        """Why an address may not be put; "" after it was."""
        return self.ask(PUT, address)

    def ask(self, what: int, address: str) -> str:
        try:
            own = self.allowance.judge(what, ip_address(address))
        except ValueError as error:
            return str(error)
        self.allowance.done(what, own)
        return ""

    def test_hosts(self) -> None:
        """Hosts of the network get the configured prefix."""
        self.assertEqual(self.put("10.77.3.5"), "")
        self.assertEqual(self.put("fd77:0:0:9::5"), "")
        self.assertEqual(
            self.allowance.held, [ip_interface("10.77.3.5/24"), ip_interface("fd77:0:0:9::5/64")]
        )

    def test_foreign(self) -> None:
        """Nothing outside the networks, and nothing that is no host in them."""
        for address, why in {
            "10.78.3.5": "10.78.3.5 is not an address for a node in 10.77.0.0/16",
            "192.0.2.1": "192.0.2.1 is not an address for a node in 10.77.0.0/16",
            "127.0.0.1": "127.0.0.1 is not an address for a node in 10.77.0.0/16",
            "10.77.0.0": "10.77.0.0 is not an address for a node in 10.77.0.0/16",
            "10.77.255.255": "10.77.255.255 is not an address for a node in 10.77.0.0/16",
            "10.77.3.0": "10.77.3.0 is not an address for a node in 10.77.3.0/24",
            "10.77.3.255": "10.77.3.255 is not an address for a node in 10.77.3.0/24",
            "10.77.255.254": "10.77.255.254 is reserved",
            "fd77::": "fd77:: is not an address for a node in fd77::/48",
            "fd77:0:0:1::": "fd77:0:0:1:: is not an address for a node in fd77:0:0:1::/64",
            "fe80::1": "fe80::1 is not an address for a node in fd77::/48",
        }.items():
            self.assertEqual(self.put(address), why)
        self.assertEqual(self.allowance.held, [])

    def test_static_family(self) -> None:
        """A family whose address is static is none of its business."""
        self.allowance = Allowance(FAMILIES[:1])
        self.assertEqual(self.put("fd77::5"), "fd77::5: this node has no automatic IPv6 address")

    def test_two_at_a_time(self) -> None:
        """Two addresses of a family at most, as when one follows another."""
        self.assertEqual([self.put("10.77.3.5"), self.put("10.77.3.6")], ["", ""])
        self.assertEqual(self.put("10.77.3.7"), "there are 2 addresses of IPv4 already")
        self.assertEqual(self.put("10.77.3.6"), "", "again: it is there")
        self.assertEqual(self.put("fd77::5"), "")
        self.assertEqual(self.ask(TAKE_OFF, "10.77.3.5"), "")
        self.assertEqual(self.put("10.77.3.7"), "")

    def test_take_off(self) -> None:
        """Only what it has put is taken off, once."""
        self.assertEqual(self.ask(TAKE_OFF, "10.77.3.5"), "10.77.3.5 was not put by this helper")
        self.put("10.77.3.5")
        self.assertEqual(self.ask(TAKE_OFF, "10.77.3.5"), "")
        self.assertEqual(self.ask(TAKE_OFF, "10.77.3.5"), "10.77.3.5 was not put by this helper")

    def test_families_as_arguments(self) -> None:
        """What the helper is told on its command line is what it was told."""
        self.assertEqual([Family.parse(str(family)) for family in FAMILIES], FAMILIES)

    @settings(max_examples=300, deadline=None)
    @given(
        st.lists(
            st.tuples(
                st.sampled_from([PUT, TAKE_OFF]),
                st.integers(0, 5).map(lambda n: f"10.77.3.{n}")
                | st.ip_addresses(v=4).map(str)
                | st.ip_addresses(v=6).map(str)
                | st.integers(1, 4).map(lambda n: f"fd77::{n}"),
            ),
            max_size=30,
        )
    )
    def test_beside_a_list(self, asked: list[tuple[int, str]]) -> None:
        """Whatever is asked for: at most two hosts of each network are held, as in a plain list."""
        self.setUp()
        plain: list[str] = []
        for what, address in asked:
            is_allowed = not self.ask(what, address)
            version = ip_address(address).version
            same = [each for each in plain if ip_address(each).version == version]
            if what == TAKE_OFF:
                self.assertEqual(is_allowed, address in plain)
                plain = [each for each in plain if each != address]
            elif is_allowed:
                self.assertIn(ip_address(address), NET4 if version == 4 else NET6)
                self.assertTrue(address in plain or len(same) < AT_A_TIME)
                plain = [each for each in plain if each != address] + [address]
            self.assertEqual([str(own.ip) for own in self.allowance.held], plain)


class Bytes(unittest.SynchronousTestCase):
    """Requests and answers on the socket."""

    def test_requests(self) -> None:
        """Every address arrives as it was sent."""
        for what in (PUT, TAKE_OFF):
            for text in ("10.77.3.5", "0.0.0.0", "fd77::5", "::"):
                address = ip_address(text)
                self.assertEqual(wire.read_request(wire.request(what, address)), (what, address))

    def test_malformed(self) -> None:
        """Every other length, word, version or padding is refused."""
        good = wire.request(PUT, ip_address("10.77.3.5"))
        self.assertEqual(len(good), wire.SIZE)
        for bad in (
            good[:-1],
            good + b"\0",
            b"",
            b"\3" + good[1:],
            b"\0" + good[1:],
            good[:1] + b"\5" + good[2:],
            good[:-1] + b"\1",
        ):
            self.assertRaises(ValueError, wire.read_request, bad)

    @given(st.binary(max_size=40))
    def test_garbage(self, data: bytes) -> None:
        """Garbage is a ValueError or a request that is allowed or not; nothing else happens."""
        try:
            what, address = wire.read_request(data)
        except ValueError:
            return
        self.assertEqual(wire.request(what, address), data)

    def test_answers(self) -> None:
        """An answer has a number and words; long ones are cut, short ones are errors."""
        self.assertEqual(wire.read_answer(wire.answer(13, "no")), (13, "no"))
        self.assertEqual(wire.read_answer(wire.answer(0)), (0, ""))
        self.assertEqual(len(wire.answer(1, "x" * 9999)), wire.MAX_ANSWER)
        self.assertRaises(ValueError, wire.read_answer, b"\0")
