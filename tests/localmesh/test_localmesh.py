"""The local mesh: its output, what it parses and refuses, and whole runs that succeed, fail, or end
by Ctrl-C or kill -9. However a run ends, nothing may be left behind."""

from __future__ import annotations

import contextlib
import io
import os
import re
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor as trial_reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.utils import getProcessOutputAndValue
from twisted.python.failure import Failure
from twisted.trial import unittest
from twisted.web.resource import Resource
from twisted.web.server import Site
from twisted.web.static import Data

from tests.support import netns
from tests.support.places import short_directory
from tunmesh.cli.meshes import mesh
from tunmesh.config import loading
from tunmesh.errors import OperatorError
from tunmesh.localmesh import machine, measuring, screen
from tunmesh.localmesh import run as localmesh
from tunmesh.localmesh.forward import forward
from tunmesh.localmesh.pinger import Pinger, Pings
from tunmesh.localmesh.plan import NodePlan, Owner, write_files
from tunmesh.localmesh.processes import MeshError, NodeProcess, parse_line
from tunmesh.localmesh.screen import PairResult, View
from tunmesh.localmesh.transfers import Place, TrafficError, fetch, transfer
from tunmesh.localmesh.underlay import Underlay
from tunmesh.packets import icmp

reactor: Any = trial_reactor
LONG = 100.0  # seconds: only a hang lasts as long


def shown(encoding: str = "utf-8", colour: bool = False) -> tuple[View, Any]:
    """A view at 1.5 seconds, and a function that returns its output."""
    written = io.BytesIO()
    stream = io.TextIOWrapper(written, encoding)
    return View(stream, lambda: 1.5, colour), lambda: written.getvalue().decode(encoding)


class ViewTests(unittest.TestCase):
    def test_a_story(self) -> None:
        """Steps grow word by word; results, notes and failures each have a line of their own."""
        view, text = shown()
        view.title("a mesh")
        view.step("linking")
        for word in "1–2", "2–3":
            view.word(word)
        view.done("all linked")
        view.note("in no time")
        view.step("pinging")
        view.failed("no answer")
        view.block(["a table"])
        self.assertEqual(
            text(),
            "a mesh\n"
            "   1.50 s … linking  1–2  2–3\n"
            "   1.50 s ✔ all linked\n"
            "            in no time\n"
            "   1.50 s … pinging\n"
            "   1.50 s ✘ no answer\n"
            "\na table\n\n",
        )

    def test_many_words_are_wrapped(self) -> None:
        """A large mesh has many pairs, and still no line is wider than 80 columns."""
        view, text = shown()
        view.step("linking")
        for number in range(200):
            view.word(f"{number}–{number + 1}")
        view.done("all linked")
        lines = text().splitlines()
        self.assertGreater(len(lines), 20)
        self.assertLessEqual(max(map(len, lines)), 80)

    def test_long_lines(self) -> None:
        """Of an endless line, the beginning and the end are shown."""
        self.assertEqual(screen.shortened("short"), "short")
        line = screen.shortened("begin" + "x" * 5000 + "the end")
        self.assertRegex(line, "^begin.* … .*the end$")
        self.assertLess(len(line), 250)

    def test_plain_output(self) -> None:
        """On an output without Unicode, symbols are replaced and nothing fails."""
        view, text = shown("ascii")
        view.step("linking")
        view.word("1–2")
        view.done("1→2")
        view.failed("no")
        self.assertEqual(text(), "   1.50 s ~ linking  1-2\n   1.50 s + 1>2\n   1.50 s x no\n")

    def test_colour(self) -> None:
        """Success is green and failure red, if colour is enabled."""
        view, text = shown(colour=True)
        view.done("good")
        view.failed("bad")
        self.assertIn("\x1b[32m✔\x1b[0m good", text())
        self.assertIn("\x1b[31mbad\x1b[0m", text())

    def test_no_colour_for_files(self) -> None:
        """Output to a file or a pipe has no colour."""
        self.assertFalse(screen.wants_colour(io.StringIO()))

    def test_no_colour_on_request(self) -> None:
        """NO_COLOR, or a dumb terminal, disables colour on a terminal too."""
        leader, follower = os.openpty()
        self.addCleanup(os.close, leader)
        with open(follower, "w") as terminal:
            self.patch(os, "environ", {"TERM": "xterm"})
            self.assertTrue(screen.wants_colour(terminal))
            self.patch(os, "environ", {"TERM": "xterm", "NO_COLOR": "1"})
            self.assertFalse(screen.wants_colour(terminal))
            self.patch(os, "environ", {"TERM": "dumb"})
            self.assertFalse(screen.wants_colour(terminal))


