"""The benchmark: parsing its tools' output, computing figures, and the report."""

from __future__ import annotations

import io
import json
import shutil
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from click.testing import CliRunner
from twisted.trial import unittest

from bench import __main__ as bench_command
from bench import (
    blast,
    contenders,
    echoes,
    far,
    far_tables,
    iperf,
    packet_sizes,
    page,
    ping,
    plots,
    report,
    results,
    run,
    scenarios,
    targets,
)
from bench.attack import __main__ as attack_command
from bench.attack import load
from bench.attack.datagrams import Forger, Seen, Tap, see_all
from bench.attack.load import Row
from bench.contender import Contender
from bench.errors import BenchError
from bench.far_tables import Path as FarPath
from bench.lab import Ground, Lab
from bench.probe import await_first_packet
from bench.results import Results, Sample, Summary
from bench.targets import Target, Verdict
from bench.tools import TOOLS, dated, missing, version
from bench.way import Way
from tests.support import netns
from tunmesh.localmesh import plan

UDP_SEGMENT = 103  # linux/udp.h

PING = """\
PING 10.77.0.2 (10.77.0.2) 56(84) bytes of data.
64 bytes from 10.77.0.2: icmp_seq=1 ttl=64 time=0.408 ms
64 bytes from 10.77.0.2: icmp_seq=2 ttl=64 time=12.1 ms
From 10.77.0.1 icmp_seq=3 Destination Host Unreachable

--- 10.77.0.2 ping statistics ---
3 packets transmitted, 2 received, +1 errors, 33.3333% packet loss, time 402ms
rtt min/avg/max/mdev = 0.408/6.254/12.100/5.846 ms
"""


def made_of(*rounds: dict[tuple[str, str], float]) -> Results:
    """Results with these figures by contender and name, one dictionary for each round."""
    made = Results(machine={"kernel": "6.1"})
    for number, figures in enumerate(rounds, start=1):
        for (contender, figure), value in figures.items():
            made.about[contender] = "as it comes"
            made.versions[contender] = "9.8.7 (2031)"
            made.samples.append(Sample(number, contender, figure, value))
    return made


def wide() -> Results:
    """All figures of all contenders, large and small ones that vary."""
    figures = {column.figure: column.unit for _, columns in report.SECTIONS for column in columns}
    names = [*contenders.NAMES, "a-checkout-with-a-long-name"]
    return made_of(
        *(
            {(name, figure): unit * size for name in names for figure, unit in figures.items()}
            for size in (0.01, 98.76, 99.99, 1234.5)
        )
    )


