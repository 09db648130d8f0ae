"""The fuzzer's corpus, replayed without the fuzzer, and the output of its runner."""

from __future__ import annotations

from pathlib import Path

from twisted.trial import unittest

from fuzz import corpus, seeds
from fuzz.__main__ import complaints, row
from fuzz.choices import Choices
from fuzz.run import read_outcome
from fuzz.targets import TARGETS, check_of

LOG = Path("packet.log")
CLEAN = """\
Done 38142 runs in 8 second(s)
stat::number_of_executed_units: 38142
stat::average_exec_per_sec:     4767
stat::new_units_added:          1
"""
FAILED = """\
 === Uncaught Python exception: ===
AssertionError
artifact_prefix='/tmp/'; Test unit written to /tmp/packet-crash-d59dc136
stat::number_of_executed_units: 12
"""


class Corpus(unittest.SynchronousTestCase):
    """The files in fuzz/corpus."""

    def replays(self, target: str) -> None:
        check = check_of(target)
        for path in corpus.files(target):
            try:
                check(path.read_bytes())
            except Exception as error:
                raise self.failureException(f"{path}: {error!r}") from error

    def test_netstring(self) -> None:
        """Frames are decoded the same in chunks of any size."""
        self.replays("netstring")

    def test_messages(self) -> None:
        """Messages are refused as malformed, or encode to the same bytes again."""
        self.replays("messages")

    def test_handshake(self) -> None:
        """No end is authentic if its messages were tampered with."""
        self.replays("handshake")

    def test_packet(self) -> None:
        """A frame reaches the tun only if all of it is valid."""
        self.replays("packet")

    def test_segments(self) -> None:
        """Datagrams are joined and split without loss."""
        self.replays("segments")

    def test_datagrams(self) -> None:
        """Of frames that arrive over UDP nothing is changed, whatever was lost."""
        self.replays("datagrams")

    def test_gossip(self) -> None:
        """Lying members do not confuse a roster."""
        self.replays("gossip")

    def test_config(self) -> None:
        """Any file is loaded as a config or refused with lines for a person."""
        self.replays("config")

    def test_dns(self) -> None:
        """Packets at the DNS address, queries and answers of name servers do no harm."""
        self.replays("dns")

    def test_assigner(self) -> None:
        """The helper puts no address but hosts of its networks, two of each at most."""
        self.replays("assigner")

    def test_news(self) -> None:
        """The addresses of the host are those of a parser that replays the whole history."""
        self.replays("news")

    def test_replays(self) -> None:
        """The window that recognises replays agrees with a set of all counters."""
        self.replays("replays")

    def test_icmp(self) -> None:
        """A packet is answered once or not at all, and errors of peers are about own packets."""
        self.replays("icmp")

    def test_reports(self) -> None:
        """What is said of groups is believed and kept within bounds."""
        self.replays("reports")

    def test_streams(self) -> None:
        """Whatever neighbours say of streams, what is carried stays theirs, counted and bounded."""
        self.replays("streams")

    def test_every_target_is_replayed(self) -> None:
        """Every target has a test above, and a corpus."""
        for target in TARGETS:
            self.assertTrue(hasattr(self, f"test_{target}"), target)
            self.assertGreater(len(corpus.files(target)), 3, target)

    def test_size(self) -> None:
        """The corpus stays small enough to be in the repository."""
        sizes = [path.stat().st_size for target in TARGETS for path in corpus.files(target)]
        self.assertLess(sum(sizes), 200_000)

    def test_seeds(self) -> None:
        """The inputs made of real messages are up to date: python -m fuzz seed."""
        for target, inputs in seeds.seeds().items():
            real = {
                path.name.removeprefix("real-"): path.read_bytes()
                for path in corpus.files(target)
                if path.name.startswith("real-")
            }
            self.assertEqual(real, dict(inputs), target)

    def test_shrinking(self) -> None:
        """An input is kept only if it takes a path through the code that others do not."""
        check = check_of("netstring")
        whole, again, cut = b"\xff\x005:hello,", b"\xff\x005:world,", b"\xff\x005:hel"
        self.assertEqual(corpus.steps_of(check, whole), corpus.steps_of(check, again))
        self.assertNotEqual(corpus.steps_of(check, whole), corpus.steps_of(check, cut))


class Choosing(unittest.SynchronousTestCase):
    """Decisions made from bytes."""

    def test_choices(self) -> None:
        """Each decision takes a byte; when none are left, every one is 0, the first or empty."""
        choices = Choices(b"\x07\x01\x05abc")
        self.assertEqual(choices.number(5), 2)
        self.assertEqual(choices.pick("xyz"), "y")
        self.assertEqual(choices.some("xyz"), ["x", "z"])
        self.assertEqual(choices.take(2), b"ab")
        self.assertTrue(choices)
        self.assertEqual(choices.rest(), b"c")
        self.assertFalse(choices)
        self.assertEqual((choices.number(), choices.pick("xyz"), choices.some("xyz")), (0, "x", []))


class Runner(unittest.SynchronousTestCase):
    """The output of a run."""

    def test_clean(self) -> None:
        """A target without failures is a line of figures, without a complaint."""
        outcome = read_outcome("packet", 0, CLEAN, 3, LOG)
        self.assertEqual(row(outcome).split(), ["packet", "38,142", "4,767", "3", "clean"])
        self.assertEqual(complaints([outcome]), [])

    def test_failed(self) -> None:
        """A failed target names the input, and the command that reproduces the failure."""
        outcome = read_outcome("packet", 77, FAILED, 0, LOG)
        self.assertFalse(outcome.is_clean)
        self.assertIn("failed", row(outcome))
        (line,) = complaints([outcome])
        self.assertIn("-m fuzz replay packet /tmp/packet-crash-d59dc136", line)

    def test_slow(self) -> None:
        """Input that takes too much time or memory is a failure too."""
        for code, verdict in ((70, "too slow"), (71, "too much memory")):
            outcome = read_outcome("config", code, FAILED, 0, LOG)
            self.assertEqual((outcome.verdict, outcome.is_clean), (verdict, False))

    def test_did_not_run(self) -> None:
        """A target that executed nothing does not count as clean; its log is named."""
        for code in (0, 1):
            outcome = read_outcome("packet", code, "ImportError", 0, LOG)
            self.assertFalse(outcome.is_clean)
            self.assertEqual(len(complaints([outcome])), 1)
            self.assertIn("packet.log", complaints([outcome])[0])
