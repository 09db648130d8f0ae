"""A node and an application in one container: what is decided, and real processes that are ended.

The real ones have what a container gives: root with SETUID and SETGID, without KILL.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from typing import Any

from twisted.internet import reactor as trial_reactor
from twisted.trial import unittest

from tests.support import netns
from tunmesh.host.both import NODE_GRACE, Both, Hold, Send, Who

reactor: Any = trial_reactor

TERM = signal.SIGTERM
KILL = signal.SIGKILL


class DecisionTests(unittest.TestCase):
    """`Both`, told what happens."""

    def running(self) -> Both:
        both = Both(grace=7.0)
        self.assertEqual(both.ended(Who.GATE, 0, 0.0), [Hold.RELEASE])
        return both

    def assert_over(self, both: Both, code: int) -> None:
        self.assertTrue(both.is_over)
        self.assertEqual(both.code, code)

    def test_application_ends(self) -> None:
        """Then the node is asked to leave, and the application's exit code is the outcome."""
        both = self.running()
        self.assertEqual(both.ended(Who.APPLICATION, 3, 1.0), [Send(Who.NODE, TERM)])
        self.assertFalse(both.is_over)
        self.assertEqual(both.ended(Who.NODE, 0, 2.0), [])
        self.assert_over(both, 3)

    def test_node_ends(self) -> None:
        """Then the application is asked to end, and it was not well, whatever both say."""
        for code, outcome in ((0, 1), (5, 5)):
            both = self.running()
            self.assertEqual(both.ended(Who.NODE, code, 1.0), [Send(Who.APPLICATION, TERM)])
            self.assertEqual(both.ended(Who.APPLICATION, 0, 2.0), [])
            self.assert_over(both, outcome)

    def test_asked_from_outside(self) -> None:
        """First the application, then the node. How the application ended is the outcome."""
        for number in (signal.SIGTERM, signal.SIGINT):
            both = self.running()
            self.assertEqual(both.signalled(number, 1.0), [Send(Who.APPLICATION, TERM)])
            self.assertEqual(both.signalled(number, 1.5), [])
            self.assertEqual(both.ended(Who.APPLICATION, 143, 2.0), [Send(Who.NODE, TERM)])
            both.ended(Who.NODE, 0, 3.0)
            self.assert_over(both, 143)

    def test_application_hangs(self) -> None:
        """It is killed after the grace, and the node still leaves in order."""
        both = self.running()
        both.signalled(TERM, 1.0)
        self.assertEqual(both.patience(2.0), 6.0)
        self.assertEqual(both.overdue(8.0), [Send(Who.APPLICATION, KILL)])
        self.assertEqual(both.ended(Who.APPLICATION, 137, 8.0), [Send(Who.NODE, TERM)])
        self.assertEqual(both.patience(8.0), NODE_GRACE)
        both.ended(Who.NODE, 0, 9.0)
        self.assert_over(both, 137)

    def test_node_hangs(self) -> None:
        """A node that does not end is killed, too."""
        both = self.running()
        both.ended(Who.APPLICATION, 0, 1.0)
        self.assertEqual(both.overdue(6.0), [Send(Who.NODE, KILL)])
        both.ended(Who.NODE, 137, 6.0)
        self.assert_over(both, 0)

    def test_other_signals(self) -> None:
        """They go to the application, as if it were process 1; to none before it began."""
        both = Both()
        self.assertEqual(both.signalled(signal.SIGHUP, 0.0), [])
        both.ended(Who.GATE, 0, 0.0)
        for number in (signal.SIGHUP, signal.SIGUSR1):
            self.assertEqual(both.signalled(number, 1.0), [Send(Who.APPLICATION, number)])
        both.ended(Who.APPLICATION, 0, 2.0)
        self.assertEqual(both.signalled(signal.SIGHUP, 3.0), [])

    def test_asked_before_the_application_began(self) -> None:
        """It never begins; the node leaves."""
        both = Both()
        acts = both.signalled(TERM, 0.0)
        self.assertCountEqual(acts, [Send(Who.GATE, TERM), Hold.DISMISS])
        self.assertEqual(both.ended(Who.GATE, 143, 1.0), [])
        self.assertEqual(both.ended(Who.APPLICATION, 0, 1.0), [Send(Who.NODE, TERM)])
        both.ended(Who.NODE, 0, 2.0)
        self.assert_over(both, 0)

    def test_gate_opens_too_late(self) -> None:
        """What was dismissed is not released."""
        both = Both()
        both.signalled(TERM, 0.0)
        self.assertEqual(both.ended(Who.GATE, 0, 0.0), [])

    def test_gate_fails(self) -> None:
        """Whatever the application waited for will not come."""
        both = Both()
        self.assertEqual(both.ended(Who.GATE, 1, 0.0), [Hold.DISMISS])
        self.assertEqual(both.ended(Who.APPLICATION, 0, 0.0), [Send(Who.NODE, TERM)])
        both.ended(Who.NODE, 0, 1.0)
        self.assert_over(both, 1)

    def test_node_does_not_start(self) -> None:
        """Its exit code, such as 78 for a bad config, is the container's."""
        both = Both()
        self.assertCountEqual(both.ended(Who.NODE, 78, 0.0), [Send(Who.GATE, TERM), Hold.DISMISS])
        both.ended(Who.APPLICATION, 0, 0.1)
        self.assertEqual(both.ended(Who.GATE, 143, 0.1), [])
        self.assert_over(both, 78)