class ToolsTests(unittest.SynchronousTestCase):
    """Output of other programs."""

    def test_iperf(self) -> None:
        """The receiver's figures count."""
        end = {
            "sum_sent": {"bits_per_second": 9e9, "bytes": 900},
            "sum_received": {"bits_per_second": 8e9, "bytes": 800},
        }
        self.assertEqual(iperf.parse_transfer(json.dumps({"end": end})), iperf.Transfer(8e9, 800))

    def test_iperf_both_ways(self) -> None:
        """The two directions of a bidirectional test are added."""
        end = {
            "sum_received": {"bits_per_second": 8e9, "bytes": 800},
            "sum_received_bidir_reverse": {"bits_per_second": 2e9, "bytes": 200},
        }
        found = iperf.parse_transfer(json.dumps({"end": end}))
        self.assertEqual(found, iperf.Transfer(1e10, 1000))

    def test_iperf_fails(self) -> None:
        """A failed test gives iperf3's own error; a missing report gives a different one."""
        report = '{"end": {}, "error": "unable to connect: No route to host"}'
        error = self.assertRaises(BenchError, iperf.parse_transfer, report)
        self.assertEqual(str(error), "iperf3: unable to connect: No route to host")
        self.assertRaises(BenchError, iperf.parse_transfer, "Killed")

    def test_iperf_nothing_arrived(self) -> None:
        """A tunnel that delivers nothing has failed; it is not just slow."""
        report = json.dumps({"end": {"sum_received": {"bits_per_second": 0, "bytes": 0}}})
        error = self.assertRaises(BenchError, iperf.parse_transfer, report)
        self.assertEqual(str(error), "iperf3: nothing arrived")

    def test_ping(self) -> None:
        """Each reply counts with its own time, lost packets do not count."""
        self.assertEqual(ping.parse_ping(PING), [0.000408, 0.0121])
        self.assertRaises(BenchError, ping.parse_ping, PING[:20])

    def test_percentile(self) -> None:
        """The 99th percentile of a hundred values is the second largest."""
        self.assertEqual(ping.percentile(list(range(100, 0, -1)), 0.99), 99)
        self.assertEqual(ping.percentile([7.0], 0.99), 7.0)

    def test_missing(self) -> None:
        """Each missing package is named once, and none that is installed."""
        wanted = {
            sys.executable: "python3",
            "no-such-a": "a-package",
            "no-such-b": "a-package",
        }
        self.assertEqual(missing(wanted), ["a-package"])

    def test_versions(self) -> None:
        """A version is shown with its year, from a list or from a date in the version itself. A
        program that prints no version is shown all the same."""
        nebula, wireguard = contenders.BY_PATH["nebula"], contenders.BY_PATH["wireguard-go"]
        for make, printed, shown in (
            (nebula, "Version: 1.6.1", "1.6.1 (2022)"),
            (nebula, "Version: 99.0.1", "99.0.1 (of unknown date)"),
            (wireguard, "wireguard-go v0.0.20250522\n\nUserspace", "0.0.20250522 (2025)"),
            (wireguard, "", "version unknown (of unknown date)"),
        ):
            one = make("any", self.script(f"printf '{printed}'"))
            assert one.released is not None
            self.assertEqual(dated(version(one.version), one.released), shown)

    def test_no_such_program(self) -> None:
        """A program that cannot be started has no version."""
        self.assertEqual(version(("/no/such/program", "--version")), "")

    def test_options(self) -> None:
        """Another binary is given by its path, several of one program by repeating the option; a
        path without a program is refused before anything is measured."""
        chosen: list[Contender] = []
        self.patch(bench_command, "_check_machine", lambda: None)

        def measure(given: list[Contender], *rest: object) -> Results:
            chosen.extend(given)
            return Results(machine={})

        self.patch(bench_command, "_measure", measure)
        program = self.script("echo")
        options = ["--only", "relay", "--wireguard-go", program, "--wireguard-go", program]
        outcome = CliRunner().invoke(bench_command.main, [*options, "--nebula", program])
        self.assertEqual(outcome.exit_code, 0, outcome.output)
        names = ["relay", "wireguard-go#2", "wireguard-go#3", "nebula#2"]
        self.assertEqual([one.name for one in chosen], names)
        self.assertEqual([program in one.needs for one in chosen], [False, True, True, True])
        outcome = CliRunner().invoke(bench_command.main, ["--tinc", "/no/such/tincd"])
        self.assertEqual(outcome.exit_code, 2)
        self.assertIn("/no/such/tincd", outcome.output)

    def script(self, body: str) -> str:
        """The path of a program that is a shell script."""
        path = Path(self.mktemp()).absolute()
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)
        return str(path)


class AttackTests(unittest.SynchronousTestCase):
    """`python -m bench.attack`."""

    def test_unknown_attack(self) -> None:
        """An unknown attack is refused in one line, which lists those that exist."""
        complaint = io.StringIO()
        self.patch(sys, "stderr", complaint)
        self.assertEqual(attack_command.main(["--only", "pings,nonsense"]), 1)
        self.assertEqual(complaint.getvalue().count("\n"), 1)
        self.assertIn("no attack is called nonsense; there are half_open", complaint.getvalue())

    def test_row(self) -> None:
        """The columns of a row line up with the header, and a missing value is a dash."""
        row = Row("pings", 30.0, float("inf"), 0.0042, 12_300_000, 3, 2, 1, 0, 17.4, 256)
        alone = replace(row, rate=60.0)
        shown = load.line(row, alone)
        self.assertEqual(
            shown.split(), ["pings", "50%", "-", "4.2", "12.3", "3", "2", "1", "0", "17", "256"]
        )
        self.assertEqual(len(shown), max(map(len, load.HEAD.splitlines())))


