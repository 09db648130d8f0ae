"""Child processes give up their privileges, and the kernel's status shows the result.

Each child is set up like a process in some kind of container, drops its privileges, and prints its
/proc/self/status, which is parsed here independently of `privileges.held`.
"""

from __future__ import annotations

import os
from typing import Any

from twisted.internet import reactor as trial_reactor
from twisted.trial import unittest

from tests.support import netns
from tests.support.starts import STARTS
from tunmesh.host import privileges

reactor: Any = trial_reactor

CAP_NET_ADMIN = 12
NOTHING = "0000000000000000"

# The start of every child.
PREAMBLE = f"""
import ctypes, os, sys, threading
from tunmesh.host import namespaces, privileges
from tunmesh.errors import OperatorError

libc = ctypes.CDLL(None)

{STARTS}
def drop(uid, gid):
    try:
        privileges.drop(uid, gid)
    except OperatorError as error:
        print("REFUSED", error)
        sys.exit()

def show():
    print(open("/proc/self/status").read())
"""


class ChildCase(unittest.TestCase):
    async def child(self, code: str) -> str:
        """The output of a child that runs `code`; skips the test if the host forbids its set-up."""
        out, err, exit_code = await netns.run_python(reactor, PREAMBLE + code)
        self.assertEqual((err.decode(), exit_code), ("", 0))
        text = out.decode().strip()
        if text.startswith("SKIP "):
            raise unittest.SkipTest(text.removeprefix("SKIP "))
        return text

    async def refusal(self, code: str) -> str:
        text = await self.child(code)
        self.assertTrue(text.startswith("REFUSED "), text)
        self.assertNotIn("\n", text)
        return text

    async def status(self, code: str) -> dict[str, str]:
        lines = (await self.child(code)).splitlines()
        self.assertIn("Uid:", "\n".join(lines))
        return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}

    def assertNobody(self, status: dict[str, str], groups: str = "") -> None:
        """Uid and gid 65534 in every slot, and no capability effective or obtainable."""
        self.assertEqual(status["Uid"].split(), ["65534"] * 4)
        self.assertEqual(status["Gid"].split(), ["65534"] * 4)
        self.assertEqual(status["Groups"], groups)
        for kind in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
            self.assertEqual(status[kind], NOTHING, kind)
        self.assertEqual(status["NoNewPrivs"], "1")


