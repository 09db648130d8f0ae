"""One real node, started as users start it: while it runs, and how it ends."""

from __future__ import annotations

import contextlib  # trial takes a module's own `suppress` for a list of warnings
import json
import os
import re
import select
import signal
import socket
import sys
from pathlib import Path

from pyroute2 import IPRoute
from twisted.internet.threads import deferToThread
from twisted.trial import unittest

from tests.support import netns
from tests.support.control import command
from tests.support.realnode import OWNER, TUN, Ground, RealNode, interfaces, reactor

DOCKERFILE = Path(__file__).parent.parent.parent / "Dockerfile"
# Runs the command that follows as process 1 of a pid namespace, see pid_namespaces(7).
AS_PROCESS_1 = """
import ctypes, os, sys
CLONE_NEWPID = 0x20000000
if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWPID):
    sys.exit(f"unshare: {os.strerror(ctypes.get_errno())}")
child = os.fork()
if child == 0:
    os.execv(sys.argv[1], sys.argv[1:])
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


class NodeCase(unittest.TestCase):
    """A machine with a network interface, and the config of one node."""

    skip = netns.skip_reason()

    def setUp(self) -> None:
        self.ground = Ground(self)
        self.namespace = self.ground.namespace()


class RunningTests(NodeCase):
    """A node without peers."""

    async def test_privileges_are_gone(self) -> None:
        """According to the kernel, no thread of a running node has any privilege or can regain
        one."""
        # A name to look up makes the node start threads.
        self.ground.change(
            clustering__bootstrap_groups={"g": {"bootstrap_node_urls": ["https://a.invalid:1"]}}
        )
        node = self.ground.start()
        self.assertEqual((await node.logged("privileges"))["capabilities"], 0)
        await node.logged("unreachable", host="a.invalid")
        threads = list(Path(f"/proc/{node.pid}/task").iterdir())
        self.assertGreater(len(threads), 1)
        for thread in threads:
            self.assertEqual(privileges_of(thread / "status"), NO_PRIVILEGES)

    async def test_nothing_is_executed(self) -> None:
        """After the start a node cannot execute a program, start a process or make a namespace,
        even if it tries; it can still resolve names."""
        with self.namespace:
            running = netns.run_python(reactor, INTRUDER, "--config", str(self.ground.config()))
        out, err, code = await running
        self.assertEqual((err, code), (b"", 0))
        self.assertEqual(
            out.decode().splitlines()[-4:],
            ["execv: EPERM", "fork: EPERM", "unshare: EPERM", "127.0.0.1"],
        )

    async def test_closed_to_its_own_uid(self) -> None:
        """An application beside it, with the same uid, cannot look into it, and no core dump has
        its secrets."""
        node = self.ground.start()
        await node.logged("ready")
        limits = Path(f"/proc/{node.pid}/limits").read_text()
        self.assertRegex(limits, r"(?m)^Max core file size +0 +0 ")
        out, err, code = await netns.run_python(reactor, NEIGHBOUR, str(node.pid))
        self.assertEqual((err, code), (b"", 0))
        self.assertEqual(set(out.decode().splitlines()), {"EACCES", "EPERM"})
        self.assertEqual(len(out.splitlines()), 5)

    async def test_pages(self) -> None:
        """The port answers HTTPS clients, old and new ones, with its four pages and no other."""
        node = self.ground.start()
        await node.logged("ready")
        for path in ("/livez", "/readyz", "/health"):
            status, body = await self.ground.get(path)
            self.assertEqual(status, 200)
            self.assertIn('"status": "ok"', body)
        self.assertEqual((await self.ground.get("/livez", tls="TLSv1_2"))[0], 200)
        for path in ("/", "/nodes"):
            self.assertEqual((await self.ground.get(path))[0], 404, path)
        metrics = await self.ground.metrics()
        self.assertEqual(metrics['tunmesh_links{state="up"}'], 0)
        self.assertEqual(metrics["tunmesh_nodes_known"], 0)

    async def test_old_tls_is_no_link(self) -> None:
        """A client that wants a mesh link over TLS 1.2 is disconnected and counted."""
        node = self.ground.start()
        await node.logged("ready")
        answer = await self.ground.get("/livez", tls="TLSv1_2", alpn="tunmesh/1")
        self.assertEqual(answer, (0, ""))
        failure = await node.logged("handshake_failed")
        self.assertEqual((failure["reason"], failure["level"]), ("tls", "warn"))
        metrics = await self.ground.metrics()
        self.assertEqual(metrics['tunmesh_handshake_failures_total{reason="tls"}'], 1)

    async def test_config_from_the_environment(self) -> None:
        """Without --config, TUNMESH_CONFIG_PATH names the file; without metrics in it there are
        none; and even at debug level the secret is not logged."""
        self.ground.change(monitoring={}, logging={"level": "debug", "format": "json"})
        path = {"TUNMESH_CONFIG_PATH": str(self.ground.config())}
        node = self.ground.run(1, environ={**os.environ, **path})
        await node.logged("ready")
        self.assertEqual((await self.ground.get("/metrics"))[0], 404)
        node.signal("TERM")
        self.assertEqual(await node.ended, 0)
        self.assertNotIn(self.ground.secret, node.text)

    async def test_automatic_name(self) -> None:
        """With `node_name: auto` a node looks for a name in the DNS before it starts, and takes the
        host name where there is none; the log says so."""
        self.ground.change(clustering__node_name="auto")
        node = self.ground.start()
        named = await node.logged("named", node=socket.gethostname())
        self.assertTrue(named["why"].startswith("the host name, because "), named)
        await node.logged("listening")

    async def test_monotonic_timers(self) -> None:
        """The node's timers do not depend on the wall clock, which may be set."""
        self.assertEqual(
            await netns.run_python(reactor, TIMER, "--config", str(self.ground.config())),
            (b"fired\n", b"", 0),
        )