class ResultsTests(unittest.SynchronousTestCase):
    """Computing figures."""

    def test_summary(self) -> None:
        """A summary is the median, and half of the range relative to it."""
        self.assertEqual(results.summary([4.0, 1.0, 2.0]), Summary(2.0, 0.75))
        self.assertEqual(results.summary([-4.0]), Summary(-4.0, 0.0))
        self.assertEqual(results.summary([0.0]), Summary(0.0, 0.0))

    def test_ratio(self) -> None:
        """A ratio is the median of the ratios within the rounds, not the ratio of the medians."""
        found = made_of(
            {("a", "f"): 1.0, ("b", "f"): 1.0},
            {("a", "f"): 9.0, ("b", "f"): 10.0},
            {("a", "f"): 8.0, ("b", "f"): 2.0},
        )
        self.assertEqual(found.ratio(("a", "f"), ("b", "f")), 1.0)

    def test_ratio_needs_both(self) -> None:
        """Only rounds in which both were measured count; without any there is no ratio."""
        found = made_of({("a", "f"): 1.0}, {("a", "f"): 6.0, ("b", "f"): 2.0}, {("b", "f"): 1.0})
        self.assertEqual(found.ratio(("a", "f"), ("b", "f")), 3.0)
        self.assertIsNone(found.ratio(("a", "f"), ("c", "f")))
        self.assertIsNone(made_of({("a", "f"): 1.0, ("b", "f"): 0.0}).ratio(("a", "f"), ("b", "f")))

    def test_packet_sizes(self) -> None:
        """The sweep of packet sizes shows the ratio within the rounds where both were measured."""
        us, relay = ("tunmesh", "udp 64"), ("relay", "udp 64")
        calm, slow = {us: 2e8, relay: 4e8}, {us: 1e8, relay: 2e8}
        _, line = packet_sizes.table(made_of(calm, slow, {us: 9e8, relay: 1e9}))
        self.assertEqual(
            line.split(), ["udp", "64", "200.0", "400.0", "0.50", "0.50", "to", "0.70"]
        )
        self.assertEqual(len(list(packet_sizes.table(made_of(calm)))), 1)

    def test_saved(self) -> None:
        """Saved results load unchanged."""
        path = Path(self.mktemp()) / "results.json"
        found = wide()
        found.skipped["tinc"] = "not installed"
        found.save(path)
        self.assertEqual(Results.load(path), found)


def far_away(**rates: float) -> Results:
    """What was measured on one path: megabits a second of 8 streams, by contender."""
    path = FarPath(0.04, 0.01)
    found = Results(machine={"kernel": "6.1"})
    for name, rate in rates.items():
        who = {"bare": "no VPN", "auto": "tunmesh auto, reno"}[name]
        found.samples += [
            Sample(1, who, path.figure("bbr 8"), rate * 1e6),
            Sample(1, who, path.figure("bbr 8, ping p50"), 4.0 / rate),
            Sample(1, who, path.figure("idle lost"), 0.02),
        ]
    return found


