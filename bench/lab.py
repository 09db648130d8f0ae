"""Where the contenders run: each in a pair of network namespaces connected by a cable.

    left 10.99.0.1 eth0 ======== eth0 10.99.0.2 right

Scenarios with more than two hosts get a bridge (`tunmesh.localmesh.underlay`) instead of the cable.
All grounds use the same addresses and are isolated from each other. Daemons are killed by a janitor
process and short-lived tools by their parent's death (PR_SET_PDEATHSIG), so that nothing outlives
the benchmark, however it ends; the namespaces have no names and go with the last process in them.
"""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from bench.errors import BenchError
from bench.way import Way, lay
from tunmesh.errors import OperatorError
from tunmesh.host.namespaces import Namespace
from tunmesh.localmesh.janitor import Janitor
from tunmesh.localmesh.underlay import Underlay

TOOL_PATIENCE = 30.0
END_PATIENCE = 5.0
_TICKS = os.sysconf("SC_CLK_TCK")


class Host:
    """One namespace, reached by its neighbour at `address`, with a directory for its files."""

    def __init__(self, namespace: Namespace, address: str, directory: Path, lab: Lab) -> None:
        self.namespace = namespace
        self.address = address
        self.directory = directory
        self.daemon: subprocess.Popen[bytes] | None = None
        """The process under test, if there is one."""
        self._lab = lab

    def start_daemon(self, *command: str) -> None:
        """Start the process under test; its output goes to a file."""
        with self.namespace, self.log.open("wb") as log:
            self.daemon = subprocess.Popen(
                command,
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._lab.janitor.watch(self.daemon.pid)

    def start_tool(self, *command: str) -> subprocess.Popen[str]:
        """Start a tool that exits by itself, and at the latest with this process."""
        return start_tool(self.namespace, *command)

    def run(self, *command: str, accept: Sequence[int] = (0,)) -> str:
        """Run a tool to its end; its output. Raises BenchError unless its exit code is accepted."""
        return finish(self.start_tool(*command), accept)

    @property
    def log(self) -> Path:
        return self.directory / "log"

    def check_daemon(self) -> None:
        """Raises BenchError, with the last line of its output, if the process under test has
        ended."""
        if self.daemon and self.daemon.poll() is not None:
            lines = self.log.read_text(errors="replace").split("\n")
            last = next((line for line in reversed(lines) if line.strip()), "it said nothing")
            raise BenchError(f"its process ended with {self.daemon.returncode}: {last.strip()}")

    def cpu_seconds(self) -> float:
        """CPU time of the process under test so far, of all its threads, in steps of 10 ms."""
        if not self.daemon:
            return 0.0
        fields = Path(f"/proc/{self.daemon.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS  # utime and stime, see proc(5)

    def memory(self) -> int:
        """Resident memory of the process under test in bytes."""
        if not self.daemon:
            return 0
        status = Path(f"/proc/{self.daemon.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) * 1024

    def close(self) -> None:
        if self.daemon:
            self.daemon.terminate()
            try:
                self.daemon.wait(END_PATIENCE)
            except subprocess.TimeoutExpired:
                self.daemon.kill()
                self.daemon.wait()
        self.namespace.close()


class Ground:
    """Hosts that reach each other. With a bridge, `hub` is the bridge's namespace; host K, counted
    from 1, is at its port named portK."""

    def __init__(self, hosts: Sequence[Host], directory: Path, hub: Namespace | None) -> None:
        self.hosts = hosts
        self.directory = directory
        self.hub = hub

    @property
    def left(self) -> Host:
        return self.hosts[0]

    @property
    def right(self) -> Host:
        return self.hosts[1]

    def in_hub(self, *command: str) -> None:
        """Run a tool in the bridge's namespace. Raises BenchError if it fails."""
        assert self.hub  # noqa: S101
        finish(start_tool(self.hub, *command))

    def check_daemons(self) -> None:
        """Raises BenchError if a process under test has ended."""
        for host in self.hosts:
            host.check_daemon()

    def close(self) -> None:
        for host in self.hosts:
            host.close()
        if self.hub:
            self.hub.close()


class Lab:
    """All grounds, and the files of all hosts. A context manager, which ends and removes them."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="tunmesh-bench-"))
        self.directory.chmod(0o755)  # daemons that drop root must still reach their files in it
        self.janitor = Janitor(self.directory)
        self._grounds: list[Ground] = []

    def ground(self, name: str, hosts: int = 2, way: Way | None = None) -> Ground:
        """That many new hosts, with their files in a directory of that name. Two of them may be
        joined by a path with impairments instead of a cable."""
        directory = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.directory))
        directory.chmod(0o755)
        addresses = [f"10.99.0.{number}" for number in range(1, hosts + 1)]
        hub: Namespace | None
        namespaces: Sequence[Namespace]
        if way is not None:
            hub, namespaces = None, (Namespace.create(), Namespace.create())
            self.janitor.watch(lay(way, namespaces, addresses, self.directory))
        else:
            hub, namespaces = _cable(addresses) if hosts == 2 else _bridge(addresses)
        made = []
        for namespace, address in zip(namespaces, addresses, strict=True):
            (directory / address).mkdir()
            made.append(Host(namespace, address, directory / address, self))
        ground = Ground(made, directory, hub)
        self._grounds.append(ground)
        return ground

    def close_ground(self, ground: Ground) -> None:
        self._grounds.remove(ground)
        ground.close()

    def __enter__(self) -> Lab:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.janitor.close()
        for ground in self._grounds:
            ground.close()


def start_tool(namespace: Namespace, *command: str) -> subprocess.Popen[str]:
    """Start a tool in a namespace; it exits by itself, and at the latest with this process."""
    with namespace:
        return subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )


def finish(
    tool: subprocess.Popen[str], accept: Sequence[int] = (0,), patience: float = TOOL_PATIENCE
) -> str:
    """Wait for a tool to exit; its output. Raises BenchError unless its exit code is accepted."""
    try:
        output, complaint = tool.communicate(timeout=patience)
    except subprocess.TimeoutExpired:
        raise BenchError(f"{_called(tool)} did not end within {patience:g} s") from None
    finally:
        # a grandchild may keep the pipes open: by now the tool's output is read or not needed
        tool.kill()
        tool.wait()
    if tool.returncode not in accept:
        said = (complaint or output).strip().partition("\n")[0]
        raise BenchError(f"{_called(tool)} ended with {tool.returncode}: {said}")
    return output


def _called(tool: subprocess.Popen[str]) -> str:
    assert isinstance(tool.args, list)  # noqa: S101
    return Path(str(tool.args[3])).name


def _bridge(addresses: Sequence[str]) -> tuple[Namespace, Sequence[Namespace]]:
    underlay = Underlay.create(addresses)
    return underlay.hub, underlay.namespaces


def _cable(addresses: Sequence[str]) -> tuple[None, Sequence[Namespace]]:
    left, right = namespaces = Namespace.create(), Namespace.create()
    with left, IPRoute() as ip:
        peer = {"ifname": "eth0", "net_ns_fd": right.fd}
        try:
            ip.link("add", kind="veth", ifname="eth0", peer=peer)
        except NetlinkError as error:
            raise OperatorError(
                f"cannot make a veth cable ({error.args[-1]}): the kernel needs its module veth"
            ) from None
    for namespace, address in zip(namespaces, addresses, strict=True):
        with namespace, IPRoute() as ip:
            for name in ("lo", "eth0"):
                ip.link("set", index=socket.if_nametoindex(name), state="up")
            ip.addr("add", index=socket.if_nametoindex("eth0"), address=f"{address}/24")
    return None, namespaces