# The capabilities of a container with `cap_drop: ALL` and the three that are added.
PREAMBLE = """
import ctypes, sys
from tunmesh.host.both import Commands, User, supervise

libc = ctypes.CDLL(None)
header = (ctypes.c_uint32 * 2)(0x20080522, 0)
mask = 1 << 6 | 1 << 7 | 1 << 12
for bit in range(41):
    if not mask >> bit & 1:
        libc.prctl(24, bit, 0, 0, 0)  # PR_CAPBSET_DROP
assert libc.capset(header, (ctypes.c_uint32 * 6)(mask, mask, 0, 0, 0, 0)) == 0

# Gives up root as a node does, and says that it may be counted on by creating a file.
NODE = '''
import os, signal, sys
from pathlib import Path
from tunmesh.host import privileges
ready = Path(sys.argv[1])
ready.parent.chmod(0o777)
privileges.drop(65532, 65532)
ready.write_text(str(os.getpid()))
print("node ends with", signal.sigwait([signal.SIGTERM, signal.SIGUSR1]).name, flush=True)
'''
GATE = 'until [ -s "$0" ]; do :; done'

def run(application, *, node=NODE, gate=GATE, uid=1234, grace=20.0):
    ready = sys.argv[1]
    sys.exit(supervise(
        Commands([sys.executable, "-c", node, ready], ["/bin/sh", "-c", gate, ready],
                 ["/bin/sh", "-c", application, ready]),
        User(uid, uid, "/nowhere"), grace))
"""
# In sh, since the interpreter of this test may be where only root can go. $0 has the node's pid.
APPLICATION = """
trap 'echo application ends with SIGTERM; exit 0' TERM
echo application begins
"""
FOREVER = "while :; do :; done\n"


