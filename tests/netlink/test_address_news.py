"""What the kernel's news says about the addresses of this host."""

from __future__ import annotations

from ipaddress import ip_address

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tunmesh.netlink.address_news import AddressNews
from tunmesh.netlink.messages import ADDRESS, HEADER, IPV4, IPV6, attribute

NEW, GONE = 20, 21  # RTM_NEWADDR, RTM_DELADDR
TENTATIVE = 0x40
TUN, CABLE = 7, 2  # interfaces


def news(kind: int, address: str, index: int = CABLE, flags: int = 0) -> bytes:
    """One notification, as the kernel sends it."""
    parsed = ip_address(address)
    family = IPV4 if parsed.version == 4 else IPV6
    body = ADDRESS.pack(family, 24, flags, 0, index) + attribute(1, parsed.packed)
    if family == IPV4:
        body += attribute(2, parsed.packed) + attribute(3, b"eth0\0")
    return HEADER.pack(HEADER.size + len(body), kind, 0, 0, 0) + body


class AddressNewsTests(SynchronousTestCase):
    """Only what has changed for good is told."""

    def setUp(self) -> None:
        self.news = AddressNews(TUN)

    def told(self, *notifications: bytes) -> tuple[list[str], list[str]]:
        """What came and what went, by these."""
        for each in notifications:
            self.news.feed(each)
        came, gone = self.news.take()
        return sorted(map(str, came)), sorted(map(str, gone))

    def test_moved(self) -> None:
        """A host gets another address."""
        moved = news(GONE, "192.0.2.1"), news(NEW, "192.0.2.2")
        self.assertEqual(self.told(*moved), (["192.0.2.2"], ["192.0.2.1"]))
        self.assertEqual(self.told(), ([], []))
        self.assertEqual(self.told(b"".join(moved)), ([], ["192.0.2.1"]))

    def test_ipv6(self) -> None:
        """An IPv6 address comes when it can be used, and is no news when it is only refreshed."""
        address = "2001:db8::1"
        self.assertEqual(self.told(news(NEW, address, flags=TENTATIVE)), ([], []))
        self.assertEqual(self.told(news(NEW, address)), ([address], []))
        self.assertEqual(self.told(news(NEW, address)), ([], []))
        self.assertEqual(self.told(news(GONE, address)), ([], [address]))

    def test_given_back(self) -> None:
        """What is taken away and given back has not changed; nor has what came and went."""
        for first, second in ((GONE, NEW), (NEW, GONE)):
            told = self.told(news(first, "192.0.2.1"), news(second, "192.0.2.1"))
            self.assertEqual(told[0], [])
        self.assertEqual(self.told(news(GONE, "192.0.2.1"), news(NEW, "192.0.2.1")), ([], []))

    def test_not_meant(self) -> None:
        """The mesh's own addresses, those of loopback, and other news."""
        self.assertEqual(
            self.told(
                news(NEW, "10.0.0.1", index=TUN),
                news(GONE, "127.0.0.1", index=1),
                news(16, "192.0.2.1"),
                HEADER.pack(HEADER.size, NEW, 0, 0, 0),
            ),
            ([], []),
        )

    @given(st.binary(max_size=120), st.integers(0, 80))
    def test_garbage(self, garbage: bytes, cut: int) -> None:
        """Whatever is read does no harm, and what is cut off is ignored."""
        watched = AddressNews(TUN)
        watched.feed(garbage)
        whole = news(NEW, "192.0.2.1")
        watched.take()
        watched.feed(whole[: min(cut, len(whole) - 1)])
        self.assertEqual(watched.take(), (frozenset(), frozenset()))
