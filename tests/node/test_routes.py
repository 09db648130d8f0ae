"""Networks outside the mesh, in meshes in memory: what nodes say, hear, log and show."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address, ip_network

from twisted.logger import formatEvent
from twisted.trial.unittest import SynchronousTestCase

from tunmesh.addresses import Network
from tunmesh.cli import views, waiting
from tunmesh.dataplane.gateways import Accepted
from tunmesh.observe import status_json
from tunmesh.observe.problems import problems
from tunmesh.observe.samples import History
from tunmesh.testing.mesh import Member, Mesh
from tunmesh.testing.tun import frame

SITE: Network = ip_network("192.168.5.0/24")
HOST = "192.168.5.9"


class RouteCase(SynchronousTestCase):
    """`client` accepts a network; the others may advertise it."""

    def mesh(self, *gateways: str, accepted: Accepted | None = None) -> tuple[Mesh, list[Member]]:
        mesh = Mesh()
        client = mesh.add("client", accept_routes=(accepted or Accepted(SITE),))
        members = [mesh.add(name, advertise=(SITE,)) for name in gateways]
        mesh.until(mesh.is_complete)
        return mesh, [client, *members]

    def arrives(self, mesh: Mesh, sender: Member, receiver: Member) -> bool:
        """Whether a packet to the host comes to that gateway."""
        packet = frame(sender.address, HOST, mesh.random.randbytes(8))
        sender.tun.inject(packet)
        mesh.advance(0.1)
        return packet in receiver.tun.written

    def comes_back(self, mesh: Mesh, gateway: Member, receiver: Member) -> bool:
        """Whether a packet of the host comes to a node by way of that gateway."""
        packet = frame(HOST, receiver.address, mesh.random.randbytes(8))
        gateway.tun.inject(packet)
        mesh.advance(0.1)
        return packet in receiver.tun.written


class Gateways(RouteCase):
    def test_there_and_back(self) -> None:
        """Packets to the network come out of the gateway's tun, and those of hosts there come back;
        a node that does not accept it does not believe them."""
        mesh, (client, gateway) = self.mesh("gateway")
        other = mesh.add("other")
        mesh.until(mesh.is_complete)
        self.assertTrue(self.arrives(mesh, client, gateway))
        self.assertTrue(self.comes_back(mesh, gateway, client))
        self.assertFalse(self.arrives(mesh, other, gateway))
        self.assertFalse(self.comes_back(mesh, gateway, other))
        self.assertEqual(other.status.dropped["spoofed_source"], 1)
        self.assertFalse(self.comes_back(mesh, other, client))
        self.assertEqual(client.status.dropped["spoofed_source"], 1)

    def test_story(self) -> None:
        """The log says when the network is reached, and when it is not any more."""
        mesh, (client, gateway) = self.mesh("gateway")
        (reached,) = client.logged("network_reached")
        self.assertEqual(formatEvent(reached), "192.168.5.0/24 is reached through gateway")
        self.assertFalse(client.logged("network_lost"))
        gateway.leave()
        mesh.advance(1)
        (lost,) = client.logged("network_lost")
        self.assertEqual(formatEvent(lost), "no linked node leads to 192.168.5.0/24 any more")

    def test_takes_over(self) -> None:
        """When one of two gateways crashes the other one gets all that its flows send."""
        mesh, (client, one, other) = self.mesh("one", "other")
        which = one if self.arrives(mesh, client, one) else other
        rest = other if which is one else one
        self.assertFalse(rest.tun.written)
        which.crash()
        mesh.advance(0.5)
        self.assertTrue(self.arrives(mesh, client, rest))
        self.assertEqual(len(client.logged("network_reached")), 1)
        self.assertFalse(client.logged("network_lost"))

    def test_reload(self) -> None:
        """A gateway may say later what it leads to, or not any more; links stay."""
        mesh, (client, gateway) = self.mesh("gateway")
        gateway.reload(advertise=())
        mesh.advance(1)
        self.assertFalse(self.arrives(mesh, client, gateway))
        self.assertFalse(self.comes_back(mesh, gateway, client))
        gateway.reload(advertise=(SITE,))
        mesh.advance(1)
        self.assertTrue(self.arrives(mesh, client, gateway))
        self.assertEqual(len(client.logged("linked")), 1)

    def test_via(self) -> None:
        """Only the node with the named address is a gateway; a second one that claims the address
        is not."""
        accepted = Accepted(SITE, (ip_address("10.9.0.2"),))
        mesh, (client, gateway) = self.mesh("gateway", accepted=accepted)
        self.assertEqual(gateway.address, "10.9.0.2")
        greedy = mesh.add("greedy", start=False, advertise=(SITE, ip_network("192.168.5.0/25")))
        greedy.addresses = (gateway.address, "fd09::99")
        greedy.start()
        mesh.advance(20)
        self.assertIn("greedy", client.linked_with)
        self.assertTrue(self.arrives(mesh, client, gateway))
        self.assertFalse(greedy.tun.written)
        self.assertFalse(self.comes_back(mesh, greedy, client))


class HostileMembers(RouteCase):
    def test_greedy(self) -> None:
        """A member that advertises everything gets nothing that is not accepted, disturbs nobody,
        and is named in the log, once."""
        mesh, (client, gateway) = self.mesh("gateway")
        everything = ("0.0.0.0/0", "::/0", "10.9.0.0/16", f"{gateway.address}/32", "192.168.0.0/16")
        greedy = mesh.add("greedy", advertise=tuple(map(ip_network, everything)))
        mesh.until(mesh.is_complete)
        self.assertTrue(self.arrives(mesh, client, gateway))
        self.assertTrue(mesh.send(client, gateway))
        self.assertTrue(mesh.send(gateway, client))
        for source in (HOST, gateway.address, "192.0.2.7"):
            forged = frame(source, client.address, b"forged")
            greedy.tun.inject(forged)
            mesh.advance(0.1)
            self.assertNotIn(forged, client.tun.written)
        for destination in ("192.0.2.7", "10.9.77.77"):
            client.tun.inject(frame(client.address, destination, b"private"))
        mesh.advance(0.1)
        self.assertFalse(any(b"private" in each for each in greedy.tun.written))
        (said,) = client.logged("routes_not_used")
        text = formatEvent(said)
        self.assertIn("greedy advertises networks that are not used: ", text)
        self.assertIn("0.0.0.0/0 (it overlaps the mesh)", text)
        self.assertIn("192.168.0.0/16 (it is larger than what is accepted)", text)
        self.assertEqual(gateway.logged("routes_not_used"), [])

    def test_many_networks(self) -> None:
        """What a member advertises is judged when it says so, and not whenever any other node
        changes, and so is what leads to an accepted network: a few hundred of them would keep a
        node busy with each change of one."""
        mesh, (client, _) = self.mesh("gateway")
        many = tuple(ip_network(f"10.8.{number}.0/24") for number in range(32))
        mesh.add("greedy", advertise=many)
        mesh.until(mesh.is_complete)
        gateways = client.node._parts.table.gateways
        judged: list[Network] = []

        def judge(_peer: object, network: Network) -> str:
            judged.append(network)
            return ""

        looked: list[int] = []

        def used(_: object) -> dict[Network, Sequence[object]]:
            looked.append(1)
            return {}

        self.patch(gateways, "why_not", judge)
        self.patch(type(gateways), "used", property(used))
        mesh.add("other", advertise=(SITE,))
        mesh.until(mesh.is_complete)
        mesh.advance(5)
        self.assertEqual((set(judged), looked), ({SITE}, []))


class Underlay(RouteCase):
    """Links do not run through the mesh that they carry."""

    UNDERLAY = ip_network("192.0.2.0/24")  # where all hosts are: tunmesh.testing.mesh

    def mesh_over(self, *, has_own_route: bool) -> tuple[Mesh, Member, Member]:
        """A node that accepts the network that the other one is in."""
        mesh = Mesh()
        gateway = mesh.add("gateway", advertise=(self.UNDERLAY,))
        allowed = (self.UNDERLAY,) if has_own_route else ()
        accepted = (Accepted(self.UNDERLAY),)
        client = mesh.add("client", accept_routes=accepted, allow_overlap=allowed)
        mesh.advance(10)
        return mesh, gateway, client

    def test_no_link(self) -> None:
        """A peer in an accepted network is not dialed, nor taken when it dials, and the log says
        why."""
        _, gateway, client = self.mesh_over(has_own_route=False)
        self.assertEqual(client.linked_with, [])
        self.assertEqual(gateway.linked_with, [])
        said = " ".join(map(formatEvent, client.events))
        self.assertIn("192.0.2.0/24, which is reached through the mesh (accept_routes)", said)
        self.assertIn("a link cannot run through the mesh", said)

    def test_own_route(self) -> None:
        """It is if this machine has a route of its own to it, as the config says."""
        mesh, gateway, client = self.mesh_over(has_own_route=True)
        self.assertEqual(client.linked_with, ["gateway"])
        self.assertTrue(mesh.send(client, gateway))


class Shown(RouteCase):
    def tree(self, member: Member) -> status_json.Json:
        return status_json.report(member.status, History(), 0.0)

    def test_client(self) -> None:
        """Status, routes, problems and metrics say what is reached through whom."""
        mesh, (client, one, _) = self.mesh("one", "other")
        tree = self.tree(client)
        self.assertEqual(
            tree["routes"]["accepted"],
            [
                {
                    "network": "192.168.5.0/24",
                    "via": [],
                    "gateways": [{"network": "192.168.5.0/24", "nodes": ["one", "other"]}],
                }
            ],
        )
        self.assertIn("reaches 192.168.5.0/24 through one, other", list(views.status(tree)))
        lines = [line.split() for line in views.routes(tree)]
        self.assertIn(["192.168.5.0/24", "one", one.url], lines)
        mesh.add("third", advertise=(ip_network("172.16.0.0/16"),))
        mesh.until(mesh.is_complete)
        text = "third advertises 172.16.0.0/16 in vain: it is not accepted"
        self.assertIn(text, list(views.routes(self.tree(client))))

    def test_nobody_leads_there(self) -> None:
        """A network without a gateway is a problem."""
        _, (client,) = self.mesh()
        said = list(problems(client.status, History(), 0.0))
        self.assertIn("no linked node leads to 192.168.5.0/24 (networking/accept_routes)", said)
        rows = [line for line in views.routes(self.tree(client)) if "nobody" in line]
        self.assertEqual(len(rows), 1)

    def test_waiting(self) -> None:
        """`tunmesh wait --for ADDRESS` waits for a gateway to it, too."""
        mesh, (client, gateway) = self.mesh("gateway")
        self.assertEqual(waiting._lacks_route(HOST, self.tree(client)), "")
        self.assertEqual(waiting._lacks_route(gateway.address, self.tree(client)), "")
        gateway.leave()
        mesh.advance(1)
        lacks = waiting._lacks_route(HOST, self.tree(client))
        self.assertEqual(lacks, "no route to 192.168.5.9")

    def test_gateway(self) -> None:
        """A gateway says what it leads to."""
        _, (_, gateway) = self.mesh("gateway")
        tree = self.tree(gateway)
        self.assertEqual(tree["routes"]["advertised"], ["192.168.5.0/24"])
        self.assertIn("leads to 192.168.5.0/24", list(views.status(tree)))

    def explained(self, member: Member, source: str, destination: str) -> tuple[bool, str]:
        steps = member.node.explainer().explain(ip_address(source), ip_address(destination))
        return steps[-1].ok, "; ".join(step.text for step in steps)

    def test_explained(self) -> None:
        """The way of a packet to the network and back, and why it would not get there."""
        mesh, (client, gateway) = self.mesh("gateway")
        ok, text = self.explained(client, client.address, HOST)
        self.assertTrue(ok, text)
        self.assertIn("192.168.5.0/24 is accepted (networking/accept_routes)", text)
        self.assertIn("gateway leads there: it advertises 192.168.5.0/24", text)
        self.assertIn("gateway gives it to its kernel, which forwards it to 192.168.5.9", text)
        ok, text = self.explained(client, HOST, client.address)
        self.assertTrue(ok, text)
        self.assertIn("192.168.5.9 is behind gateway, which leads there", text)
        ok, text = self.explained(gateway, client.address, HOST)
        self.assertTrue(ok, text)
        self.assertIn("this node leads to (networking/advertise): the kernel here", text)
        ok, text = self.explained(gateway, HOST, client.address)
        self.assertTrue(ok, text)
        self.assertIn("client believes 192.168.5.9 if it accepts 192.168.5.0/24", text)
        ok, text = self.explained(client, client.address, "192.168.6.9")
        self.assertFalse(ok, text)
        gateway.leave()
        mesh.advance(1)
        ok, text = self.explained(client, client.address, HOST)
        self.assertFalse(ok, text)
        self.assertIn("which is accepted, but no linked node leads there", text)
        self.assertIn("(no_route)", text)

    def test_two_gateways_explained(self) -> None:
        """With two gateways both are named, and that each flow goes by one of them."""
        _, (client, *_) = self.mesh("one", "other")
        ok, text = self.explained(client, client.address, HOST)
        self.assertTrue(ok, text)
        self.assertIn("one, other lead there: they advertise 192.168.5.0/24, and each flow", text)
