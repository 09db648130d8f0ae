"""The key `networking/dns/forward`: where queries for other names go."""

from __future__ import annotations

from tests.support.configs import MINIMAL, Case
from tunmesh.names import resolv_conf
from tunmesh.service import settings


class ForwardTests(Case):
    """What may be written there, and which name servers come of it."""

    def with_forward(self, value: str) -> str:
        return MINIMAL.replace("    ipv4:", f"    dns: {{forward: {value}}}\n    ipv4:")

    def servers(self, value: str) -> tuple[str, ...]:
        self.patch(resolv_conf, "read", lambda _ours: ("192.0.2.53",))
        names = settings._names(self.load(self.with_forward(value)).networking)
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
        self.assertIn("must have other name servers in dns/forward than 10.77.255.254", line)
