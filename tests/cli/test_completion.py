"""Tab completion in shells."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from shutil import which

from click.testing import CliRunner
from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial import unittest

from tests.support.realnode import reactor
from tunmesh.cli.main import main

BIN = str(Path(sys.executable).parent)
BASH = which("bash")
# What bash does when a user has typed these words and presses Tab.
TAB = """
eval "$(tunmesh completion bash)"
COMP_WORDS=(tunmesh "$@"); COMP_CWORD=$#
_tunmesh_completion tunmesh
printf '%s ' "${COMPREPLY[@]}"
"""
# click's completions of the words, and the modules that this imports.
LIGHT = """
import sys
from tunmesh.cli.main import main
try:
    main(prog_name="tunmesh")
except SystemExit:
    heavy = {"pydantic", "twisted", "yaml", "cryptography", "pyroute2"}
    sys.exit(", ".join(heavy & set(sys.modules)) or 0)
"""


class Completion(unittest.TestCase):
    """`tunmesh completion`."""

    async def run_in(self, command: str, *arguments: str, **environ: str) -> str:
        out, err, code = await getProcessOutputAndValue(
            command,
            arguments,
            env={**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", **environ},
            reactor=reactor,
        )
        self.assertEqual((err, code), (b"", 0))
        text: str = out.decode()
        return text

    async def test_bash(self) -> None:
        """A real bash completes commands, subcommands, options and their values."""
        if BASH is None:
            raise unittest.SkipTest("bash is not installed")
        for words, completions in (
            (["s"], ["secret", "simulate", "status"]),
            (["config", "sch"], ["schema"]),
            (["status", "--w"], ["--watch"]),
            (["status", "-o", "w"], ["wide"]),
        ):
            said = await self.run_in(BASH, "-c", TAB, "bash", *words)
            self.assertEqual(sorted(said.split()), completions)

    async def test_light(self) -> None:
        """Pressing Tab imports nothing heavy, and asks no node."""
        for words in ("tunmesh ", "tunmesh status --", "tunmesh ping -"):
            said = await self.run_in(
                sys.executable,
                "-c",
                LIGHT,
                _TUNMESH_COMPLETE="bash_complete",
                COMP_WORDS=words,
                COMP_CWORD=str(words.count(" ")),
                TUNMESH_SOCKET="/nonexistent",
            )
            self.assertIn("plain,", said)

    async def test_light_help(self) -> None:
        """Nor does the list of all commands, which takes a line from each of them."""
        said = await self.run_in(sys.executable, "-c", LIGHT, "--help")
        self.assertIn("config ", said)

    def test_shells(self) -> None:
        """There is a script for each common shell, and an error line for others."""
        for shell, said in (
            ("bash", "complete -o nosort -F _tunmesh_completion tunmesh"),
            ("zsh", "#compdef tunmesh"),
            ("fish", "complete --no-files --command tunmesh"),
        ):
            result = CliRunner().invoke(main, ["completion", shell])
            self.assertEqual(result.exit_code, 0)
            self.assertIn(said, result.output)
        self.assertEqual(CliRunner().invoke(main, ["completion", "csh"]).exit_code, 2)