class TableTests(unittest.TestCase):
    def test_results(self) -> None:
        """The table has a line for each ordered pair, with loss, median and rate."""
        good = Pings(5, (0.0007, 0.0004, 0.0005, 0.0006, 0.002))
        poor = Pings(5, (0.1204, 0.2))
        table = screen.results_table(
            [
                PairResult("node1", "node2", good, good, 2.345e9),
                PairResult("node2", "node1", poor, Pings(5, ()), 12.6e6),
            ]
        )
        self.assertEqual(
            table,
            [
                "                             IPv4                   IPv6                TCP",
                "  from    to        lost  round trip       lost  round trip        1 stream",
                "  node1   node2      0 %     0.60 ms        0 %     0.60 ms     2.35 Gbit/s",
                "  node2   node1     60 %      160 ms      100 %           –       13 Mbit/s",
            ],
        )

    def test_many_pairs(self) -> None:
        """With more than six nodes there is a line for each node: its pings to all others, and its
        slowest transfer."""
        names = [f"node{number}" for number in range(1, 8)]
        fast, lossy = Pings(2, (0.001, 0.002)), Pings(2, (0.004,))
        results = [
            PairResult(one, other, fast, lossy if other == "node7" else fast, 1e9 / place)
            for one in names
            for place, other in enumerate(names, 1)
            if one != other
        ]
        title, head, first, *_, last = table = screen.results_table(results)
        self.assertEqual(len(table), 2 + 7)
        self.assertLessEqual(max(map(len, table)), 80)
        self.assertTrue(head.endswith("slowest stream"), title)
        self.assertEqual(
            " ".join(first.split()), "node1 6 others 0 % 1.50 ms 8 % 2.00 ms 143 Mbit/s"
        )
        self.assertIn("node7   6 others", last)
        self.assertEqual(len(screen.results_table(results[:30])), 2 + 30)

    def test_it_fits(self) -> None:
        """The widest possible values fit into 80 columns."""
        worst = Pings(3, (9.999,))
        widest = PairResult("node50", "node49", worst, worst, 99.99e9)
        self.assertLessEqual(max(map(len, screen.results_table([widest]))), 80)


class LineTests(unittest.TestCase):
    def test_event(self) -> None:
        """A JSON line has an event, a text and fields."""
        line = parse_line(b'{"event": "linked", "text": "linked with b", "peer": "b"}\r')
        self.assertEqual((line.event, line.text), ("linked", "linked with b"))
        self.assertEqual(line.fields["peer"], "b")

    def test_other_json(self) -> None:
        """JSON that is not an event is shown unchanged."""
        for raw in (b"[1]", b"3", b'"linked"', b"null", b"{}"):
            line = parse_line(raw)
            self.assertEqual((line.event, line.text), ("", raw.decode()))

    def test_deep_json(self) -> None:
        """Very deeply nested JSON does no harm."""
        self.assertEqual(parse_line(b"[" * 100_000).event, "")

    @given(st.binary())
    def test_garbage(self, raw: bytes) -> None:
        """Any output of a node can be shown as a line."""
        self.assertIsInstance(parse_line(raw).text, str)