class EndTests(NodeCase):
    """However a node ends, its exit code says why, and its interface is gone."""

    async def ends(self, node: RealNode, code: int) -> None:
        self.assertEqual(await node.ended, code, node.text)
        self.assertEqual(interfaces(self.namespace), {"lo", "eth0"})
        self.assertEqual(node.complaint, "")
        self.assertNotIn("Traceback", node.text)

    async def test_term(self) -> None:
        """TERM ends a node with code 0."""
        node = self.ground.start()
        await node.logged("ready")
        self.assertIn(TUN, interfaces(self.namespace))
        node.signal("TERM")
        await self.ends(node, 0)

    async def test_interrupt(self) -> None:
        """Ctrl-C ends a node with code 0, also one that is still starting."""
        node = self.ground.start()
        await node.logged("tun_up")
        node.signal("INT")
        await self.ends(node, 0)

    async def test_term_while_python_starts(self) -> None:
        """As process 1, as in the image, a node also obeys a TERM that comes before Python has
        looked for the plugin."""
        (line,) = re.findall(r"(?m)^CMD (.*)", DOCKERFILE.read_text())
        command = json.loads(line)
        wrapper = command[: command.index("/opt/tunmesh/bin/twistd")]
        node = self.ground.run(
            1,
            "--config",
            str(self.ground.config()),
            before='print(\'{"event": "born"}\', flush=True)',
            through=(sys.executable, "-c", AS_PROCESS_1, *wrapper),
        )
        await node.logged("born")
        children = Path(f"/proc/{node.pid}/task/{node.pid}/children").read_text()
        process = os.pidfd_open(int(children))
        self.addCleanup(kill, process)
        signal.pidfd_send_signal(process, signal.SIGTERM)
        await self.ends(node, 0)
        self.assertEqual(len(node.all_logged("leaving")), 1)

    async def test_pidfile(self) -> None:
        """Without the option --pidfile a node makes none: it could not remove it at its end, and
        the next start would take it for that of a running node."""
        node = self.ground.run(1, "--config", str(self.ground.config()), options=["--nodaemon"])
        await node.logged("ready")
        self.assertFalse(Path("twistd.pid").exists())
        node.signal("TERM")
        await self.ends(node, 0)

    async def test_logfile_in_background(self) -> None:
        """In the background, with a log file, a node runs, logs there, and ends at TERM."""
        log, pidfile = self.ground.directory / "log", self.ground.directory / "pid"
        node = self.ground.run(
            1,
            "--config",
            str(self.ground.config()),
            options=[f"--logfile={log}", f"--pidfile={pidfile}"],
        )
        self.assertEqual(await node.ended, 0)
        process = os.pidfd_open(int(pidfile.read_text()))
        self.addCleanup(kill, process)
        socket_path = self.ground.directory / self.ground.plans[0].socket
        self.assertEqual((await command(socket_path, "wait", "--for", "ready")).exit_code, 0)
        signal.pidfd_send_signal(process, signal.SIGTERM)
        await deferToThread(select.select, [process], [], [])
        self.assertIn("gone", log.read_text())

    async def test_second_term(self) -> None:
        """A second TERM, while the node waits for a peer that hangs, changes nothing."""
        self.ground = Ground(self, 2)
        self.namespace = self.ground.namespace()
        node, peer = await self.ground.linked(2)
        peer.signal("STOP")
        node.signal("TERM")
        await node.logged("leaving")
        node.signal("TERM")
        await self.ends(node, 0)
        self.assertEqual((len(node.all_logged("leaving")), len(node.all_logged("gone"))), (1, 1))

    async def test_hup(self) -> None:
        """HUP, also during the start, does not end the node: the files are read again, and a line
        says with what result."""
        node = self.ground.start()
        await node.logged("tun_up")
        node.signal("HUP")
        self.assertEqual((await node.logged("reloaded"))["changed"], "")
        await node.logged("ready")
        node.signal("HUP")
        await node.logged("reloaded")
        node.signal("TERM")
        await self.ends(node, 0)

    async def test_tun_deleted(self) -> None:
        """When its interface is deleted, a node logs that and exits with code 1, so that a
        supervisor restarts it."""
        node = self.ground.start()
        await node.logged("ready")
        with self.namespace, IPRoute() as ip:
            ip.link("del", index=socket.if_nametoindex(TUN))
        await self.ends(node, 1)
        (lost,) = node.all_logged("tun_lost")
        self.assertEqual(lost["text"], "tun1 is gone: somebody deleted the interface")


