"""Attacks that aim at one particular effect, each with its own measurement.

Each runs on its own stage. The time of an event that never came is infinite, and shown as "never".
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.attack.local import LOCAL
from bench.attack.posing import posing_port
from bench.attack.stage import Figures, Stage, attacking, connections_opened
from bench.errors import BenchError
from bench.lab import Lab
from tunmesh.host.namespaces import CLONE_NEWNS, unshare
from tunmesh.localmesh.plan import LISTEN_PORT, NodePlan

NAME_SERVER = "10.99.0.3"  # the attacker's host, if there are two nodes
NOWHERE = "https://192.0.2.250:4567"
RESTARTS = 3
LIMIT = 120.0  # seconds after which an event counts as "never"
PAUSE = 3.2  # seconds
LEARN = 15.0  # seconds until a node has asked about all the nodes vouched for


@dataclass(frozen=True)
class Figure:
    attack: str
    what: str
    value: float


def own_names(directory: Path) -> None:
    """From now on names are resolved, in this process and its children, by a hosts file with the
    nodes' names, and by a name server at the attacker's host."""
    hosts, resolver = directory / "hosts", directory / "resolv.conf"
    hosts.write_text("".join(f"{NodePlan(n).underlay} {NodePlan(n).name}\n" for n in (1, 2, 3)))
    resolver.write_text(f"nameserver {NAME_SERVER}\n")
    directory.chmod(0o755)
    try:
        unshare(CLONE_NEWNS)
    except OSError as error:
        raise BenchError(f"no mount namespace ({error.strerror}): run it as root") from None
    for command in (
        "mount --make-rprivate /",
        f"mount --bind {hosts} /etc/hosts",
        f"mount --bind {resolver} /etc/resolv.conf",
    ):
        if os.system(command):  # noqa: S605
            raise BenchError(f"names cannot be changed for the attack: {command} failed")


def _bootstrap_by_name(stage: Stage) -> None:
    """Node 2 bootstraps from node 1, of which it knows only the name."""
    url = f"https://node1:{LISTEN_PORT}"
    stage.configure(1, {"clustering__control_api_advertise_url": url})
    groups = {"first": {"bootstrap_node_urls": [url]}}
    stage.configure(2, {"clustering__bootstrap_groups": groups})
    stage.start_all()


def _restarts(stage: Stage, times: int = RESTARTS) -> Iterator[float]:
    """Kill the bootstrap node and start it again: the time from when it listens until it is
    found."""
    for _ in range(times):
        stage.kill(1)
        time.sleep(1)
        stage.start(1)
        stage.until_logged(1, "listening")
        yield stage.until_logged(1, "linked", LIMIT, peer="node2")


def silent_names(lab: Lab) -> Figures:
    stage = Stage(lab, 2)
    _bootstrap_by_name(stage)
    yield "bootstrap node found, no attack, worst s", max(_restarts(stage))
    with attacking("silent_names", stage.ground, NodePlan(2).underlay):
        time.sleep(LEARN)
        yield "bootstrap node found, worst s", max(_restarts(stage))


def bootstrap_url(lab: Lab) -> Figures:
    stage = Stage(lab, 2)
    _bootstrap_by_name(stage)
    with attacking("bootstrap_url", stage.ground, NodePlan(2).underlay):
        stage.until_logged(2, "linked", peer="mallory")
        yield "bootstrap node found, s", max(_restarts(stage, 1))


def dial_reflector(lab: Lab) -> Figures:
    stage = Stage(lab, 2)
    stage.start_all()
    pid = stage.pid(1)
    with attacking("dial_reflector", stage.ground, NodePlan(1).underlay):
        began = connections_opened(pid)
        time.sleep(10)
        first = connections_opened(pid)
        yield "connections in the first 10 s", first - began
        time.sleep(20)
        yield "connections/s afterwards", (connections_opened(pid) - first) / 20


def false_introductions(lab: Lab) -> Figures:
    """Node 3 is new. Node 2 cannot be dialed, as behind a NAT, so it has to dial node 3. Node 1,
    from which both bootstrap, is restarted after the attacker has introduced node 3 falsely."""
    stage = Stage(lab, 3)
    stage.configure(2, {"clustering__control_api_advertise_url": NOWHERE})
    stage.start(1)
    stage.start(2)
    stage.until_logged(2, "linked", peer="node1")
    stage.kill(1)
    stage.start(3)
    stage.until_logged(3, "listening")
    with attacking("false_introductions", stage.ground, NodePlan(2).underlay):
        time.sleep(3)
        stage.start(1)
        stage.until_logged(1, "listening")
        yield "nodes 2 and 3 linked, s", stage.until_logged(2, "linked", LIMIT, peer="node3")
    yield "lines that name the liar", stage.logged(2, "false_introduction", peer="mallory")


def claims(lab: Lab) -> Figures:
    """Node 2 is stopped for longer than a probe of a contested address takes."""
    stage = Stage(lab, 2)
    stage.start_all()
    time.sleep(16)  # it is an incumbent by then
    with attacking("claims", stage.ground, NodePlan(1).underlay):
        time.sleep(5)
        stage.signal(2, signal.SIGSTOP)
        time.sleep(PAUSE)
        stage.signal(2, signal.SIGCONT)
        yield "pings lost after a pause of 3.2 s, %", 100 * stage.lost(1, NodePlan(2).ipv4, 500)


def icmp_quotes(lab: Lab) -> Figures:
    stage = Stage(lab, 2)
    stage.start_all()
    victim = stage.host(1)
    destinations = (NodePlan(2).underlay, "8.8.8.8")
    victim.run("ip", "route", "add", "default", "via", destinations[0])
    with attacking("icmp_quotes", stage.ground, NodePlan(1).underlay):
        stage.until_logged(1, "linked", peer="mallory")
        time.sleep(2)
        routes = [victim.run("ip", "route", "get", each) for each in destinations]
    yield "routes of the underlay with a forged MTU, of 2", sum("mtu" in each for each in routes)


def fragments(lab: Lab) -> Figures:
    stage = Stage(lab, 2)
    stage.start_all()
    with attacking("fragments", stage.ground, NodePlan(1).underlay):
        time.sleep(3)
        for where, address in (("mesh", NodePlan(1).ipv4), ("underlay", NodePlan(1).underlay)):
            lost = stage.lost(2, address, 100, "-s", "3000")
            yield f"3,000-byte pings lost, {where}, %", 100 * lost


EFFECTS: Mapping[str, Callable[[Lab], Figures]] = {
    effect.__name__: effect
    for effect in (
        false_introductions,
        bootstrap_url,
        silent_names,
        dial_reflector,
        claims,
        icmp_quotes,
        fragments,
        *LOCAL,
        posing_port,
    )
}


def run(names: Sequence[str]) -> list[Figure]:
    """Run each attack; each figure is printed as soon as it is known."""
    figures: list[Figure] = []
    for name in names:
        with Lab() as lab:
            try:
                for what, value in EFFECTS[name](lab):
                    figures.append(Figure(name, what, value))
                    print(f"{name:<21}{what:<50}{_shown(value):>8}", flush=True)  # noqa: T201
            except BenchError as error:
                print(f"{name:<21}{error}", flush=True)  # noqa: T201
    return figures


def _shown(value: float) -> str:
    return "never" if value == float("inf") else f"{value:.1f}".removesuffix(".0")