class AsRootTests(ChildCase):
    """Children that start as root."""

    if os.geteuid() != 0:
        skip = "needs root"

    async def test_full_root(self) -> None:
        """Root with all capabilities and groups ends with nothing, the bounding set included."""
        status = await self.status("os.setgroups([4, 24]); drop(65534, 65534); show()")
        self.assertNobody(status)
        self.assertEqual(status["CapBnd"], NOTHING)

    async def test_container_root(self) -> None:
        """NET_ADMIN, SETUID and SETGID are enough to start with."""
        status = await self.status("capset(6, 7, 12); drop(65534, 65534); show()")
        self.assertNobody(status)

    async def test_other_gid(self) -> None:
        """The gid need not be the number of the uid."""
        status = await self.status("drop(65534, 1234); show()")
        self.assertEqual(status["Gid"].split(), ["1234"] * 4)

    async def test_right_uid_already(self) -> None:
        """A process that already has the right uid, and only NET_ADMIN, loses that."""
        code = "os.setgroups([65534]); become(65534, 12); assert privileges.has_net_admin();"
        status = await self.status(code + "drop(65534, 65534); show()")
        self.assertNobody(status, groups="65534")

    async def test_between_ordinary_uids(self) -> None:
        """A uid other than root, with the capabilities to change it, is left for good."""
        code = "become(1234, 6, 7, 12); drop(65534, 65534); show()"
        self.assertNobody(await self.status(code))

    async def test_own_user_namespace(self) -> None:
        """All capabilities in a user namespace of one's own are given up the same way."""
        code = "os.setgroups([]); become(65534); own_user_namespace(); "
        code += "assert privileges.has_net_admin(); drop(65534, 65534); show()"
        status = await self.status(code)
        self.assertNobody(status)
        self.assertEqual(status["CapBnd"], NOTHING)

    async def test_groups_in_a_user_namespace(self) -> None:
        """In a user namespace groups cannot be dropped, so having them is no reason to refuse."""
        code = "os.setgroups([4]); become(1234); own_user_namespace(); drop(1234, 1234); show()"
        status = await self.status(code)
        self.assertEqual(status["Groups"], "65534")  # an unmapped group as seen inside
        self.assertEqual(status["CapEff"], NOTHING)

    async def test_groups_without_setgid(self) -> None:
        """Outside one, groups that cannot be dropped for lack of CAP_SETGID are refused."""
        text = await self.refusal("os.setgroups([4]); become(65534, 12); drop(65534, 65534)")
        self.assertIn("CAP_SETGID", text)

    async def test_cannot_change(self) -> None:
        """Without the capability to change the uid, one line says what to add."""
        text = await self.refusal("os.setgroups([]); become(65533, 12); drop(65534, 65534)")
        self.assertIn("cannot become uid 65534, gid 65534: CAP_SETUID and CAP_SETGID", text)

    async def test_unmapped_uid(self) -> None:
        """A uid that is not mapped in the user namespace is refused, naming the map."""
        code = "os.setgroups([]); become(65534); own_user_namespace(); drop(1234, 1234)"
        self.assertIn("/proc/self/uid_map", await self.refusal(code))

    async def test_no_way_back(self) -> None:
        """Afterwards neither root nor groups nor capabilities can be regained."""
        text = await self.child(
            """
drop(65534, 65534)
for attempt in (lambda: os.setuid(0), lambda: os.setgid(0), lambda: os.setgroups([0]),
                lambda: capset(12), lambda: namespaces.unshare(namespaces.CLONE_NEWNET)):
    try:
        attempt()
    except (OSError, AssertionError):
        print("no")
"""
        )
        self.assertEqual(text.split(), ["no"] * 5)

    async def test_no_core_dump(self) -> None:
        """Secrets cannot leak in a core dump, and the process can still read its own /proc."""
        text = await self.child(
            """
import resource
become(65534, 12)
drop(65534, 65534)
print(libc.prctl(3, 0, 0, 0, 0), *resource.getrlimit(resource.RLIMIT_CORE))  # PR_GET_DUMPABLE
print(len(os.listdir("/proc/self/fd")) > 2, privileges.held().effective)
"""
        )
        self.assertEqual(text.splitlines(), ["0 0 0", "True 0"])

    async def test_keep_across_exec(self) -> None:
        """An ordinary user's capabilities in its own namespace survive an execve on request."""
        begin = "become(65534); own_user_namespace(); "
        end = "os.execv('/bin/cat', ['cat', '/proc/self/status'])"
        kept = await self.status(begin + "privileges.keep_across_exec(); " + end)
        self.assertTrue(int(kept["CapEff"], 16) >> CAP_NET_ADMIN & 1)
        self.assertEqual(kept["CapAmb"], kept["CapPrm"])
        lost = await self.status(begin + end)
        self.assertEqual(lost["CapEff"], NOTHING)


class UnprivilegedTests(ChildCase):
    """Tests that need no root."""

    async def test_root_is_refused(self) -> None:
        """root cannot be chosen as the user to run as."""
        self.assertIn("running as root is not supported", await self.refusal("drop(0, 0)"))

    async def test_threads(self) -> None:
        """With a second thread, which would keep its capabilities, it is refused."""
        code = "go = threading.Event(); threading.Thread(target=go.wait, daemon=True).start(); "
        self.assertIn("2 threads", await self.refusal(code + "drop(65534, 65534)"))

    def test_held(self) -> None:
        """The report agrees with what Python knows."""
        now = privileges.held()
        self.assertEqual(now.uids[:3], os.getresuid())
        self.assertEqual(now.gids[:3], os.getresgid())
        self.assertEqual(sorted(now.groups), sorted(os.getgroups()))
        self.assertEqual(privileges.has_net_admin(), bool(now.effective >> CAP_NET_ADMIN & 1))