class NodeProcessTests(unittest.TestCase):
    OUTPUT = (
        b'{"event": "listening", "text": "listening"}\n'
        b'{"event": "privileges", "capabilities": 0, "text": "no capabilities"}\n'
        b'{"event": "linked", "peer": "a", "text": "linked with a"}\n'
        b'{"event": "linked", "peer": "b", "text": "linked with b"}\n'
        b"Traceback: what a person wants to see\n"
        b'{"event": "unlinked", "peer": "a", "text": "lost a"}\n'
    )

    def setUp(self) -> None:
        self.log = io.BytesIO()
        self.node = NodeProcess("node1", self.log, lambda: None)

    def test_state_follows_events(self) -> None:
        """The links of a node are derived from its log events."""
        self.node.childDataReceived(1, self.OUTPUT)
        self.assertTrue(self.node.listening and self.node.unprivileged)
        self.assertEqual(self.node.peers, {"b"})

    def test_remaining_privileges(self) -> None:
        """A node that has kept a capability does not count as unprivileged."""
        self.node.childDataReceived(1, b'{"event": "privileges", "capabilities": 4096}\n')
        self.assertFalse(self.node.unprivileged)

    def test_byte_by_byte(self) -> None:
        """The output may arrive in any pieces."""
        for at in range(len(self.OUTPUT)):
            self.node.childDataReceived(1, self.OUTPUT[at : at + 1])
        self.assertEqual(self.node.peers, {"b"})
        self.assertIn("Traceback: what a person wants to see", self.node.tail)

    def test_everything_is_logged(self) -> None:
        """The log file has the node's output on both stdout and stderr."""
        self.node.childDataReceived(1, b"out")
        self.node.childDataReceived(2, b"err\n")
        self.assertEqual(self.log.getvalue(), b"outerr\n")

    def test_the_last_lines_are_kept(self) -> None:
        """Only the last lines are kept, since they explain a failure."""
        for number in range(100):
            self.node.childDataReceived(2, b"line %d\n" % number)
        self.assertEqual(len(self.node.tail), 12)
        self.assertEqual(self.node.tail[-1], "line 99")


