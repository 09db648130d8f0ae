"""The keys under `networking/dns`, and `clustering/node_groups`."""

from __future__ import annotations

from tests.support.configs import MINIMAL, Case, middle
from tunmesh.config.lint.lint import lint
from tunmesh.names import resolv_conf
from tunmesh.service import settings


class AddressTests(Case):
    """The DNS address, the domain and the groups."""

    def dns(self, text: str, own: str = "10.77.1.2/24") -> str:
        return MINIMAL.replace("10.77.1.2/24", own).replace(
            "    ipv4:", f"    dns: {text}\n    ipv4:"
        )

    def addresses(self, text: str, own: str = "10.77.1.2/24") -> list[str]:
        return list(map(str, self.load(self.dns(text, own)).networking.dns_addresses))

    def test_addresses(self) -> None:
        """auto is the last host of each network; there is none without the section."""
        self.assertEqual(self.addresses("{}"), ["10.77.255.254"])
        self.assertEqual(self.addresses("{address: auto}", "auto"), ["10.77.255.254"])
        self.assertEqual(self.addresses("{address: 10.77.0.53}"), ["10.77.0.53"])
        self.assertEqual(self.addresses("null"), [])
        both = self.dns("{}").replace(
            "  process:",
            '    ipv6: {network_cidr: "fd77::/64", node_address_cidr: "fd77::1/64"}\n  process:',
        )
        addresses = list(map(str, self.load(both).networking.dns_addresses))
        self.assertEqual(addresses, ["10.77.255.254", "fd77::ffff:ffff:ffff:ffff"])

    def test_refusals(self) -> None:
        """Each wrong value, with what would be right."""
        host = "must have a dns/address that is a host address of 10.77.0.0/16, not "
        for text, why in (
            ("{address: fd77::1}", f"networking: {host}fd77::1"),
            ("{address: 10.77.255.255}", f"networking: {host}10.77.255.255"),
            ("{address: 10.78.0.1}", f"networking: {host}10.78.0.1"),
            ("{address: [10.77.0.1, 10.77.0.2]}", "address: must have one address, or one of each"),
            ("{address: []}", "address: must have one address, or one of each"),
            ("{address: here}", "address: must be auto, an IP address such as 10.77.255.254"),
            ("{address: 10.77.1.2}", "names are answered at 10.77.1.2, on every node"),
            ("{domain: a..b}", "domain: must be a DNS name such as mesh or mesh.example"),
            ("{domain: -a}", "domain: must be a DNS name such as mesh or mesh.example"),
            (f"{{domain: {'a.' * 70}b}}", "of at most 128 characters"),
            ("{domain: 10.9}", "must be a name that does not end with 9"),
            ("{domain: home.local}", "does not end with local, which is reserved"),
            ("{domain: 10.in-addr.arpa}", "does not end with arpa"),
        ):
            (line,) = self.refusal(self.dns(text))
            self.assertIn(why, line, text)
        (line,) = self.refusal(self.dns("{}", "10.77.255.254/16"))
        self.assertIn("must have another node_address_cidr than 10.77.255.254/16", line)
        tiny = self.dns("{}", "10.77.1.2/31").replace("10.77.0.0/16", "10.77.1.2/31")
        (line,) = self.refusal(tiny)
        self.assertIn("has no address left for dns/address in 10.77.1.2/31", line)

    def test_domain(self) -> None:
        """Capitals and a dot at the end do not count."""
        dns = self.load(self.dns("{domain: Mesh.Example.}")).networking.dns
        assert dns is not None
        self.assertEqual(dns.domain, "mesh.example")

    def test_groups(self) -> None:
        """Labels of small letters, each once, at most 16."""

        def groups(text: str) -> str:
            return self.with_line("    auth:", f"    node_groups: {text}\n    auth:")

        self.assertEqual(self.load(groups("[web, db-2]")).clustering.node_groups, ("web", "db-2"))
        self.assertEqual(self.load(groups("null")).clustering.node_groups, ())
        for text, why in (
            ("[Web]", "node_groups/0: must be a DNS label: 1 to 63 small letters"),
            ("[a.b]", "node_groups/0: must be a DNS label"),
            ("[_nodes]", "node_groups/0: must be a DNS label"),
            ("[web, web]", 'must have different entries; "web" is there twice'),
            (str([f"g{n}" for n in range(17)]), "must be a list of at most 16"),
        ):
            (line,) = self.refusal(groups(text))
            self.assertIn(why, line)

    def test_name_that_is_none_in_dns(self) -> None:
        """A node name that cannot be looked up is a warning, if names are answered at all."""
        text = self.with_line("    auth:", "    node_name: a..b\n    auth:")
        for dns, count in ("", 0), ("    dns: {}\n", 1):
            self.path.write_text(text.replace("    ipv4:", f"{dns}    ipv4:"))
            found = lint(self.path, {}, middle, 0.0, with_networks=False, with_port=False)
            names = [each for each in found.warnings if "cannot be looked up in mesh" in str(each)]
            self.assertEqual(len(names), count)


class ForwardTests(Case):
    """Where queries for other names go."""

    def with_forward(self, value: str) -> str:
        return MINIMAL.replace("    ipv4:", f"    dns: {{forward: {value}}}\n    ipv4:")

    def servers(self, value: str) -> tuple[str, ...]:
        self.patch(resolv_conf, "read", lambda _ours: ("192.0.2.53",))
        names = settings.names_of(self.load(self.with_forward(value)).networking)
        assert names is not None
        return names.servers

    def test_servers(self) -> None:
        """Those of resolv.conf, none, or those of the list, in its order."""
        self.assertEqual(self.servers("true"), ("192.0.2.53",))
        self.assertEqual(self.servers("false"), ())
        self.assertEqual(self.servers("[127.0.0.11]"), ("127.0.0.11",))
        self.assertEqual(self.servers('["fd09::35", 10.0.0.2]'), ("fd09::35", "10.0.0.2"))

    def test_from_the_environment(self) -> None:
        """A value from the environment is text, and as good."""
        self.assertEqual(self.servers("'false'"), ())

    def test_refusals(self) -> None:
        """Anything else is refused, with what would be right."""
        form = "must be true, false, or a list of 1 to 3 addresses of name servers, not "
        for value, why in (
            ("127.0.0.11", form + '"127.0.0.11"'),
            ("[]", form),
            ("[1.1.1.1, 1.1.1.2, 1.1.1.3, 1.1.1.4]", form),
            ("[dns.example]", 'must be the IP address of a name server, not "dns.example"'),
            ("[1.1.1.1, 1.1.1.1]", 'must have different entries; "1.1.1.1" is there twice'),
        ):
            (line,) = self.refusal(self.with_forward(value))
            self.assertIn(f"networking/dns/forward: {why}", line.replace("tun_mesh/", ""))

    def test_itself(self) -> None:
        """A node cannot forward to the address where it answers itself."""
        (line,) = self.refusal(self.with_forward("[10.77.255.254]"))
        self.assertIn(
            'networking/dns/forward: must be name servers of others, not "10.77.255.254"', line
        )
