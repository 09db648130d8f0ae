"""Secrets, certificates, bootstrap lists and keys of links that change while a mesh in memory is
running."""

from __future__ import annotations

from collections import Counter

from twisted.trial.unittest import SynchronousTestCase

from tunmesh.auth.handshake import Key
from tunmesh.dialing.bootstrap import GroupSettings
from tunmesh.node import links
from tunmesh.status.peers import REVOKED
from tunmesh.testing.credentials import credentials
from tunmesh.testing.mesh import PORT, SECRET, Member, Mesh
from tunmesh.testing.tun import frame
from tunmesh.wire.records import split_url

OLD, NEW = Key.derive(SECRET), Key.derive(b"a secret that nobody was told before")


class Traffic:
    """Packets between all nodes, in both directions."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        self.expected: dict[Member, list[bytes]] = {member: [] for member in mesh.members}

    def flow(self, seconds: float) -> None:
        """A packet for each pair every 10 ms."""
        for number in range(round(seconds / 0.01)):
            for sender in self.mesh.members:
                for receiver in self.mesh.members:
                    if sender is not receiver:
                        packet = frame(sender.address, receiver.address, b"%d" % number)
                        self.expected[receiver].append(packet)
                        sender.tun.inject(packet)
            self.mesh.advance(0.01)

    def lost(self) -> int:
        """How many did not arrive, or not exactly once."""
        self.mesh.advance(1.0)
        return sum(
            arrived[packet] != times
            for member, packets in self.expected.items()
            for arrived in [Counter(member.tun.written)]
            for packet, times in Counter(packets).items()
        )


class RotationCase(SynchronousTestCase):
    """Three linked nodes, whose links are renewed every 10 s."""

    def setUp(self) -> None:
        self.mesh = Mesh(session_max_age=10.0, groom_interval=1.0)
        self.a, self.b, self.c = (self.mesh.add(name) for name in "abc")
        self.mesh.until(self.mesh.is_complete)

    def links_by(self, key_id: str) -> list[int]:
        """How many links of each node came up with this key id."""
        return [member.status.links_by_key.get(key_id, 0) for member in self.mesh.running()]


class SecretTests(RotationCase):
    """A secret replaces another one."""

    def test_step_by_step_under_traffic(self) -> None:
        """Old secret first, new one first, new one alone: each step is taken by one node after the
        other while packets flow between all of them, and none is lost or duplicated."""
        traffic = Traffic(self.mesh)
        for keys in ((OLD, NEW), (NEW, OLD), (NEW,)):
            for member in self.mesh.members:
                member.reload(keys=keys)
                traffic.flow(1.0)
            traffic.flow(12.0)
        self.assertEqual(self.links_by(REVOKED), [0, 0, 0])
        self.assertEqual(self.links_by("1"), [2, 2, 2])
        self.assertEqual(traffic.lost(), 0)
        for member in self.mesh.members:
            self.assertEqual(member.logged("unlinked"), [])
            self.assertEqual(len(member.logged("linked")), 2)

    def test_links_stay_up(self) -> None:
        """A new secret is for new links: existing ones stay up, and the metric shows which key each
        came up with, and that the new one is unused."""
        for member in self.mesh.members:
            member.reload(keys=(NEW, OLD))
        self.assertEqual(self.a.status.links_by_key, {"1": 0, "2": 2})
        self.assertTrue(self.mesh.is_complete())
        self.mesh.advance(15)
        self.assertEqual(self.a.status.links_by_key, {"1": 2, "2": 0})

    def test_newcomer(self) -> None:
        """A node that only has the new secret gets in once the others accept it."""
        d = self.mesh.add("d", keys=(NEW,))
        self.mesh.advance(20)
        self.assertEqual(d.linked_with, [])
        for member in (self.a, self.b, self.c):
            member.reload(keys=(OLD, NEW))
        self.mesh.until(self.mesh.is_complete, within=30)

    def test_revoked(self) -> None:
        """A node that was not given the new secret is out when its session is over, whichever side
        dialed; the others are not affected."""
        traffic = Traffic(self.mesh)
        for member in (self.a, self.b):
            member.reload(keys=(NEW,))
        self.mesh.advance(5)
        self.assertEqual(self.c.linked_with, ["a", "b"])
        self.assertEqual(self.a.status.links_by_key, {"1": 0, REVOKED: 2})
        self.mesh.advance(80)
        self.assertEqual(self.c.linked_with, [])
        self.assertEqual((self.a.linked_with, self.b.linked_with), (["b"], ["a"]))
        traffic.expected.pop(self.c)
        self.mesh.members.remove(self.c)
        traffic.flow(1.0)
        self.assertEqual(traffic.lost(), 0)
        (event,) = self.a.logged("unlinked")
        self.assertEqual(event["reason"], "revoked")


class CertificateTests(RotationCase):
    """A certificate replaces another one."""

    def test_new_authority(self) -> None:
        """A new CA is first trusted by all, then used by all, while packets flow. No link is
        dropped, and the expiry date is that of the new certificate."""
        old, new = credentials(), credentials("new")
        both = old.trusted + new.trusted
        traffic = Traffic(self.mesh)
        for shown, trusted in ((old, both), (new, both), (new, new.trusted)):
            changed = type(old)(shown.chain, shown.key, trusted, verify_hostname=False)
            for member in self.mesh.members:
                member.reload(credentials=changed)
                traffic.flow(0.5)
            traffic.flow(12.0)
        self.assertEqual(traffic.lost(), 0)
        self.assertEqual(self.a.status.certificate_expiry, new.expiry)
        for member in self.mesh.members:
            self.assertEqual(member.logged("unlinked") + member.logged("handshake_failed"), [])

    def test_used_from_now_on(self) -> None:
        """A node that trusts only the old CA cannot link with one that uses the new one; after a
        reload it can, without a restart."""
        self.a.reload(credentials=credentials("new"))
        d = self.mesh.add("d")
        self.mesh.until(lambda: d.logged("handshake_failed") != [])
        self.assertEqual(d.logged("handshake_failed")[0]["reason"], "certificate")
        d.reload(credentials=credentials("new"))
        self.mesh.until(lambda: "a" in d.linked_with, within=30)


class VolumeTests(SynchronousTestCase):
    """Two nodes, whose links are renewed after 20 KB in one direction."""

    def setUp(self) -> None:
        self.patch(links, "MAX_CARRIED", 20_000)
        self.mesh = Mesh(groom_interval=0.5)
        self.a, self.b = self.mesh.add("a"), self.mesh.add("b")
        self.mesh.until(self.mesh.is_complete)

    def renewals(self, sender: Member, receiver: Member, seconds: float = 10.0) -> int:
        """How often their link was renewed while packets were sent in one direction, some 14 KB a
        second. None of them is lost or comes twice, and they come in order."""
        sent: list[bytes] = []
        links_used = {self.a.status.peers[0].since}
        for number in range(round(seconds / 0.01)):
            sent.append(frame(sender.address, receiver.address, b"%100d" % number))
            sender.tun.inject(sent[-1])
            self.mesh.advance(0.01)
            links_used.add(self.a.status.peers[0].since)
        self.mesh.advance(1.0)
        arrived, receiver.tun.written[:] = list(receiver.tun.written), []
        self.assertEqual(arrived, sent)
        return len(links_used) - 1

    def test_either_direction(self) -> None:
        """A link is renewed again and again, whether the node that dialed it sends or receives, and
        no node notices."""
        for sender, receiver in ((self.a, self.b), (self.b, self.a)):
            self.assertIn(self.renewals(sender, receiver), range(2, 8), sender.name)
        for member in (self.a, self.b):
            self.assertEqual(len(member.logged("linked")), 1)
            self.assertEqual(member.logged("unlinked"), [])
        self.assertTrue(self.mesh.is_complete())

    def test_not_before(self) -> None:
        """A link that carries little is not renewed."""
        self.assertEqual(self.renewals(self.a, self.b, seconds=0.5), 0)
        self.mesh.advance(20.0)
        self.assertEqual(self.renewals(self.b, self.a, seconds=0.5), 0)

    def test_not_possible(self) -> None:
        """A link that cannot be renewed goes on, the status says so, and it is renewed as soon as
        that is possible."""
        network = self.mesh.network
        ports = {member: network.listeners.pop((member.host, PORT)) for member in (self.a, self.b)}
        self.assertEqual(self.renewals(self.a, self.b), 0)
        failed = [dial.name for member in ports for dial in member.status.renewals]
        self.assertEqual(len(failed), 1, failed)
        for member, port in ports.items():
            network.listeners[member.host, PORT] = port
        self.assertGreater(self.renewals(self.a, self.b, seconds=30.0), 1)
        self.assertEqual([*self.a.status.renewals, *self.b.status.renewals], [])


class BootstrapTests(SynchronousTestCase):
    """A bootstrap list changes."""

    def test_list_was_wrong(self) -> None:
        """A node with a wrong bootstrap URL finds the mesh when it is given the right one."""
        mesh = Mesh()
        mesh.add("a")
        lost = mesh.add("b", groups=(GroupSettings("first", (("192.0.2.99", PORT),)),))
        mesh.advance(30)
        self.assertEqual(lost.linked_with, [])
        lost.reload(groups=(GroupSettings("first", (split_url(mesh.members[0].url),)),))
        mesh.until(mesh.is_complete, within=5)

    def test_before_each_round(self) -> None:
        """The list is read before each round of attempts, and the round uses it."""
        mesh = Mesh()
        a = mesh.add("a")
        right = (GroupSettings("first", (split_url(a.url),)),)
        wrong = (("192.0.2.98", PORT), ("192.0.2.99", PORT))
        asked: list[float] = []
        b = mesh.add("b", start=False, groups=(GroupSettings("first", wrong),))

        def ask() -> None:
            asked.append(mesh.clock.seconds())
            if len(asked) == 3:
                b.reload(groups=right)

        b.before_bootstrap = ask
        b.start()
        mesh.until(mesh.is_complete)
        self.assertEqual(len(asked), 4)  # the round that was put off begins anew
        self.assertEqual(len(b.logged("unreachable")), 2)

    def test_others_are_left_alone(self) -> None:
        """A group that is added to the list is dialed; links and other groups are not affected."""
        mesh = Mesh()
        a, b = mesh.add("a"), mesh.add("b")
        island = mesh.add("c", groups=())
        mesh.advance(20)
        self.assertEqual(island.linked_with, [])
        first = GroupSettings("first", (split_url(a.url),))
        b.reload(groups=(first, GroupSettings("second", (split_url(island.url),))))
        mesh.until(mesh.is_complete, within=5)
        self.assertEqual((a.logged("unlinked"), b.logged("unlinked")), ([], []))

    def test_while_leaving(self) -> None:
        """A node that is leaving does not come back because its list changes."""
        mesh = Mesh()
        a, b = mesh.add("a"), mesh.add("b")
        mesh.until(mesh.is_complete)
        b.leave()
        b.reload(groups=(GroupSettings("again", (split_url(a.url),)),))
        mesh.advance(20)
        self.assertEqual(a.linked_with, [])
