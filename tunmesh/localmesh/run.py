"""`tunmesh mesh`, `make mesh`: runs a mesh of real nodes on this machine and demonstrates it.

Each node is a `twistd tunmesh` process in a network namespace of its own, connected to one bridge,
as in a container deployment. localmesh.story has the sequence of steps.

Nothing is left behind. Namespaces have no names and vanish with their last process; a janitor
process removes the node processes and the directory with their configs when this process ends,
however it ends.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import closing, suppress
from pathlib import Path
from types import FrameType
from typing import Any, cast

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorCore, IReactorFromThreads
from twisted.python.failure import Failure

from tunmesh.host.namespaces import Namespace
from tunmesh.localmesh import machine, screen
from tunmesh.localmesh.forward import forward
from tunmesh.localmesh.janitor import Janitor
from tunmesh.localmesh.measuring import CrossingReactor, MeshTraffic
from tunmesh.localmesh.plan import PAGE_PORT, NodePlan, Owner, write_files
from tunmesh.localmesh.processes import MeshError, MeshReactor, Nodes
from tunmesh.localmesh.screen import View
from tunmesh.localmesh.story import MeshStory
from tunmesh.localmesh.transfers import TrafficError
from tunmesh.localmesh.underlay import Underlay

INTERRUPTED = 130  # as a shell reports a program that was ended by Ctrl-C
MOST_LOGS_SHOWN = 3
A_LONG_TIME = 366 * 86400.0  # seconds


class HarnessReactor(IReactorCore, IReactorFromThreads, MeshReactor, CrossingReactor):
    """The reactor interfaces that all of it needs."""


def main(nodes: int, keep: bool, auto: bool = False) -> int:
    """Run a mesh of so many nodes; returns the exit code. With `keep` it stays up until Ctrl-C.
    With `auto` all nodes share one config, and choose their addresses themselves.

    Raises OperatorError for what the host lacks.
    """
    owner = machine.prepare()
    from twisted.internet import reactor

    began = time.monotonic()
    view = screen.to_terminal(lambda: time.monotonic() - began)
    plans = [NodePlan(number, auto) for number in range(1, nodes + 1)]
    code = _run_mesh(cast(HarnessReactor, reactor), plans, owner, keep, view)
    view.done("nothing is left: no process, no namespace, no file")
    return code


def _run_mesh(
    reactor: HarnessReactor, plans: Sequence[NodePlan], owner: Owner, keep: bool, view: View
) -> int:
    """Build and connect everything, run it, and remove it again."""
    view.title(f"tunmesh: a mesh of {len(plans)} real nodes on this machine")
    directory = Path(tempfile.mkdtemp(prefix="tunmesh-"))
    with (
        closing(Janitor(directory)) as janitor,
        closing(Underlay.create([plan.underlay for plan in plans])) as underlay,
    ):
        view.done(f"{len(plans)} network namespaces, each with a cable to one bridge")
        write_files(directory, plans, owner)
        if plans[0].automatic:
            view.done(f"1 certificate, 1 secret, 1 config for all nodes in {directory}")
            view.note("node K is reached at 10.99.0.K; its name is all that differs")
            view.note("it chooses its addresses in the mesh itself, and finds out its URL")
        else:
            view.done(f"1 certificate, 1 secret, {len(plans)} configs in {directory}")
            view.note("node K is reached at 10.99.0.K; in the mesh it is 10.77.0.K and fd77::K")
        view.note(f"each is told nothing but the address of {plans[0].name}")
        nodes = Nodes(reactor, janitor, directory)
        traffic = MeshTraffic(reactor, plans, underlay.namespaces, view)
        story = MeshStory(plans, underlay.namespaces, nodes, traffic, view)
        stay = []
        if keep:
            stay += _page(reactor, underlay.namespaces[0])
            stay += _entrances(plans, underlay.namespaces, directory)
        interruption = Interruption()
        return _run_reactor(
            reactor, lambda: _tell(story, nodes, view, stay, interruption), interruption
        )


class Interruption:
    """Ctrl-C or TERM: the first one cancels the run, later ones have no effect."""

    def __init__(self) -> None:
        self.happened = False

    def cancels(self, told: Deferred[Any], reactor: HarnessReactor) -> None:
        """Make the next signal cancel this Deferred, from inside the reactor."""

        def interrupt(number: int, frame: FrameType | None) -> None:
            if not self.happened:
                self.happened = True
                reactor.callFromThread(told.cancel)

        for number in signal.SIGINT, signal.SIGTERM:
            signal.signal(number, interrupt)


async def _tell(
    story: MeshStory, nodes: Nodes, view: View, stay: Sequence[str], interruption: Interruption
) -> int:
    """Run the story to its end, good or bad; returns the exit code. With `stay` (lines that explain
    how to look around) the mesh stays up until this is cancelled."""
    try:
        await story.tell()
        if stay:
            view.block(stay)
            view.step("the mesh stays up until Ctrl-C")
            with suppress(CancelledError):
                await _stay(nodes, view)
        await story.leave()
    except (MeshError, TrafficError, CancelledError) as error:
        # A cancelled operation may also fail for a reason of its own.
        if interruption.happened:
            view.failed("interrupted")
            return INTERRUPTED
        view.failed(str(error))
        _show_last_lines(nodes, error, view)
        return 1
    finally:
        await story.end_all()
    return 0


async def _stay(nodes: Nodes, view: View) -> None:
    """Wait until cancelled. Nodes that die meanwhile are only reported: the user may kill some."""
    while True:
        try:
            await nodes.until(lambda: False, lambda: MeshError("the mesh stays up"), A_LONG_TIME)
        except MeshError as error:
            view.note(str(error))
            for name in error.names:
                nodes.processes[name].may_end = True


def _show_last_lines(nodes: Nodes, error: Exception, view: View) -> None:
    """Show the last lines of the nodes concerned, and of those that have died."""
    concerned = error.names if isinstance(error, MeshError) else ()
    for name in list(dict.fromkeys((*concerned, *nodes.dead())))[:MOST_LOGS_SHOWN]:
        view.note(f"{name} wrote last:")
        for line in nodes.processes[name].tail:
            view.note(f"  {screen.shortened(line)}")


def _run_reactor(
    reactor: HarnessReactor,
    story: Callable[[], Coroutine[Any, Any, int]],
    interruption: Interruption,
) -> int:
    """Run the reactor until the story is over. Returns the exit code."""
    outcome: list[int | Failure] = []

    def begin() -> None:
        told = Deferred.fromCoroutine(story())
        interruption.cancels(told, reactor)
        told.addBoth(outcome.append)
        told.addBoth(lambda _: reactor.stop())

    reactor.callWhenRunning(begin)
    reactor.run()
    [code] = outcome
    if isinstance(code, Failure):
        code.raiseException()
    return code


def _page(reactor: HarnessReactor, namespace: Namespace) -> list[str]:
    """How to open the live page in a browser."""
    inside = f"at http://127.0.0.1:{PAGE_PORT}/ in every node"
    if machine.MOVED in os.environ:  # the browser is on another machine
        return [f"  the live page is {inside}", ""]
    here = forward(reactor, namespace, PAGE_PORT).getHost()
    return [f"  the live page: http://{here.host}:{here.port}/ (it is {inside})", ""]


def _entrances(
    plans: Sequence[NodePlan], namespaces: Sequence[Namespace], directory: Path
) -> list[str]:
    """How to look around in a mesh that stays up."""
    user = "" if os.getuid() == 0 else f"--preserve-credentials --user --target {os.getpid()} "
    tunmesh = Path(sys.executable).with_name("tunmesh")
    wide4, wide6 = max(len(p.ipv4) for p in plans), max(len(p.ipv6) for p in plans)
    enter = [f"nsenter {user}--net={namespace.path}" for namespace in namespaces]
    return [
        "  to run a program in a node:",
        *(
            f"    {plan.name:<7} {plan.ipv4:<{wide4}} {plan.ipv6:<{wide6}} {command} bash"
            for plan, command in zip(plans, enter, strict=True)
        ),
        "",
        "  to ask a node how it is:",
        *(f"    {tunmesh} status --socket {directory / plan.socket}" for plan in plans),
        "",
        f"  for example, from {plans[0].name} to {plans[1].name}:",
        f"    {enter[0]} ping {plans[1].ipv4}",
        f"    {enter[1]} iperf3 --server --daemon",
        f"    {enter[0]} iperf3 --client {plans[1].ipv4}",
        "",
        f"  logs: {directory}/node*.log",
    ]
