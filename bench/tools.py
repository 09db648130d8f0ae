"""The C programs of the benchmark, compiled on demand, the tools that must be installed, and the
machine."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.errors import BenchError

SOURCES = Path(__file__).parent
# program: its Debian package
TOOLS = {
    "iperf3": "iperf3",
    "ping": "iputils-ping",
    "ip": "iproute2",
    "tc": "iproute2",
    "nft": "nftables",
    "setpriv": "util-linux",
}
COMPILER = {"cc": "gcc"}


def missing(programs: Mapping[str, str]) -> list[str]:
    """The packages of those programs that are missing, for `apt install`."""
    return sorted({package for program, package in programs.items() if not shutil.which(program)})


def insist_on(programs: Mapping[str, str]) -> None:
    """Raises BenchError, with what to install, unless all of them are there."""
    if packages := missing(programs):
        raise BenchError(f"not installed: apt install {' '.join(packages)}")


def version(command: Sequence[str]) -> str:
    """The version that a program prints: the first number with a dot in it, otherwise its first
    line; empty if it prints nothing."""
    try:
        printed = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    except OSError:
        return ""
    number = re.search(r"\d+(\.\w+)+", printed)
    return number[0] if number else printed.partition("\n")[0]


def dated(number: str, released: Mapping[str, int]) -> str:
    """A version with the year of its release, from the version itself if it contains a date
    (0.0.20220316), otherwise from `released`: "2.6.14 (2025)"."""
    date = re.search(r"\b(20\d\d)(0[1-9]|1[0-2])([0-2]\d|3[01])\b", number)
    year = date[1] if date else released.get(number, "of unknown date")
    return f"{number or 'version unknown'} ({year})"


def machine_facts() -> dict[str, str]:
    """The facts about the machine on which the figures depend."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), "?")
    return {
        "date": time.strftime("%Y-%m-%d"),
        "processor": f"{os.cpu_count()} × {model}",
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def compile_program(name: str, directory: Path, *libraries: str) -> str:
    """Compile bench/NAME.c into `directory`; returns the program's path. Raises BenchError if it
    fails."""
    target = directory / name
    if target.exists():
        return str(target)
    command = ["cc", "-O2", "-o", str(target), str(SOURCES / f"{name}.c"), *libraries]
    try:
        outcome = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise BenchError("no C compiler (Debian: apt install gcc libc6-dev)") from None
    if outcome.returncode:
        errors = [line for line in outcome.stderr.split("\n") if "error" in line]
        raise BenchError(f"{name}.c does not compile: {errors[0] if errors else outcome.stderr}")
    return str(target)