class FarTests(unittest.SynchronousTestCase):
    """Long-distance links."""

    def test_table(self) -> None:
        """Each cell has its ratio to no VPN beside it, and lines fit a terminal."""
        found = far_away(bare=100.0, auto=50.0)
        (path,) = far_tables.paths(found)
        self.assertEqual(path, FarPath(0.04, 0.01))
        lines = far_tables.of_path(found, path)
        self.assertIn(["no", "VPN", "100.0"], [line.split() for line in lines])
        self.assertIn(
            ["tunmesh", "auto,", "reno", "50.0", "0.50"], [line.split() for line in lines]
        )
        self.assertIn(["tunmesh", "auto,", "reno", "80", "2.00"], [line.split() for line in lines])
        self.assertLessEqual(max(map(len, lines)), 80)

    def test_worse_than_no_vpn(self) -> None:
        """Each figure of `auto` that misses its target is named, and so is what was not
        measured."""
        found = far_away(bare=100.0, auto=50.0)
        found.skipped["congestion control vegas"] = "no vegas in this kernel"
        skipped, *worse = far_tables.summary(found)
        self.assertEqual(skipped, "not measured: congestion control vegas: no vegas in this kernel")
        self.assertEqual([line.split()[-1] for line in worse], ["0.50", "2.00"])
        (line,) = far_tables.summary(far_away(bare=100.0, auto=91.0))
        self.assertEqual(line, "auto is nowhere worse than it should be")

    def test_busy_processors(self) -> None:
        """A figure that misses its target says so if the processors were busy meanwhile."""
        found = far_away(bare=100.0, auto=80.0)
        (path,) = far_tables.paths(found)
        who, figure = "tunmesh auto, reno", path.figure(far_tables.busy("bbr 8"))
        found.samples.append(Sample(1, who, figure, 0.97))
        (line,) = far_tables.summary(found)
        self.assertTrue(line.endswith("0.80 (CPU 97% busy)"), line)
        self.assertEqual(far_tables._streams(found, path.title), ["bbr 8"])

    def test_lost_pings(self) -> None:
        """More pings may be lost than the path loses, by a fifth or by chance; over several rounds
        there is less of that."""
        who, path = "tunmesh auto, reno", FarPath(0.04, 0.001)  # loses 10 of 5,000
        for rounds, lost, is_too_many in (
            (1, 16, False),
            (1, 17, True),
            (9, 12, False),
            (9, 13, True),
        ):
            found = Results(machine={})
            for number in range(rounds):
                found.samples.append(
                    Sample(number, who, path.figure("idle lost"), lost / far_tables.PINGS)
                )
            (line,) = far_tables.summary(found)
            self.assertEqual("NOT MET" in line, is_too_many, (rounds, lost, line))

    def test_batches(self) -> None:
        """Contenders that are alike are not measured at the same time, and none is left out."""
        up: Any = list(range(9))
        self.assertEqual(list(far._batches(up, 2)), [[0, 5], [1, 6], [2, 7], [3, 8], [4]])

    def test_takers(self) -> None:
        """tunmesh is measured with each transport, and, if it uses TCP, with each congestion
        control of its host."""
        names = [taker.name for taker in far.takers(("reno", "bbr"))]
        tcp = ["tunmesh tcp, reno", "tunmesh tcp, bbr"]
        auto = ["tunmesh auto, reno", "tunmesh auto, bbr"]
        self.assertEqual(names, ["no VPN", "wireguard-go", *tcp, "tunmesh udp", *auto])

    def test_page(self) -> None:
        """The tables are put between the markers of the page, and the rest stays."""
        page = Path(self.mktemp())
        page.write_text(f"before\n{far_tables.BEGIN}\nold\n{far_tables.END}\nafter\n")
        self.patch(far_tables, "PAGE", page)
        far_tables.save(far_away(bare=100.0, auto=50.0))
        text = page.read_text()
        self.assertTrue(text.startswith("before\n") and text.endswith("\nafter\n"), text)
        self.assertIn("tunmesh auto, reno", text)
        self.assertNotIn("old", text)


class TargetTests(unittest.SynchronousTestCase):
    """Whether targets are met."""

    def test_limits(self) -> None:
        """A limit that is just reached is met; one that is just missed is not."""
        floor = Target("", "f", 0.9, at_least=True)
        ceiling = Target("", "f", 0.9, at_least=False)
        outcomes = [
            [Verdict(target, value).met for value in (0.89, 0.9, 0.91, None)]
            for target in (floor, ceiling)
        ]
        self.assertEqual(outcomes, [[False, True, True, None], [True, True, False, None]])

    def test_units(self) -> None:
        """A figure is compared in the target's unit, a ratio with the figure that it names."""
        found = made_of({("tunmesh", "f"): 0.004, ("relay", "g"): 0.002})
        in_ms = Target("", "f", 5, at_least=False, unit=1e-3)
        ratio = Target("", "f", 2, at_least=True, other=("relay", "g"))
        self.assertEqual([in_ms.value(found), ratio.value(found)], [4.0, 2.0])

    def test_known_names(self) -> None:
        """Targets refer to existing contenders and figures."""
        shown = {column.figure for _, columns in report.SECTIONS for column in columns}
        shown |= {panel.figure for panels in plots.PLOTS.values() for panel in panels}
        for target in targets.TARGETS:
            name, figure = target.other or (targets.US, target.figure)
            self.assertLessEqual({name, target.subject}, set(contenders.NAMES))
            self.assertLessEqual({figure, target.figure}, shown)


