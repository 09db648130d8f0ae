"""Fuzzes one target for some seconds, in a process of its own, and reports the outcome."""

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
LONGEST = 4096  # bytes of an input; smaller inputs find the same bugs sooner
PATIENCE = 10  # seconds per input; an input that takes longer shows unbounded running time
MEMORY = 1024  # MiB
# By libFuzzer's exit code.
VERDICTS = {0: "clean", 70: "too slow", 71: "too much memory", 77: "failed"}
_STATISTIC = re.compile(r"^stat::(\w+):\s+(\d+)$", re.MULTILINE)
_ARTIFACT = re.compile(r"Test unit written to (\S+)")


@dataclass(frozen=True)
class Outcome:
    """The outcome of one target."""

    target: str
    verdict: str
    executions: int
    rate: int  # executions per second
    found: int  # inputs with new coverage
    culprit: Path | None = None  # the input that failed
    log: Path | None = None

    @property
    def is_clean(self) -> bool:
        return self.verdict == VERDICTS[0]


def fuzz(target: str, seconds: int) -> Outcome:
    """Fuzz it, starting with the corpus and with earlier findings."""
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
    """Parse libFuzzer's output into figures."""
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
