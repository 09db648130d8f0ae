"""In which order a bootstrap group tries addresses."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tunmesh.dialing.address_order import MAX_ANSWERED, AddressOrder


class AddressOrderTests(SynchronousTestCase):
    """This node is at o; linked nodes connect from a, b and c."""

    def setUp(self) -> None:
        self.order = AddressOrder(lambda: ("o", 1), lambda: set("abc"))

    def sort(self, addresses: str) -> str:
        return "".join(self.order.sort(addresses, 1))

    def test_any(self) -> None:
        """Any node will do: the node's own address is the last one."""
        self.assertEqual(self.sort("boxa"), "bxao")
        self.assertEqual(self.order.sort("boxa", 2), list("boxa"))

    def test_others(self) -> None:
        """Others are wanted: those where none is known are first, in the order in which they came.
        One that answers is tried again when all others have answered since."""
        self.order.seek_others(True)
        self.assertEqual(self.sort("boyax"), "yxboa")
        self.order.answered("y", 1)
        self.order.answered("x", 2)
        self.assertEqual(self.sort("boyax"), "xboay")
        for address in "xabo":
            self.order.answered(address, 1)
        self.assertEqual(self.sort("boyax"), "yxabo")
        self.assertEqual(self.sort("zboyax"), "zyxabo")

    def test_whatever_others_say(self) -> None:
        """Wherever linked nodes connect from, all addresses that answer are tried in as many looks
        as there are addresses."""
        self.order.seek_others(True)
        reached = set()
        for _ in "abcdefgh":
            first = self.sort("hgfedcba")[0]
            reached.add(first)
            self.order.answered(first, 1)
        self.assertEqual(reached, set("abcdefgh"))

    def test_link_local(self) -> None:
        """An address is the same with and without its interface."""
        self.order.seek_others(True)
        self.order.answered("fe80::1%eth0", 1)
        self.assertEqual(self.order.sort(["fe80::1%2", "a"], 1), ["a", "fe80::1%2"])

    def test_bound(self) -> None:
        """However many addresses a name has over time."""
        for number in range(MAX_ANSWERED + 10):
            self.order.answered(str(number), 1)
        self.assertEqual(len(self.order._answered), MAX_ANSWERED)
