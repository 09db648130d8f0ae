"""Fuzzing one target for some seconds, in a process of its own, and what came of it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from fuzz.corpus import CORPUS, FOUND

CRASHES = FOUND.with_name("crashes")
LONGEST = 4096  # bytes of an input: what larger ones find, smaller ones find sooner
PATIENCE = 10  # seconds for one input: more means that the time it takes has no bound
MEMORY = 1024  # MiB
# By libFuzzer's exit code.
VERDICTS = {0: "clean", 70: "too slow", 71: "too much memory", 77: "failed"}
_STATISTIC = re.compile(r"^stat::(\w+):\s+(\d+)$", re.MULTILINE)
_ARTIFACT = re.compile(r"Test unit written to (\S+)")


@dataclass(frozen=True)
class Outcome:
    """What came of one target."""

    target: str
    verdict: str
    executions: int
    rate: int  # executions in a second
    found: int  # inputs that reached what none had reached before
    culprit: Path | None = None  # the input that failed
    log: Path | None = None

    @property
    def is_clean(self) -> bool:
        return self.verdict == VERDICTS[0]


def fuzz(target: str, seconds: int) -> Outcome:
    """Fuzz it, beginning with what the corpus has and with what was found before."""
    found = FOUND / target
    for directory in (found, CRASHES):
        directory.mkdir(parents=True, exist_ok=True)
    before = len(list(found.iterdir()))
    log = CRASHES / f"{target}.log"
    options = [
        f"-max_total_time={seconds}",
        f"-max_len={LONGEST}",
        f"-timeout={PATIENCE}",
        f"-rss_limit_mb={MEMORY}",
        f"-artifact_prefix={CRASHES}/{target}-",
        "-print_final_stats=1",
    ]
    with log.open("w") as output, tempfile.TemporaryDirectory() as scratch:
        ended = subprocess.run(
            [sys.executable, "-m", "fuzz.child", target, *options, found, CORPUS / target],
            env={**os.environ, "TMPDIR": scratch},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    text = log.read_text(errors="replace")
    return read_outcome(target, ended.returncode, text, len(list(found.iterdir())) - before, log)


def read_outcome(target: str, code: int, text: str, found: int, log: Path) -> Outcome:
    """What libFuzzer said, as figures."""
    figures = {name: int(value) for name, value in _STATISTIC.findall(text)}
    executions = figures.get("number_of_executed_units", 0)
    artifact = _ARTIFACT.search(text)
    verdict = VERDICTS.get(code, f"broken, exit {code}")
    return Outcome(
        target=target,
        verdict=verdict if executions or code else "did not run",
        executions=executions,
        rate=figures.get("average_exec_per_sec", 0),
        found=found,
        culprit=Path(artifact[1]) if artifact else None,
        log=log,
    )
