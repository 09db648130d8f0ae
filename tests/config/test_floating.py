"""The key `networking/floating`."""

from __future__ import annotations

from tests.support.configs import MINIMAL, Case


class FloatingTests(Case):
    """What may float."""

    def floating(self, text: str, more: str = "") -> str:
        return MINIMAL.replace("    ipv4:", f"    floating: {text}\n{more}    ipv4:")

    def test_right(self) -> None:
        """Addresses, and networks of them; with any there is a helper process."""
        config = self.load(self.floating("[10.77.0.100, 10.77.8.0/28]"))
        found = list(map(str, config.networking.floating))
        self.assertEqual(found, ["10.77.0.100/32", "10.77.8.0/28"])
        self.assertTrue(config.networking.has_helper)
        for nothing in ("[]", ""):
            config = self.load(self.floating(nothing))
            self.assertEqual(config.networking.floating, ())
            self.assertFalse(config.networking.has_helper)

    def test_ipv6(self) -> None:
        """Of any family that the mesh has."""
        six = '    ipv6: {network_cidr: "fd77::/64", node_address_cidr: auto}\n'
        config = self.load(self.floating('["fd77::100", 10.77.0.100]', six))
        self.assertEqual(len(config.networking.floating), 2)
        (line,) = self.refusal(self.floating('["fd77::100"]'))
        self.assertIn('floating/0: must be in 10.77.0.0/16, not "fd77::100"', line)

    def test_refusals(self) -> None:
        """Each wrong value, with what would be right."""
        for text, why in (
            ("[here]", "must be an address such as 10.77.0.100, or a network of them"),
            ("[10.77.0.9/28]", "must be 10.77.0.0/28, the network itself"),
            ("[10.78.0.1]", 'floating/0: must be in 10.77.0.0/16, not "10.78.0.1"'),
            ("[10.0.0.0/8]", 'floating/0: must be in 10.77.0.0/16, not "10.0.0.0/8"'),
            ("[10.77.255.255]", 'must be an address that a node can have, not "10.77.255.255"'),
            ("[10.77.0.9, 10.77.1.2]", "floating/1: must be another address than those in"),
            ('["fe80::1%eth0"]', "must be an address such as 10.77.0.100"),
        ):
            (line,) = self.refusal(self.floating(text))
            self.assertIn(why, line, text)
        (line,) = self.refusal(self.floating("[10.77.0.53]", "    dns: {address: 10.77.0.53}\n"))
        self.assertIn('must be an address that a node can have, not "10.77.0.53"', line)
