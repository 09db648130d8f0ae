"""The keys `networking.advertise` and `networking.accept_routes`."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from tests.support.configs import MINIMAL, Case
from tunmesh.config.changes import fixed_changes
from tunmesh.config.plain import plain
from tunmesh.dataplane.gateways import Accepted


class Routes(Case):
    def text(self, lines: str) -> str:
        """The minimal config (of an IPv4 mesh) with these lines under `networking`."""
        return MINIMAL.replace("networking:\n", f"networking:\n    {lines}\n")

    def test_none(self) -> None:
        """By default nothing is advertised or accepted."""
        for text in (MINIMAL, self.text("advertise:\n    accept_routes:")):
            networking = self.load(text).networking
            self.assertEqual((networking.advertise, networking.accept_routes), ((), ()))

    def test_networks(self) -> None:
        """Networks, and who may lead to them."""
        text = self.text(
            "advertise: [192.168.5.0/24, 192.168.6.0/24]\n    accept_routes: [172.20.0.0/16, "
            "172.21.0.0/16 via 10.77.0.9, '172.22.0.0/16 via 10.77.0.9, 10.77.0.8']"
        )
        networking = self.load(text).networking
        expected = (ip_network("192.168.5.0/24"), ip_network("192.168.6.0/24"))
        self.assertEqual(networking.advertise, expected)
        nine, eight = ip_address("10.77.0.9"), ip_address("10.77.0.8")
        self.assertEqual(
            networking.accept_routes,
            (
                Accepted(ip_network("172.20.0.0/16")),
                Accepted(ip_network("172.21.0.0/16"), (nine,)),
                Accepted(ip_network("172.22.0.0/16"), (nine, eight)),
            ),
        )
        self.assertEqual(str(networking.accept_routes[2]), "172.22.0.0/16 via 10.77.0.9, 10.77.0.8")

    def test_refused(self) -> None:
        """What cannot be reached through a gateway is refused where it is written, with what would
        be right."""
        for key, value, why in (
            ("advertise", "192.168.5.1/24", "must be 192.168.5.0/24, the network itself"),
            ("advertise", "192.168.5.0", "with its prefix"),
            ("advertise", "0.0.0.0/0", "of /8 or smaller"),
            ("accept_routes", "0.0.0.0/0", "the way to the other nodes must not lead through"),
            ("accept_routes", "128.0.0.0/1", "of /8 or smaller"),
            ("accept_routes", "'::/0'", "of /7 or smaller"),
            ("accept_routes", "127.0.0.0/8", "local to every machine or link"),
            ("accept_routes", "169.254.169.254/32", "169.254.0.0/16 is local to every machine"),
            ("accept_routes", "224.0.0.0/8", "224.0.0.0/4 is local to every machine or link"),
            ("accept_routes", "'fd5e::/64'", "fd5e::/64 needs networking/ipv6"),
            ("advertise", "10.77.3.0/24", "must be outside the mesh"),
            ("accept_routes", "10.0.0.0/8", "which overlaps network_cidr 10.77.0.0/16"),
            ("accept_routes", "192.168.5.0/24 via alpha", "with addresses after via"),
            ("accept_routes", "192.168.5.0/24 via 192.168.5.1", "in 10.77.0.0/16"),
            ("accept_routes", "192.168.5.0/24 via", "or 192.168.5.0/24 via 10.77.0.9"),
            ("accept_routes", "7", "with its prefix"),
        ):
            (line,) = self.refusal(self.text(f"{key}: [{value}]"))
            self.assertIn(f"networking/{key}/0", line)
            self.assertIn(why, line)

    def test_twins(self) -> None:
        """No network is there twice, nor in both lists."""
        for lines, why in (
            ("advertise: [192.168.5.0/24, 192.168.5.0/24]", "192.168.5.0/24 is there twice"),
            (
                "accept_routes: [192.168.5.0/24, 192.168.5.0/24 via 10.77.0.9]",
                "192.168.5.0/24 is there twice",
            ),
            (
                "advertise: [192.168.5.0/24]\n    accept_routes: [192.168.5.0/24]",
                "this node itself leads to 192.168.5.0/24",
            ),
        ):
            (line,) = self.refusal(self.text(lines))
            self.assertIn(why, line)

    def test_too_many(self) -> None:
        """A record has room for 32."""
        many = ", ".join(f"192.168.{number}.0/24" for number in range(33))
        for key in ("advertise", "accept_routes"):
            (line,) = self.refusal(self.text(f"{key}: [{many}]"))
            self.assertIn("32", line)

    def test_nodes_to_dial(self) -> None:
        """A network with a node to dial in it cannot be reached through the mesh, unless this
        machine has a route of its own to that node."""
        text = self.text("accept_routes: [192.168.5.0/24]").replace(
            "https://bob.example:4567", "https://192.168.5.7:4567"
        )
        self.assertIn("192.168.5.7", text)
        (line,) = self.refusal(text)
        self.assertIn("https://192.168.5.7:4567 is in 192.168.5.0/24", line)
        allowed = text.replace(
            "networking:\n", "networking:\n    allow_overlap: [192.168.5.0/28]\n"
        )
        self.assertEqual(len(self.load(allowed).networking.accept_routes), 1)

    def test_reload(self) -> None:
        """What is advertised may change while the node runs; what is accepted takes a restart."""
        before = plain(self.load(MINIMAL))
        for lines, keys in (
            ("advertise: [192.168.5.0/24]", []),
            ("accept_routes: [192.168.5.0/24]", ["tun_mesh/networking/accept_routes"]),
        ):
            after = plain(self.load(self.text(lines)))
            self.assertEqual(fixed_changes(before, after), keys)