class ReportTests(unittest.SynchronousTestCase):
    """The report."""

    def test_width(self) -> None:
        """No line is wider than 80 columns, and cells do not touch."""
        found = wide()
        found.skipped["tinc tcp1"] = "its process ended with 1: " + "no such thing " * 20
        lines = report.table(found)
        self.assertEqual([line for line in lines if len(line) > 80], [])
        rows = lines[lines.index("") :]
        cells = [line[report.NAME :] for line in rows if line.startswith("relay")]
        self.assertEqual(len(cells), len(report.SECTIONS))
        for line in cells:
            starts = range(0, len(line), report.CELL)
            self.assertEqual({line[start] for start in starts}, {" "}, line)

    def test_versions(self) -> None:
        """Every figure of another program comes with its version: on the terminal the versions come
        first, on the page and in the plots each row has its own."""
        found = wide()
        lines = report.table(found)
        self.assertIn("nebula         9.8.7 (2031), as it comes", lines[: lines.index("")])
        rows = [line for line in page.figures(found).split("\n") if "wireguard-go" in line]
        self.assertGreater(len(rows), len(report.SECTIONS))
        for row in rows:
            self.assertIn("9.8.7 (2031)", row)
        for name in plots.PLOTS:
            self.assertIn("0.0.20220316 (2022)", (page.KEPT / f"{name}.svg").read_text())

    def test_part(self) -> None:
        """After a partial run, only that part is shown; what was not measured is a dash."""
        found = made_of({("tunmesh", "tcp1_there"): 2e9, ("relay", "tcp1_back"): 4e9})
        *_, blank, heading, tunmesh, relay, gap, last = report.table(found)
        self.assertEqual((blank, gap), ("", ""))
        self.assertEqual(heading.split(), ["TCP,", "Gbit/s", "1", "→", "1", "←"])
        self.assertEqual(tunmesh.split(), ["tunmesh", "2.00", "±", "0%", "–"])
        self.assertEqual(relay.split(), ["relay", "–", "4.00", "±", "0%"])
        self.assertEqual(
            last, f"unknown  {len(targets.TARGETS)} more targets: not measured in this run"
        )

    def test_verdict(self) -> None:
        """A verdict has the outcome, the target, its limit and the measured value."""
        target = Target("start to first packet", "start", 1.5, at_least=False, unit_name="s")
        lines = [" ".join(report.verdict_line(Verdict(target, value)).split()) for value in (1, 2)]
        self.assertEqual(
            lines,
            [
                "met start to first packet ≤ 1.5 s 1.00",
                "NOT MET start to first packet ≤ 1.5 s 2.00",
            ],
        )

    def test_page(self) -> None:
        """Only the part between the markers is generated, and generating it again changes
        nothing."""
        text = f"before\n{page.BEGIN}\nold\n{page.END}\nafter\n"
        once = page.renewed(text, wide())
        self.assertTrue(once.startswith("before\n") and once.endswith("\nafter\n"))
        self.assertNotIn("old", once)
        self.assertEqual(page.renewed(once, wide()), once)

    def test_page_is_up_to_date(self) -> None:
        """docs/performance.md shows the results that are stored next to it."""
        text = page.PAGE.read_text(encoding="utf-8")
        self.assertEqual(page.renewed(text, Results.load(page.RESULTS)), text)

    def test_page_explains(self) -> None:
        """docs/performance.md explains every scenario and shows every plot."""
        text = page.PAGE.read_text(encoding="utf-8")
        for name in scenarios.SCENARIOS:
            self.assertIn(f"`{name}`", text)
        for name in plots.PLOTS:
            self.assertIn(f"(performance/{name}.svg)", text)


