"""The commands in docs/local_test.md, run verbatim on a machine of their own."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial import unittest

from tests.support import netns
from tests.support.places import short_directory
from tests.support.realnode import reactor

ROOT = Path(__file__).parent.parent.parent
BIN = Path(sys.executable).parent
PROGRAMS = ("bash", "ip", "ping", "curl", "openssl", "mount", "sleep", "grep", "rm", "cat")
# Runs a script as process 1 of a machine with its own processes, interfaces and /run.
MACHINE = """
import os, sys
from tunmesh.host.namespaces import CLONE_NEWNET, CLONE_NEWNS, unshare
CLONE_NEWPID = 0x20000000
unshare(CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWPID)
child = os.fork()
if child == 0:
    os.execvp("bash", ["bash", "-c", sys.argv[1]])
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
PREPARE = """
set -eo pipefail
mount --make-rprivate /
mount -t proc proc /proc
mount -t tmpfs tmpfs /run
"""


def absent() -> str | None:
    names = [name for name in PROGRAMS if shutil.which(name) is None]
    return f"not installed: {', '.join(names)}" if names else None


class LocalTestTests(unittest.TestCase):
    """The commands that a newcomer types when following the page."""

    skip = netns.skip_reason() or absent()

    async def test_in_plain_namespaces(self) -> None:
        """Every command of the part without containers succeeds, and prints what the page shows."""
        page = (ROOT / "docs" / "local_test.md").read_text(encoding="utf-8")
        page = page[: page.index("## In containers")]
        commands = "\n".join(re.findall(r"(?ms)^```sh\n(.*?)^```", page))
        directory = short_directory(self)
        directory.chmod(0o755)  # other users must be able to enter it, as with /tmp
        script = PREPARE + commands.replace("/tmp/mesh", str(directory / "mesh"))
        script = script.replace(".venv/bin/", f"{BIN}/")
        out, err, code = await getProcessOutputAndValue(
            sys.executable,
            ["-c", MACHINE, script],
            env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "80"},
            path=str(ROOT),
            reactor=reactor,
        )
        text = (out + err).decode()
        self.assertEqual(code, 0, text)
        for piece in (
            "config.yaml: ok",
            "node2  10.77.0.2/16, fd77::2/64  ready",
            "/readyz answers 200",
            "tunmesh_links",
            "as it must",
            "CapEff:\t0000000000000000",
        ):
            self.assertIn(piece, text)
        for piece in ("no_control_socket", "no control socket", "not reloaded", "next start only"):
            self.assertNotIn(piece, text)