class ProcessTests(unittest.TestCase):
    """`supervise`, with real processes."""

    def setUp(self) -> None:
        if os.geteuid() != 0:
            raise unittest.SkipTest("only root can start processes of other users")

    async def run_both(self, code: str) -> tuple[list[str], str, int]:
        """The lines of both, what was said on stderr, and the exit code."""
        place = tempfile.mkdtemp(dir="/tmp")  # other users may go there, and not to trial's place
        self.addCleanup(shutil.rmtree, place)
        program = PREAMBLE + f"sys.argv[1:] = [{place!r} + '/ready']\n" + code
        out, err, exit_code = await netns.run_python(reactor, program)
        return out.decode().splitlines(), err.decode(), exit_code

    def application(self, code: str, options: str = "") -> str:
        return f"run({APPLICATION + code!r}{options})"

    async def test_application_ends(self) -> None:
        """The node leaves after it, and the exit code is the application's."""
        found = await self.run_both(self.application("exit 3"))
        self.assertEqual(found, (["application begins", "node ends with SIGTERM"], "", 3))

    async def test_stopped(self) -> None:
        """As by `docker stop`: the application ends in order, then the node."""
        found = await self.run_both(self.application("kill -TERM $PPID\n" + FOREVER))
        lines = ["application begins", "application ends with SIGTERM", "node ends with SIGTERM"]
        self.assertEqual(found, (lines, "", 0))

    async def test_application_that_hangs(self) -> None:
        """It is killed, and the node leaves in order."""
        found = await self.run_both(
            self.application("trap '' TERM; kill -TERM $PPID\n" + FOREVER, ", grace=0.1")
        )
        self.assertEqual(found, (["application begins", "node ends with SIGTERM"], "", 137))

    async def test_node_ends(self) -> None:
        """A node that crashes takes the application along, with its own exit code."""
        node = (
            "import sys; from pathlib import Path; from tunmesh.host import privileges\n"
            "place = Path(sys.argv[1]); place.parent.chmod(0o777); privileges.drop(65532, 65532)\n"
            "place.write_text('1')\n"
            "while not place.with_name('begun').exists(): pass\n"
            "sys.exit(5)"
        )
        application = APPLICATION + '> "${0%/*}/begun"\n' + FOREVER
        found = await self.run_both(f"run({application!r}, node={node!r})")
        self.assertEqual(found, (["application begins", "application ends with SIGTERM"], "", 5))

    def need_grep(self) -> None:
        if shutil.which("grep") is None:
            raise unittest.SkipTest("grep is not installed")

    async def test_other_signals(self) -> None:
        """They reach the application, in which no signal is blocked or ignored."""
        self.need_grep()
        lines, err, code = await self.run_both(
            self.application(
                "grep -E '^Sig(Blk|Ign)' /proc/self/status; kill -USR1 $PPID\n" + FOREVER
            )
        )
        held = {int(line.split()[1], 16) for line in lines if line.startswith("Sig")}
        inherited = 1 << 31 | 1 << 32  # the C library's own signals: of who runs this test
        self.assertLessEqual(held, {0, inherited})
        self.assertEqual((err, code), ("", 128 + signal.SIGUSR1))

    async def test_terminal(self) -> None:
        """What is sent to the application's process group, such as by Ctrl-C in a terminal, does
        not reach the node, which leaves after the application."""
        # Process 1 is told as well, and asks the application to end, which is on its way by then.
        ends = "trap '' TERM; echo application ends with SIGINT; exit 0"
        code = f'trap "{ends}" INT; kill -INT 0\n' + FOREVER
        program = f"import os; os.setpgid(0, 0)\n{self.application(code)}"
        found = await self.run_both(program)
        lines = ["application begins", "application ends with SIGINT", "node ends with SIGTERM"]
        self.assertEqual(found, (lines, "", 0))

    async def test_privileges(self) -> None:
        """The application and the process above it hold nothing. The application cannot signal the
        node, which that process can all the same."""
        self.need_grep()
        lines, err, code = await self.run_both(
            self.application(
                "for pid in self $PPID; do\n"
                "grep -E '^(Uid|Gid|Groups|CapPrm|CapEff|NoNewPrivs):' /proc/$pid/status\n"
                "done\n"
                "echo $HOME; kill -TERM $(cat $0) 2> /dev/null || echo the node is out of reach\n"
            )
        )

        def status(*uids: str) -> list[str]:
            ids = ["Uid:", *uids], ["Gid:", *["1234"] * 4], ["Groups:"]
            sets = ["NoNewPrivs:", "1"], ["CapPrm:", "0" * 16], ["CapEff:", "0" * 16]
            return sorted(" ".join(words) for words in (*ids, *sets))

        self.assertEqual(lines.pop(0), "application begins")
        told = [" ".join(line.split()) for line in lines]
        self.assertEqual(sorted(told[:6]), status(*["1234"] * 4))
        self.assertEqual(sorted(told[6:12]), status("1234", *["65532"] * 3))
        last = ["/nowhere", "the node is out of reach", "node ends with SIGTERM"]
        self.assertEqual((told[12:], err, code), (last, "", 0))

    async def test_gate_fails(self) -> None:
        """The application never begins."""
        found = await self.run_both(
            self.application("", """, gate='until [ -s "$0" ]; do :; done; exit 1'""")
        )
        self.assertEqual(found, (["node ends with SIGTERM"], "", 1))

    async def test_stopped_while_the_gate_waits(self) -> None:
        """As by `docker stop` before the mesh is there: nobody has to be killed. The ends of its
        children are seen also where whoever has started it ignored those of its own."""
        gate = "trap 'echo gate ends with SIGTERM; exit 0' TERM\n"
        gate += 'until [ -s "$0" ]; do :; done; kill -TERM $PPID\n' + FOREVER
        found = await self.run_both(
            "import signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
            + self.application("", f", gate={gate!r}, grace=2")
        )
        self.assertEqual(found, (["gate ends with SIGTERM", "node ends with SIGTERM"], "", 0))

    async def test_user_of_the_node(self) -> None:
        """An application that would be the node's user could read its key: it is refused."""
        lines, err, code = await self.run_both(self.application("", ", uid=65532"))
        self.assertEqual((lines, code), (["node ends with SIGTERM"], 1))
        self.assertEqual(
            err,
            "tunmesh run: --user 65532:65532 must be another user and group than the node's, "
            "65532 and 65532 (process/uid, process/gid)\n",
        )

    async def test_command_that_is_not_there(self) -> None:
        """The exit code is the one that shells use, with one line that names the command."""
        lines, err, code = await self.run_both(
            "import os; os.environ['PATH'] = '/usr/bin:/bin'\n"
            "sys.exit(supervise(Commands([sys.executable, '-c', NODE, sys.argv[1]], "
            "['sh', '-c', GATE, sys.argv[1]], ['no-such-command']), User(1234, 1234)))"
        )
        self.assertEqual((lines, code), (["node ends with SIGTERM"], 127))
        self.assertEqual(err, "tunmesh run: no-such-command: No such file or directory\n")