def _not_installed() -> str | None:
    """The programs that these tests lack; None if all are installed."""
    absent = [program for program in TOOLS if not shutil.which(program)]
    return f"not installed: {', '.join(absent)}" if absent else None


class RunTests(unittest.SynchronousTestCase):
    """Contenders that start, fail and exit."""

    skip = netns.skip_reason() or _not_installed()

    def test_failing_contenders(self) -> None:
        """Contenders that are missing or exit are left out, each with its reason; the others are
        measured."""

        def start(ground: Ground) -> None:
            ground.right.start_daemon("sh", "-c", "echo no such key >&2; exit 3")

        absent = Contender("absent", "", start, needs={"no-such-program": "a-package"})
        broken = Contender("broken", "", start)
        found = Results(machine={})
        veth = contenders.ALL[0]
        memory = {"memory": scenarios.SCENARIOS["memory"]}
        run.run([absent, broken, veth], memory, 1, 1, found, lambda text: None)
        self.assertEqual(
            found.skipped,
            {
                "absent": "not installed: apt install a-package",
                "broken": "its process ended with 3: no such key",
            },
        )
        self.assertEqual([sample.contender for sample in found.samples], ["veth"])

    def test_other_binary(self) -> None:
        """A binary given by its path is the one that runs, and its version is in the table."""
        path = Path(self.mktemp()).absolute()
        # Both ends are joined by a cable already: all that this one needs is an address.
        path.write_text(
            "#!/bin/sh\n"
            "[ $1 = --version ] && echo OpenVPN 2.99.1 x86_64 && exit\n"
            "ip address add $(awk '/^ifconfig/ {print $2}' $2)/24 dev eth0\n"
            "exec sleep 600\n"
        )
        path.chmod(0o755)
        found, said = Results(machine={}), list[str]()
        fake = contenders.BY_PATH["openvpn"]("openvpn#2", str(path))
        memory = {"memory": scenarios.SCENARIOS["memory"]}
        run.run([fake], memory, 1, 1, found, said.append)
        self.assertEqual(found.skipped, {})
        self.assertEqual([sample.contender for sample in found.samples], ["openvpn#2"])
        self.assertIn("openvpn#2 2.99.1 (of unknown date) is up", said[0])
        self.assertIn("openvpn#2      2.99.1 (of unknown date)", report.table(found)[0])

    def test_nothing_is_left(self) -> None:
        """When a lab ends, its processes end too, and its files are removed."""
        with Lab() as lab:
            ground = lab.ground("left", hosts=3)
            ground.left.start_daemon("sleep", "600")
            await_first_packet(ground, "10.99.0.3")
            daemon = ground.left.daemon
        assert daemon
        self.assertEqual(daemon.wait(10), -9)
        self.assertFalse(lab.directory.exists())

    def test_programs(self) -> None:
        """The C programs compile without a warning; datagrams arrive, and no faster than
        offered."""
        if missing({"cc": "gcc"}):
            raise unittest.SkipTest("cc is not installed (Debian: gcc)")
        sources = Path(run.__file__).parent
        for name, libraries in ("blast", ()), ("relay", ("-lssl", "-lcrypto")), ("way", ()):
            command = [
                "cc",
                "-Wall",
                "-Wextra",
                "-Werror",
                f"{sources}/{name}.c",
                "-o",
                "/dev/null",
            ]
            outcome = subprocess.run(
                [*command, *libraries], capture_output=True, text=True, check=False
            )
            self.assertEqual(outcome.stderr, "")
        with Lab() as lab:
            ground = lab.ground("blast")
            self.patch(blast, "LADDER", (1000.0,))
            delivered = blast.Blast(ground, contenders.ALL[0], 64).delivered(0.5)
        self.assertTrue(0 < delivered < 1.1 * 1000 * blast.BETWEEN, delivered)

    def test_congestion_control(self) -> None:
        """Connections over a path use the chosen congestion control at both ends, even one that the
        kernel does not allow in a namespace by default."""
        with Lab() as lab:
            ground = lab.ground("carrier")
            for chosen in ("reno", "cubic"):
                for host in ground.hosts:
                    far.choose(host, chosen)
                with ground.right.namespace:
                    listener = socket.create_server((ground.right.address, 0))
                with ground.left.namespace:
                    dialed = socket.create_connection(listener.getsockname(), timeout=10)
                accepted, _ = listener.accept()
                for end in (dialed, accepted):
                    used = end.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16)
                    self.assertEqual(used.rstrip(b"\0").decode(), chosen)
                    end.close()
                listener.close()
            error = self.assertRaises(BenchError, far.choose, ground.left, "no-such")
            self.assertIn("no no-such in this kernel", str(error))

    def test_far_away(self) -> None:
        """Packets on a long path arrive with its delay, and none arrive at 100 % loss."""
        if missing({"cc": "gcc"}):
            raise unittest.SkipTest("cc is not installed (Debian: gcc)")
        with Lab() as lab:
            ground = lab.ground("far", way=Way(delay=0.02, rate=1e6, loss=0.0))
            output = ground.left.run("ping", "-c", "3", "-i", "0.01", ground.right.address)
            self.assertGreaterEqual(min(ping.parse_ping(output)), 0.04)
            lossy = lab.ground("lossy", way=Way(delay=0.001, rate=1e6, loss=1.0))
            output = lossy.left.run(
                "ping", "-c", "3", "-i", "0.01", "-W", "0.2", lossy.right.address, accept=(1,)
            )
            self.assertIn("100% packet loss", output)

    def test_every_ping(self) -> None:
        """Pings that are sent faster than `ping` can are all answered, in their time."""
        if missing({"cc": "gcc"}):
            raise unittest.SkipTest("cc is not installed (Debian: gcc)")
        with Lab() as lab:
            ground = lab.ground("far", way=Way(delay=0.02, rate=1e6, loss=0.0))
            command = (sys.executable, "-m", "bench.echoes", ground.right.address, "200", "0.002")
            times = json.loads(ground.left.run(*command))
        self.assertEqual(len(times), 200)
        self.assertGreaterEqual(min(times), 0.04)
        self.assertRaises(OSError, echoes.ask, "not an address", 1, 0.01)

    def test_datagrams_are_seen_and_forged(self) -> None:
        """An attacker sees what is sent to a node's UDP port, single datagrams and many in one, and
        sends others that seem to come from elsewhere."""
        victim = plan.NodePlan(1).underlay, plan.LISTEN_PORT
        with Lab() as lab:
            ground = lab.ground("udp", hosts=3)
            await_first_packet(ground, ground.hosts[2].address)
            see_all(ground)
            with ground.left.namespace, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as node:
                node.bind(victim)
                node.settimeout(10)
                with ground.hosts[2].namespace:
                    target: Any = SimpleNamespace(place=victim)
                    tap, forger = Tap(target), Forger(target)
                with (
                    ground.right.namespace,
                    socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other,
                ):
                    other.bind(("", 4567))
                    other.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 1000)
                    other.sendto(b"a" * 2500, victim)
                self.assertEqual(node.recv(4000), b"a" * 1000)
                while not tap.seen:
                    tap.look()
                self.assertEqual(tap.seen[0], Seen(ground.right.address, 4567, b"a" * 1000))
                forger.send("10.99.0.77", 5, b"forged")
                while (came := node.recvfrom(4000))[0].startswith(b"a"):
                    pass
        self.assertEqual(came, (b"forged", ("10.99.0.77", 5)))

    def test_refused_congestion_control(self) -> None:
        """A congestion control that the kernel refuses is named with the reason; the others are
        used."""
        found = Results(machine={})
        with Lab() as lab:
            self.assertEqual(far.allowed(lab, ("reno", "no-such"), found), ["reno"])
        ((what, why),) = found.skipped.items()
        self.assertEqual(what, "congestion control no-such")
        self.assertIn("no no-such in this kernel", why)
