"""Attacks from the node's own machine: by a program in the same namespace, by a user who can write
to the directory of its control socket, and by code that runs in its process."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress

from bench.attack.load import fetch
from bench.attack.stage import PATIENCE, POLL, Figures, Stage
from bench.errors import BenchError
from bench.lab import Lab
from bench.tools import insist_on
from tunmesh.localmesh.plan import PAGE_PORT, NodePlan

STREAMS = 1100
STREAM = b"GET /v1/events?follow=1 HTTP/1.1\r\nHost: localhost\r\n\r\n"
STARTS = 5
INTRUDER = "65533"  # a uid that is not the node's

# Replaces the control socket by a link to another file as soon as the socket exists.
EXCHANGE = """
import ctypes, os, sys
path, target = sys.argv[1:]
os.symlink(target, path + ".link")
rename, ends = ctypes.CDLL(None).renameat2, (os.fsencode(path + ".link"), os.fsencode(path))
AT_FDCWD, RENAME_EXCHANGE = -100, 2
print("ready", flush=True)
while rename(AT_FDCWD, ends[0], AT_FDCWD, ends[1], RENAME_EXCHANGE):
    pass
"""

# The node pauses before it changes a mode by name, as it may on a busy machine.
SLOW_CHMOD = ("strace", "-D", "-f", "-qq", "-o", "/dev/null", "-e", "trace=?chmod,fchmodat")
DELAY = ("-e", "inject=?chmod,fchmodat:delay_enter=100000")

# This runs in the node's process on a signal: it prints each call that the kernel permits.
INSIDE = """
import ctypes, fcntl, os, signal, socket
libc = ctypes.CDLL(None, use_errno=True)
report = os.open(os.environ["INSIDE_REPORT"], os.O_WRONLY | os.O_APPEND)

def tun():
    for name in os.listdir("/proc/self/fd"):
        try:
            if os.readlink("/proc/self/fd/" + name) == "/dev/net/tun":
                return int(name)
        except OSError:
            pass

def ldt():
    if libc.syscall(154, 0, ctypes.create_string_buffer(16), 16) < 0:
        raise OSError

CALLS = {
    "TUNSETOWNER": lambda: fcntl.ioctl(tun(), 0x400454CC, 0),
    "TUNSETGROUP": lambda: fcntl.ioctl(tun(), 0x400454CE, 0),
    "TUNSETCARRIER": lambda: fcntl.ioctl(tun(), 0x400454E2, bytes((1, 0, 0, 0))),
    "TUNSETPERSIST": lambda: fcntl.ioctl(tun(), 0x400454CB, 1),
    "modify_ldt": ldt,
    "vsock": lambda: socket.socket(40, socket.SOCK_STREAM).close(),
    "nfnetlink": lambda: socket.socket(16, socket.SOCK_RAW, 12).close(),
}

def strike(*_):
    for name, call in CALLS.items():
        try:
            call()
        except OSError:
            continue
        os.write(report, name.encode() + b" ")
    os.write(report, b"done")

signal.signal(signal.SIGUSR2, strike)
"""


def page_streams(lab: Lab) -> Figures:
    """A local application subscribes to the events of the live page, over and over."""
    stage = Stage(lab, 2)
    stage.start_all()
    descriptors = f"/proc/{stage.pid(1)}/fd"
    before = len(os.listdir(descriptors))  # noqa: PTH208
    open_streams = 0
    with ExitStack() as stack:
        for _ in range(STREAMS):
            with stage.host(1).namespace:
                one = stack.enter_context(socket.socket())
            one.settimeout(2)
            with suppress(OSError):
                one.connect(("127.0.0.1", PAGE_PORT))
                one.sendall(STREAM)
                open_streams += b"200 OK" in one.recv(4096)
        time.sleep(1)
        yield "streams open, of 1,100", open_streams
        yield "file descriptors taken", len(os.listdir(descriptors)) - before  # noqa: PTH208
        page = fetch(stage.attacker, NodePlan(1).underlay, "/livez")
        yield "/livez answered to another host", 1.0 if page else 0.0


def own_process(lab: Lab) -> Figures:
    """An attacker runs code in the node's process; later the node is killed and restarted."""
    stage = Stage(lab, 1)
    report, code = stage.directory / "report", stage.directory / "sitecustomize.py"
    report.touch()
    code.write_text(INSIDE)
    stage.start(1, "env", f"PYTHONPATH={stage.directory}", f"INSIDE_REPORT={report}")
    stage.until_logged(1, "listening")
    time.sleep(1)
    stage.signal(1, signal.SIGUSR2)
    end = time.monotonic() + PATIENCE
    while "done" not in (said := report.read_text().split()):
        if time.monotonic() > end:
            raise BenchError("nothing ran in the node's process")
        time.sleep(POLL)
    yield f"calls let through, of 7{_names(said)}", len(said) - 1
    stage.kill(1)
    stage.start(1)
    try:
        began = stage.until_logged(1, "listening")
    except BenchError:
        began = float("inf")
    yield "next start, s", began


def _names(said: list[str]) -> str:
    names = [word for word in said if word != "done"]
    return f" ({', '.join(names)})" if names else ""


def control_socket(lab: Lab) -> Figures:
    """Another user can write to the directory of the control socket, and replaces the socket by a
    link to a file owned by root: does that file's mode change?"""
    insist_on({"strace": "strace"})
    stage = Stage(lab, 1)
    target, directory = stage.directory / "of-root", stage.directory / "shared"
    target.touch()
    directory.mkdir()
    directory.chmod(0o777)
    path = directory / "s"
    stage.configure(1, {"admin__socket": str(path)})
    changed = 0
    for _ in range(STARTS):
        target.chmod(0o644)
        command = ("setpriv", "--pdeathsig", "KILL", f"--reuid={INTRUDER}", "--clear-groups")
        intruder = subprocess.Popen(
            [*command, sys.executable, "-c", EXCHANGE, str(path), str(target)],
            stdout=subprocess.PIPE,
        )
        assert intruder.stdout  # noqa: S101
        intruder.stdout.readline()
        stage.start(1, *SLOW_CHMOD, *DELAY)
        stage.until_logged(1, "page")
        changed += stat.S_IMODE(target.stat().st_mode) != 0o644
        stage.kill(1)
        intruder.kill()
        intruder.wait()
        intruder.stdout.close()
        for each in directory.iterdir():
            each.unlink()
    yield "starts that changed the mode of root's file, of 5", changed


LOCAL: tuple[Callable[[Lab], Figures], ...] = (page_streams, own_process, control_socket)
