"""Which requests the helper carries out: the rules and the bytes, compared with a plain list."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface, ip_network

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial import unittest

from tunmesh.assigner import wire
from tunmesh.assigner.allowance import (
    AUTOMATIC_AT_A_TIME,
    FLOATING_AT_A_TIME,
    STATIC_AT_A_TIME,
    Allowance,
    Device,
    Family,
)
from tunmesh.assigner.wire import LINK, PUT, RESTORE, TAKE_OFF, Request

NET4, NET6 = ip_network("10.77.0.0/16"), ip_network("fd77::/48")
DNS = ip_address("10.77.255.254")
FAMILIES = (Family(NET4, 24, True, (DNS,)), Family(NET6, 64, False))
OWN = (ip_interface("10.77.1.1/24"), ip_interface("10.77.2.1/16"))
STATIC = Family(NET4, 0, True, (DNS,), OWN)


class Rules(unittest.SynchronousTestCase):
    """What is allowed, and in which words the rest is refused."""

    def setUp(self) -> None:
        self.allowance = Allowance(Device(FAMILIES))

    def put(self, address: str) -> str:
        """Why an address may not be put; "" after it was."""
        return self.ask(PUT, address)

    def ask(self, what: int, address: str) -> str:
        if "/" not in address:
            address += "/64" if ":" in address else "/24"
        return self.send(Request(what, ip_interface(address)))

    def send(self, asked: Request) -> str:
        try:
            self.allowance.judge(asked)
        except ValueError as error:
            return str(error)
        self.allowance.done(asked)
        return ""

    def test_hosts(self) -> None:
        """Hosts of the network may be put, with the configured prefix only."""
        self.assertEqual(self.put("10.77.3.5"), "")
        self.assertEqual(self.put("fd77:0:0:9::5"), "")
        self.assertEqual(
            self.allowance.held, [ip_interface("10.77.3.5/24"), ip_interface("fd77:0:0:9::5/64")]
        )
        self.assertEqual(self.put("10.77.3.6/16"), "10.77.3.6/16 has a prefix of 16 and not of 24")
        self.assertEqual(self.put("10.77.3.6/32"), "10.77.3.6/32 has a prefix of 32 and not of 24")

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

    def test_no_such_family(self) -> None:
        """A family that the mesh does not have is none of its business."""
        self.allowance = Allowance(Device(FAMILIES[:1]))
        self.assertEqual(self.put("fd77::5"), "fd77::5: this node has no IPv6 in the mesh")

    def test_two_at_a_time(self) -> None:
        """Two automatic addresses of a family at most, as when one follows another."""
        self.assertEqual([self.put("10.77.3.5"), self.put("10.77.3.6")], ["", ""])
        self.assertEqual(self.put("10.77.3.7"), "there are 2 addresses of IPv4 already")
        self.assertEqual(self.put("10.77.3.6"), "", "again: it is there")
        self.assertEqual(self.put("fd77::5"), "")
        self.assertEqual(self.ask(TAKE_OFF, "10.77.3.5"), "")
        self.assertEqual(self.put("10.77.3.7"), "")

    def test_take_off(self) -> None:
        """Only what it has put is taken off, once."""
        why = "10.77.3.5/24 is not an address that this helper has put"
        self.assertEqual(self.ask(TAKE_OFF, "10.77.3.5"), why)
        self.put("10.77.3.5")
        self.assertEqual(self.ask(TAKE_OFF, "10.77.3.5"), "")
        self.assertEqual(self.ask(TAKE_OFF, "10.77.3.5"), why)

    def test_static(self) -> None:
        """Static addresses are there from the start, may be exchanged for others of the mesh with a
        local subnet within it, and are bounded in number."""
        self.allowance = Allowance(Device((STATIC,)))
        self.assertEqual(self.allowance.held, list(OWN))
        self.assertEqual(self.put("10.77.3.5/32"), "")
        self.assertEqual(self.ask(TAKE_OFF, str(OWN[0])), "")
        self.assertEqual(self.allowance.held, [OWN[1], ip_interface("10.77.3.5/32")])
        why = "10.77.3.6/8 has a prefix of 8, shorter than 16"
        self.assertEqual(self.put("10.77.3.6/8"), why)
        self.assertEqual(self.put("10.77.3.0/24")[:9], "10.77.3.0")
        self.assertEqual(self.put("10.77.255.254/16"), "10.77.255.254 is reserved")
        answers = [self.put(f"10.77.4.{n}/24") for n in range(1, 20)]
        self.assertEqual(answers.count(""), STATIC_AT_A_TIME - 2)
        self.assertEqual(answers[-1], "there are 16 addresses of IPv4 already")

    def test_floating(self) -> None:
        """Floating addresses are put beside the others, alone, if they are in the list from the
        start, and bounded in number."""
        place = ip_network("10.77.8.0/27")
        self.allowance = Allowance(Device((STATIC._replace(floating=(place,)), FAMILIES[1])))
        self.assertEqual(self.put("10.77.8.1/32"), "")
        self.assertEqual(self.put("10.77.8.1/32"), "", "again: it is there")
        self.assertEqual(self.allowance.floating, [ip_interface("10.77.8.1/32")])
        self.assertEqual(self.allowance.held, list(OWN))
        self.assertEqual(self.ask(TAKE_OFF, "10.77.8.1/32"), "")
        self.assertEqual(self.allowance.floating, [])
        self.assertIn("has a prefix of 128", self.put("fd77:0:0:9::5/128"))
        self.allowance = Allowance(Device((STATIC._replace(floating=(NET4,)),)))
        self.assertEqual(
            self.put("10.77.0.0/32"), "10.77.0.0 is not an address for a node in 10.77.0.0/16"
        )
        self.assertEqual(self.put("10.77.255.254/32"), "10.77.255.254 is reserved")
        answers = [self.put(f"10.77.4.{n}/32") for n in range(20)]
        self.assertEqual(answers.count(""), FLOATING_AT_A_TIME)
        self.assertEqual(answers[-1], "there are 16 floating addresses already")

    def test_link(self) -> None:
        """The device may have what the config could say, and no other MTU or queue."""
        self.assertEqual(self.send(Request(LINK, None, 9000, 2000)), "")
        self.assertEqual((self.allowance.mtu, self.allowance.queue), (9000, 2000))
        self.assertEqual(self.send(Request(LINK, None, 1280, 0)), "")
        self.assertEqual((self.allowance.mtu, self.allowance.queue), (1280, 2000))
        for mtu in (1, 1279, 65_522, 1 << 31):
            why = f"an MTU of {mtu} is not within 1280 and 65521"
            self.assertEqual(self.send(Request(LINK, None, mtu)), why)
        why = "a txqueuelen of 10001 is more than 10000"
        self.assertEqual(self.send(Request(LINK, None, 0, 10_001)), why)
        self.assertEqual((self.allowance.mtu, self.allowance.queue), (1280, 2000))
        self.allowance = Allowance(Device(FAMILIES[:1]))
        self.assertEqual(self.send(Request(LINK, None, 576)), "")

    def test_restore(self) -> None:
        """What was told may be put back at any time."""
        self.assertEqual(self.send(Request(RESTORE)), "")
        self.assertEqual(self.allowance.held, [])

    def test_arguments(self) -> None:
        """What the helper is told on its command line is what it was told."""
        floating = STATIC._replace(floating=(NET4, ip_network("10.77.8.1/32")))
        for families in (FAMILIES, (STATIC,), (floating, FAMILIES[1])):
            for forwards in (False, True):
                device = Device(families, 9000, 2000, (ip_network("192.0.2.0/24"), NET6), forwards)
                self.assertEqual(Device.parse(*device.arguments), device)

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
                self.assertTrue(address in plain or len(same) < AUTOMATIC_AT_A_TIME)
                plain += [address] * (address not in plain)
            self.assertEqual([str(own.ip) for own in self.allowance.held], plain)


class Bytes(unittest.SynchronousTestCase):
    """Requests and answers on the socket."""

    def test_requests(self) -> None:
        """Every request arrives as it was sent."""
        for what in (PUT, TAKE_OFF):
            for text in ("10.77.3.5/24", "0.0.0.0/0", "10.77.3.5/32", "fd77::5/64", "::/0"):
                asked = Request(what, ip_interface(text))
                self.assertEqual(wire.read_request(asked.encode()), asked)
        for asked in (Request(RESTORE), Request(LINK, None, 9000), Request(LINK, None, 1500, 100)):
            self.assertEqual(wire.read_request(asked.encode()), asked)

    def test_malformed(self) -> None:
        """Every other length, word, version, prefix or padding is refused."""
        good = Request(PUT, ip_interface("10.77.3.5/24")).encode()
        self.assertEqual(len(good), wire.MAX_REQUEST)
        for bad in (
            good[:-1],
            good + b"\0",
            b"",
            b"\3" + good[1:],
            b"\0" + good[1:],
            good[:1] + b"\5" + good[2:],
            good[:2] + b"\41" + good[3:],
            good[:-1] + b"\1",
            b"\3\0",
            b"\4" + bytes(7),
            b"\4" + bytes(9),
            b"\5",
        ):
            self.assertRaises(ValueError, wire.read_request, bad)

    @given(st.binary(max_size=40))
    def test_garbage(self, data: bytes) -> None:
        """Garbage is a ValueError or a request that is allowed or not; nothing else happens."""
        try:
            asked = wire.read_request(data)
        except ValueError:
            return
        self.assertEqual(asked.encode(), data)

    def test_answers(self) -> None:
        """An answer has a number and words; long ones are cut, short ones are errors."""
        self.assertEqual(wire.read_answer(wire.answer(13, "no")), (13, "no"))
        self.assertEqual(wire.read_answer(wire.answer(0)), (0, ""))
        self.assertEqual(len(wire.answer(1, "x" * 9999)), wire.MAX_ANSWER)
        self.assertRaises(ValueError, wire.read_answer, b"\0")