def kill(process: int) -> None:
    """Kill the process of a pidfd, if it is still there."""
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(process, signal.SIGKILL)
    os.close(process)


def privileges_of(status: Path) -> dict[str, list[str]]:
    """The privileges in a status file of /proc."""
    lines = (line.partition(":") for line in status.read_text().splitlines())
    return {name: value.split() for name, _, value in lines if name in NO_PRIVILEGES}


NO_PRIVILEGES = {
    "Uid": [str(OWNER.uid)] * 4,
    "Gid": [str(OWNER.gid)] * 4,
    "Groups": [],
    **{name: ["0" * 16] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")},
    "NoNewPrivs": ["1"],
    "Seccomp": ["2"],  # a filter
}

INTRUDER = """
import errno, os, sys, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # of fork beside threads, from Python 3.12 on
from twisted.internet import reactor
from tunmesh.host.namespaces import CLONE_NEWUSER, unshare
from tunmesh.service.options import Options, makeService

def intrude():
    for name, attempt in (
        ("execv", lambda: os.execv("/bin/true", ["true"])),
        ("fork", os.fork),
        ("unshare", lambda: unshare(CLONE_NEWUSER)),
    ):
        try:
            attempt()
        except OSError as error:
            print(f"{name}: {errno.errorcode[error.errno]}", flush=True)
    reactor.resolve("localhost").addBoth(print).addBoth(lambda _: reactor.stop())

options = Options()
options.parseOptions(sys.argv[1:])
service = makeService(options)
service.privilegedStartService()
service.startService()
reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
reactor.callWhenRunning(intrude)
reactor.run()
"""

NEIGHBOUR = f"""
import ctypes, errno, os, sys
pid = int(sys.argv[1])
os.setgroups([])
os.setresgid(*[{OWNER.gid}] * 3)
os.setresuid(*[{OWNER.uid}] * 3)
libc = ctypes.CDLL(None, use_errno=True)

def attach():
    PTRACE_SEIZE = 0x4206
    if libc.ptrace(PTRACE_SEIZE, pid, None, None) != 0:
        raise OSError(ctypes.get_errno(), "")

for attempt in (
    lambda: open(f"/proc/{{pid}}/mem", "rb"),
    lambda: open(f"/proc/{{pid}}/environ").read(),
    lambda: os.listdir(f"/proc/{{pid}}/fd"),
    lambda: os.readlink(f"/proc/{{pid}}/exe"),
    attach,
):
    try:
        attempt()
        print("done")
    except OSError as error:
        print(errno.errorcode[error.errno])
"""

TIMER = """
import sys, time
from twisted.internet import reactor
from tunmesh.service.options import Options, makeService

options = Options()
options.parseOptions(sys.argv[1:])
makeService(options)
began = time.monotonic()
timer = reactor.callLater(0.05, lambda: (print("fired"), reactor.stop()))
assert 0 <= timer.getTime() - began - 0.05 < 5
reactor.run()
assert time.monotonic() - began >= 0.05
"""