class EchoTests(unittest.TestCase):
    def test_checksum_of_the_rfc(self) -> None:
        """The checksum of RFC 1071's own example is right."""
        self.assertEqual(icmp.checksum(bytes.fromhex("0001f203f4f5f6f7")), 0x220D)

    @given(st.binary(max_size=100), st.integers(0, 0xFFFF), st.integers(0, 0xFFFF))
    def test_requests_are_valid(self, payload: bytes, identity: int, sequence: int) -> None:
        """A request's checksum is valid: the sum over the whole message is 0."""
        request = icmp.echo_request(icmp.IPV4, identity, sequence, payload)
        self.assertEqual(icmp.checksum(request), 0)

    def test_replies(self) -> None:
        """A reply is recognised behind an IPv4 header of any length, and without a header in
        IPv6."""
        for header in 20, 24, 60:
            datagram = bytes([0x40 | header // 4]).ljust(header, b"\0") + bytes.fromhex(
                "0000 0000 1234 0007"
            )
            self.assertEqual(icmp.parse_echo_reply(icmp.IPV4, datagram), (0x1234, 7))
        reply = bytes.fromhex("8100 0000 1234 0007")
        self.assertEqual(icmp.parse_echo_reply(icmp.IPV6, reply), (0x1234, 7))

    def test_anything_else(self) -> None:
        """Requests, error messages and truncated replies are not taken for replies."""
        reply = bytes([0x45]).ljust(20, b"\0") + bytes.fromhex("0000 0000 1234 0007")
        for length in range(len(reply)):
            self.assertIsNone(icmp.parse_echo_reply(icmp.IPV4, reply[:length]))
        for family in icmp.IPV4, icmp.IPV6:
            request = icmp.echo_request(family, 1, 1, b"")
            packet = reply[:20] + request if family.has_ip_header else request
            self.assertIsNone(icmp.parse_echo_reply(family, packet))


class PlanTests(unittest.TestCase):
    def test_files(self) -> None:
        """Only the owner can read the files, and nodes accept their configs."""
        directory = short_directory(self)
        plans = [NodePlan(1), NodePlan(50)]
        write_files(directory, plans, Owner(os.getuid() or 1, os.getgid() or 1))
        for path in directory.iterdir():
            self.assertEqual(path.stat().st_mode & 0o777, 0o600, path)
        for plan in plans:
            loading.load(directory / plan.config_file, {}, lambda low, high: low)

    def test_transfers(self) -> None:
        """Few pairs send much each and many pairs little, so that no mesh takes too long."""
        sizes = [measuring.transfer_size(nodes) // 1_000_000 for nodes in (2, 3, 8, 50)]
        self.assertEqual(sizes, [32, 32, 4, 1])

    async def test_slow_machine(self) -> None:
        """A node that answers pings late, as on a busy machine, answers them; one that is dead does
        not, however long it is waited for."""
        plan = NodePlan(1)
        anything: Any = None
        traffic = measuring.MeshTraffic(anything, [plan], [anything], anything)
        self.patch(measuring, "Pinger", LatePinger)
        await traffic.first_answer(plan, plan, 10.0)
        with self.assertRaisesRegex(MeshError, "10.77.0.1 does not answer pings again"):
            await traffic.first_answer(plan, plan, 2.0)


class LatePinger:
    """Of a path with a round trip of 0.4 s. No time passes."""

    def __init__(self, *_: object) -> None:
        pass

    async def ping_once(self, address: str, patience: float) -> float | None:
        return 0.4 if patience >= 0.4 else None

    def close(self) -> None:
        pass


class RefusalTests(unittest.TestCase):
    def test_number_of_nodes(self) -> None:
        """A single node is refused, and so are hundreds, for which this is not made."""
        for nodes in ("1", "51"):
            result = CliRunner().invoke(mesh, ["--nodes", nodes])
            self.assertEqual(result.exit_code, 2)
            self.assertIn(f"{nodes} is not in the range 2<=x<=50", result.output)

    def test_no_tun_device(self) -> None:
        """If there is no tun device, the error says so, with two ways to provide it."""
        with self.assertRaisesRegex(
            OperatorError,
            "cannot open /nonexistent/tun .No such file or directory.: "
            "give the container --device /nonexistent/tun, or load the kernel module: modprobe tun",
        ):
            machine.check_tun_device("/nonexistent/tun")

    @inlineCallbacks
    def test_tun_device_without_permission(self) -> Any:
        """If this user may not open the tun device, the error says so, and what to do."""
        code = (
            "import os, sys\n"
            "from tunmesh.localmesh import machine\n"
            "os.getuid() or os.setuid(65534)\n"
            "machine.check_tun_device(sys.argv[1])\n"
        )
        descriptor, path = tempfile.mkstemp()
        self.addCleanup(os.unlink, path)
        os.fchmod(descriptor, 0)
        os.close(descriptor)
        _, errors, _ = yield netns.run_python(reactor, code, path)
        self.assertIn(f"needs: chmod 0666 {path}; or run as root", errors.decode())


class TrafficTests(unittest.TestCase):
    """The probes themselves, over the bare underlay."""

    skip = netns.skip_reason()

    def setUp(self) -> None:
        addresses = ["10.99.0.1", "10.99.0.2"]
        underlay = Underlay.create(addresses)
        self.addCleanup(underlay.close)
        self.left, self.right = map(Place, underlay.namespaces, addresses)

    def pinger(self, version: int = 4) -> Pinger:
        pinger = Pinger(reactor, self.left.namespace, version)
        self.addCleanup(pinger.close)
        return pinger

    async def test_ping(self) -> None:
        """A host that is up answers every ping."""
        pings = await self.pinger().ping("10.99.0.2", 3, patience=LONG)
        self.assertEqual((pings.lost, len(pings.round_trips)), (0, 3))

    async def test_ping_ipv6(self) -> None:
        """Pings work over IPv6 as well."""
        self.assertEqual((await self.pinger(6).ping("::1", 3, LONG)).lost, 0)

    async def test_ping_no_host(self) -> None:
        """Pings are lost if no host has the address, or there is no route to it."""
        for address in "10.99.0.77", "192.0.2.1":
            pings = await self.pinger().ping(address, 2, patience=0.05)
            self.assertEqual((pings.loss, pings.median), (1.0, None))

    async def test_transfer(self) -> None:
        """A completed transfer has a rate."""
        rate = await transfer(reactor, self.left, self.right, os.urandom(1_000_000), LONG)
        self.assertGreater(rate, 0)

    async def test_transfer_to_absent_host(self) -> None:
        """A transfer to an absent host reports which node could not reach which, and why."""
        elsewhere = Place(self.right.namespace, "127.0.0.1")
        with self.assertRaisesRegex(
            TrafficError, "TCP from 10.99.0.1 to 127.0.0.1 failed: .*efuse"
        ):
            await transfer(reactor, self.left, elsewhere, b"data", LONG)

    async def test_transfer_from_elsewhere(self) -> None:
        """A transfer from a mesh address that the node does not have names the address."""
        absent = Place(self.right.namespace, "10.77.0.2")
        with self.assertRaisesRegex(TrafficError, "no TCP port at 10.77.0.2: .*annot assign"):
            await transfer(reactor, self.left, absent, b"data", LONG)

    async def test_http(self) -> None:
        """A page shows the addresses of both ends, and thus the path that it took."""
        page = await fetch(reactor, self.left, self.right, LONG)
        self.assertEqual(page.status, 200)
        self.assertEqual(page.text, "hello 10.99.0.1, this is 10.99.0.2")

    async def test_forward(self) -> None:
        """A port on loopback here is forwarded to one on loopback in a namespace."""
        root = Resource()
        root.putChild(b"", Data(b"inside", "text/plain"))
        with self.left.namespace:
            page: Any = reactor.listenTCP(0, Site(root), interface="127.0.0.1")
        entrance = forward(reactor, self.left.namespace, page.getHost().port)
        code = "import sys, urllib.request as r; print(r.urlopen(sys.argv[1]).read().decode())"
        said = await netns.run_python(reactor, code, f"http://127.0.0.1:{entrance.getHost().port}/")
        for port in (entrance, page):
            await port.stopListening()
        self.assertEqual(said, (b"inside\n", b"", 0))


class Run(ProcessProtocol):
    """A local mesh as a process; `done` fires when it and the janitor have exited."""

    def __init__(self, react: dict[str, str]) -> None:
        self.output = ""
        self.done: Deferred[int] = Deferred()
        self._react = react
        self._awaited: list[tuple[str, Deferred[None]]] = []

    def shows(self, text: str) -> Deferred[None]:
        """Wait until it has printed this."""
        shown: Deferred[None] = Deferred()
        self._awaited.append((text, shown))
        self.childDataReceived(1, b"")
        return shown

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        self.output += data.decode()
        for text, name in list(self._react.items()):
            if text in self.output:
                del self._react[text]
                self.transport.signalProcess(name)  # type: ignore[union-attr]
        for text, shown in self._awaited[:]:
            if text in self.output:
                self._awaited.remove((text, shown))
                shown.callback(None)

    def give_up(self) -> None:
        """Give up, when the test has run out of time."""
        with contextlib.suppress(ProcessExitedAlready):
            self.transport.signalProcess("KILL")  # type: ignore[union-attr]

    def processEnded(self, reason: Failure) -> None:
        ended: Any = reason.value
        self.done.callback(-ended.signal if ended.signal else ended.exitCode or 0)


class RunTests(unittest.TestCase):
    """Whole runs, as seen by a user."""

    skip = netns.skip_reason()

    def start(self, statements: str = "", options: str = "False", **react: str) -> Run:
        """Run 2 nodes after `statements`, with these further arguments; `react` maps a text in the
        output to a signal."""
        self.directory = short_directory(self)
        code = (
            "import sys; from tunmesh.localmesh import plan, run\n"
            f"{statements}\nsys.exit(run.main(2, {options}))"
        )
        environment = {
            **os.environ,
            "TMPDIR": str(self.directory),
            "PYTHONPATH": str(Path(localmesh.__file__).parents[2]),
            "PYTHONIOENCODING": "utf-8",
        }
        run = Run(react)
        reactor.spawnProcess(run, sys.executable, [sys.executable, "-c", code], environment)
        self.addCleanup(run.give_up)
        return run

    def assert_nothing_left(self) -> None:
        """No file is left, and no process that was started with the name of one."""
        self.assertEqual(list(self.directory.iterdir()), [])
        name = os.fsencode(self.directory)
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                self.assertNotIn(name, path.read_bytes(), path)
            except OSError:
                continue  # it has exited meanwhile

    async def test_success(self) -> None:
        """Two nodes link, carry traffic, lose one, heal and leave; nothing is left."""
        run = self.start()
        code = await run.done
        self.assertEqual(code, 0, run.output)
        for text in ("every node is linked", "healed", "left with exit code 0", "nothing is left"):
            self.assertIn(text, run.output)
        self.assertRegex(run.output, r"node1 +10\.77\.0\.1/16, fd77::1/64 +ready, up")
        self.assert_nothing_left()

    async def test_automatic(self) -> None:
        """The same with one config for all nodes: each has the addresses that follow from its name,
        also after it was killed."""
        run = self.start(options="False, auto=True")
        code = await run.done
        self.assertEqual(code, 0, run.output)
        self.assertIn("1 config for all nodes", run.output)
        self.assertIn("every node has the addresses of its name", run.output)
        first = NodePlan(1, automatic=True)
        addresses = re.escape(f"{first.ipv4}/16, {first.ipv6}/64")
        self.assertRegex(run.output, rf"node1 +{addresses} +ready, up")
        self.assert_nothing_left()

    async def test_failure(self) -> None:
        """If nodes cannot use their config, the run fails and shows their output."""
        run = self.start("plan.LISTEN_PORT = 70000")
        self.assertEqual(await run.done, 1, run.output)
        self.assertIn("node1 has ended by itself (exit code 78)", run.output)
        self.assertIn("control_api_advertise_url: must be", run.output)
        self.assertNotIn("Traceback", run.output)
        self.assert_nothing_left()

    async def test_interrupt(self) -> None:
        """Ctrl-C in the middle ends it within seconds, and nothing is left."""
        run = self.start(linking="INT")
        self.assertEqual(await run.done, localmesh.INTERRUPTED, run.output)
        self.assertIn("interrupted", run.output)
        self.assert_nothing_left()

    async def test_kill(self) -> None:
        """Even kill -9 leaves nothing behind: the janitor cleans up."""
        run = self.start(linking="KILL")
        self.assertEqual(await run.done, -signal.SIGKILL, run.output)
        self.assert_nothing_left()

    async def test_keep(self) -> None:
        """With the option to stay, it explains how to look around, until Ctrl-C ends it
        successfully."""
        run = self.start(options="True", **{"until Ctrl-C": "INT"})
        self.assertEqual(await run.done, 0, run.output)
        self.assertRegex(run.output, r"the live page: http://127\.0\.0\.1:\d+/")
        self.assertRegex(run.output, r"nsenter .*--net=/proc/\d+/fd/\d+ ping 10\.77\.0\.2")
        self.assert_nothing_left()

    async def test_killed_meanwhile(self) -> None:
        """Its printed command lines show the state of each node; if a user kills a node, the mesh
        ends too."""
        run = self.start(options="True", **{"node2 has ended by itself (signal 9)": "INT"})
        await run.shows("until Ctrl-C")
        lines = re.findall(r"\S+/tunmesh status --socket \S+/node\d\.sock", run.output)
        self.assertEqual(len(lines), 2)
        for line in lines:
            program, *arguments = line.split()
            out, _, code = await getProcessOutputAndValue(
                program, arguments, env=os.environ, reactor=reactor
            )
            self.assertEqual(code, 0, out)
            self.assertIn(b"ready, up", out)
        (node2,) = self.processes_of("node2.yaml")
        os.kill(node2, signal.SIGKILL)
        self.assertEqual(await run.done, 0, run.output)
        self.assertIn("all 1 left with exit code 0", run.output)
        self.assert_nothing_left()

    def processes_of(self, file: str) -> list[int]:
        """The processes started with that file of the mesh."""
        pattern = re.escape(os.fsencode(self.directory)) + b"/[^/]+/" + re.escape(file.encode())
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                if re.search(pattern, path.read_bytes()):
                    found.append(int(path.parent.name))
        return found
