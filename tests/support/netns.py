"""Real network namespaces for tests: whether they are permitted, cables between them, children.

class RealTests(unittest.TestCase):
    skip = netns.skip_reason()
"""

from __future__ import annotations

import functools
import os
import select
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorProcess
from twisted.internet.threads import deferToThread
from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial.unittest import SynchronousTestCase

import tunmesh
from tunmesh.dataplane.tun import open_tun
from tunmesh.errors import OperatorError
from tunmesh.host.namespaces import Namespace


@functools.cache
def skip_reason() -> str | None:
    """Why tests with namespaces and tun devices cannot run here; None when they can."""
    try:
        namespace = Namespace.create()
    except OSError as error:
        return f"no network namespaces for uid {os.geteuid()}: {error.strerror}; run as root"
    try:
        with namespace:
            os.close(open_tun("probe"))
    except OperatorError as error:
        return f"no tun device: {error}"
    finally:
        namespace.close()
    return None


def loopback_up() -> None:
    """Bring up `lo` in the caller's namespace."""
    with IPRoute() as ip:
        ip.link("set", index=socket.if_nametoindex("lo"), state="up")


def wire(left: Namespace, left_address: str, right: Namespace, right_address: str) -> None:
    """Join two namespaces by a veth pair, `eth0` in both, with addresses like "10.1.2.3/24"."""
    with left, IPRoute() as ip:
        ip.link(
            "add",
            kind="veth",
            ifname="eth0",
            peer={"ifname": "eth0", "net_ns_fd": right.fd},
        )
    for namespace, address in ((left, left_address), (right, right_address)):
        with namespace, IPRoute() as ip:
            index = socket.if_nametoindex("eth0")
            ip.addr("add", index=index, address=address)
            ip.link("set", index=index, state="up")


def hold_tun(case: SynchronousTestCase, namespace: Namespace, name: str) -> int:
    """Let a process of the namespace have a tun device of this name until the test ends; its
    pid."""
    code = (
        "import sys; from tunmesh.dataplane.tun import open_tun\n"
        f"open_tun({name!r}); print(flush=True); sys.stdin.read()"
    )
    with namespace:
        process = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
    case.addCleanup(process.communicate)  # the end of its input ends it
    assert process.stdout is not None
    assert process.stdout.readline() == b"\n", "no device could be made"
    return process.pid


def run_python(
    reactor: IReactorProcess, code: str, *arguments: str
) -> Deferred[tuple[bytes, bytes, int]]:
    """Run `code` in a fresh interpreter that can import tunmesh: its stdout, stderr, exit code."""
    package_parent = str(Path(tunmesh.__file__).parent.parent)
    result: Deferred[tuple[bytes, bytes, int]] = getProcessOutputAndValue(
        sys.executable,
        ["-c", code, *arguments],
        env={**os.environ, "PYTHONPATH": package_parent},
        reactor=reactor,
    )
    return result


def readable(fd: int) -> Deferred[None]:
    """Fires when a descriptor can be read; a pidfd can when its process has ended."""
    return deferToThread(_await_readable, fd)


def _await_readable(fd: int) -> None:
    if not select.select([fd], [], [], 200)[0]:
        raise TimeoutError("a process does not end")


def segments(device: str) -> set[tuple[str, int]]:
    """The unicast routes of a device in this namespace, and the TCP segments that come by them."""
    index = socket.if_nametoindex(device)
    with IPRoute() as ip:
        found = [*ip.get_routes(oif=index, table=254), *ip.get_routes(socket.AF_INET6, oif=index)]
    return {
        (f"{route.get_attr('RTA_DST')}/{route['dst_len']}", _segment(route))
        for route in found
        if route["type"] == 1 and route["table"] == 254
    }


def _segment(route: Any) -> int:
    metrics = route.get_attr("RTA_METRICS")
    return metrics.get_attr("RTAX_ADVMSS") if metrics else 0
