"""Files that change under a running node: when they are read anew, and what is said of it."""

from __future__ import annotations

import pickle
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Event, get_ident
from typing import Any, TypeVar

from twisted.internet import reactor as trial_reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.logger import LogEvent, Logger, formatEvent
from twisted.trial import unittest

from tests.support.certificates import DAY, Holder
from tests.support.configs import MINIMAL, ORIGINAL, SECRET
from tunmesh.auth.handshake import Key
from tunmesh.config import loading
from tunmesh.config.plain import plain
from tunmesh.config.section import Section
from tunmesh.errors import OperatorError
from tunmesh.host.file_thread import FileThread
from tunmesh.service.file_watch import PATIENCE
from tunmesh.service.load import LoadedConfig, complaints, load, load_in_child
from tunmesh.service.reload import LOOK, Reloader

T = TypeVar("T")
reactor: Any = trial_reactor

OTHER = "another-secret-that-is-long-enough-for-this"
ENOUGH = 3 * LOOK  # to see a change, see that it is still, and act


class Elsewhere:
    """Runs what it is given at once, or, while it `hangs`, when it is let go on."""

    def __init__(self) -> None:
        self.hangs = False
        self.waiting: list[tuple[Callable[[], Any], Deferred[Any]]] = []

    def run(self, function: Callable[[], T]) -> Deferred[T]:
        if not self.hangs:
            return maybeDeferred(function)
        answer: Deferred[T] = Deferred()
        self.waiting.append((function, answer))
        return answer

    def go_on(self) -> None:
        self.hangs = False
        waiting, self.waiting = self.waiting, []
        for function, answer in waiting:
            maybeDeferred(function).chainDeferred(answer)


class ReloadCase(unittest.SynchronousTestCase):
    """The files of a node, as Kubernetes mounts them: names that lead into a directory which is
    replaced as a whole."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir()
        self.versions = 0
        mesh = Holder("mesh", end=365 * DAY)
        self.contents: dict[str, bytes] = {
            "config.yaml": MINIMAL.replace(f"secret: {SECRET}", "secret_file: secret").encode(),
            "cert.pem": mesh.pem(),
            "key.pem": mesh.key_pem(),
            "secret": SECRET.encode(),
        }
        for name in self.contents:
            (self.directory / name).symlink_to(f"..data/{name}")
        self.swap()
        self.clock = Clock()
        self.now = time.time()
        self.events: list[LogEvent] = []
        self.applied: list[LoadedConfig] = []
        self.path = self.directory / "config.yaml"
        self.begin()

    def begin(self) -> None:
        """What a start does."""
        keep: Any = self.events.append
        self.aside = Elsewhere()
        self.reloader = Reloader(
            self.clock,
            self.path,
            load(self.path),
            lambda: load(self.path),
            self.applied.append,
            lambda: self.now,
            Logger(namespace="tunmesh", observer=keep),
            self.aside,
        )
        self.reloader.start()

    def tearDown(self) -> None:
        self.reloader.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        for text in self.texts():
            self.assertNotIn(SECRET, text)
            self.assertNotIn(OTHER, text)

    def swap(self, **contents: bytes) -> None:
        """Replace all files at once; names with _ for the dot."""
        self.contents |= {name.replace("_", "."): data for name, data in contents.items()}
        self.versions += 1
        version = self.directory / f"..{self.versions}"
        version.mkdir()
        for name, data in self.contents.items():
            (version / name).write_bytes(data)
        (self.directory / "..new").symlink_to(version.name)
        (self.directory / "..new").rename(self.directory / "..data")
        if self.versions > 1:
            shutil.rmtree(self.directory / f"..{self.versions - 1}")

    def config(self, old: str, new: str) -> None:
        """Replace a piece of the config."""
        text = self.contents["config.yaml"].decode()
        self.assertEqual(text.count(old), 1)
        self.swap(config_yaml=text.replace(old, new).encode())

    def texts(self) -> list[str]:
        return [formatEvent(event) for event in self.events]

    def named(self, event: str) -> list[str]:
        return [formatEvent(each) for each in self.events if each["event"] == event]

    def pass_time(self, seconds: float = ENOUGH) -> None:
        self.clock.pump([LOOK / 4] * round(4 * seconds / LOOK))


class OnDisk(ReloadCase):
    """Files that change by themselves."""

    def test_nothing_changes(self) -> None:
        """As long as they stay as they are, nothing is done and nothing is said."""
        self.pass_time(100)
        self.assertEqual((self.applied, self.events), ([], []))

    def test_swapped(self) -> None:
        """A secret that an orchestrator replaces is used without anybody's doing; the log says what
        became of the old one."""
        self.swap(secret=OTHER.encode())
        self.pass_time()
        (loaded,) = self.applied
        self.assertEqual(loaded.reloadable.keys, (Key.derive(OTHER.encode()),))
        self.assertEqual(self.texts(), ["reloaded: secret (offers a new one, revokes 1)"])

    def test_touched(self) -> None:
        """Files that are replaced by the same ones are read, but nothing is new."""
        self.swap()
        self.pass_time()
        self.assertEqual((self.applied, self.events), ([], []))

    def test_while_it_is_written(self) -> None:
        """A file that still grows is left alone until it does not: half a secret may be long enough
        to pass for one."""
        file = self.directory / "secret"
        for length in range(32, len(OTHER)):
            file.write_text(OTHER[:length])
            self.pass_time(LOOK)
        self.assertEqual(self.applied, [])
        file.write_text(OTHER)
        self.pass_time()
        self.assertEqual([r.reloadable.keys[0] for r in self.applied], [Key.derive(OTHER.encode())])

    def test_certificate(self) -> None:
        """A renewed certificate is used, once the key that belongs to it is there as well."""
        renewed = Holder("mesh", end=365 * DAY)
        self.swap(cert_pem=renewed.pem())
        self.pass_time()
        self.assertEqual(self.applied, [])
        (complaint,) = self.named("reload_failed")
        self.assertIn("key.pem: is not the private key of the certificate in", complaint)
        self.swap(key_pem=renewed.key_pem())
        self.pass_time()
        self.assertEqual(len(self.applied), 1)
        (text,) = self.named("reloaded")
        self.assertTrue(text.startswith("reloaded: certificate (valid until "), text)

    def test_new_files(self) -> None:
        """Files that the new config names, and that the old one did not, are looked after too."""
        (self.directory / "other").write_text(SECRET)
        self.config("secret_file: secret", "secret_file: other")
        self.pass_time()
        self.assertEqual(self.applied, [])
        (self.directory / "other").write_text(OTHER)
        self.pass_time()
        self.assertEqual([r.reloadable.keys[0] for r in self.applied], [Key.derive(OTHER.encode())])

    def test_gone(self) -> None:
        """A file that is away for a while is no reason to forget what it said."""
        self.config("secret_file: secret", "secret_file: later")
        self.pass_time()
        self.assertIn("later does not exist", self.named("reload_failed")[0])
        self.assertEqual(self.applied, [])
        (self.directory / "later").write_text(OTHER)
        self.pass_time()
        self.assertEqual(len(self.applied), 1)


class NoGood(ReloadCase):
    """Files that are wrong."""

    def test_said_once(self) -> None:
        """What is wrong is said once, in the words of the start; nothing changes, not even what is
        right in the same file; and when it is right again, it counts."""
        self.swap(secret=OTHER.encode())
        self.config("config_version: 1.1", "config_version: 1.1\n  typo: 1")
        self.pass_time(100)
        (text,) = self.texts()
        self.assertTrue(
            text.startswith(
                f"not reloaded, everything stays as it was: {self.path}:3: tun_mesh/typo: is not "
            ),
            text,
        )
        self.assertEqual(self.applied, [])
        self.config("\n  typo: 1", "")
        self.pass_time()
        self.assertEqual(len(self.applied), 1)

    def test_everything(self) -> None:
        """Everything that is wrong is said, a line for each, certificates too; and once."""
        self.swap(cert_pem=b"", secret=b"hunter2")
        self.config("config_version: 1.1", "config_version: 1.1\n  networkin: 1")
        self.pass_time(100)
        self.reloader.stop()
        start, auth = "not reloaded, everything stays as it was: ", "tun_mesh/clustering/auth"
        certificate = f"tun_mesh/control_api/ssl/cert_file_path: {self.directory}/cert.pem"
        self.assertEqual(
            self.texts(),
            [
                f"{start}{self.path}:3: tun_mesh/networkin: is not a key; did you mean networking?",
                f"{start}{self.path}:7: {auth}/secret_file: must be a file with a secret of 32 to "
                f"4096 characters; {self.directory}/secret is not",
                f"{start}{self.path}:14: {certificate}: is empty; it must hold a certificate in "
                "PEM form",
            ],
        )

    def test_other_complaint(self) -> None:
        """Something else that is wrong is said too."""
        self.swap(secret=b"short")
        self.pass_time()
        self.swap(config_yaml=b"tun_mesh: [\n")
        self.pass_time()
        self.assertEqual(len(self.named("reload_failed")), 2)

    def test_said_again_when_asked(self) -> None:
        """Who sends HUP wants to know, each time."""
        self.swap(secret=b"short")
        for _ in range(3):
            self.reloader.hang_up()
        self.assertEqual(len(self.named("reload_failed")), 3)


class Doubtful(ReloadCase):
    """Files that can be used, and should not be."""

    def doubts(self) -> list[str]:
        return self.named("doubtful_config")

    def test_new_doubt(self) -> None:
        """What is doubtful is said when it is new, and not again with each reading."""
        self.swap(secret=b"abc" * 20)
        self.pass_time()
        self.config("uid: 1000", "uid: 1001")
        self.pass_time()
        (doubt,) = self.doubts()
        self.assertIn(f"{self.path}:6: tun_mesh/clustering/auth/secret_file: has too little", doubt)

    def test_at_the_start(self) -> None:
        """What was doubtful from the beginning is said at the start; that the certificate expires,
        by itself."""
        self.reloader.stop()
        early = Holder("mesh", begin=DAY, end=5 * DAY)
        self.swap(secret=b"password1" * 4, cert_pem=early.pem(), key_pem=early.key_pem())
        self.begin()
        secret, certificate = self.doubts()
        self.assertIn("secret_file: is a pattern that repeats or counts up", secret)
        self.assertIn("cert_file_path: is not valid before ", certificate)
        self.assertEqual(len(self.named("certificate_expires")), 1)


class HangUp(ReloadCase):
    """Somebody says that something has changed."""

    def test_at_once(self) -> None:
        """It is read at once, and what is new is said in one line."""
        text = self.contents["config.yaml"].decode()
        text = text.replace("secret_file: secret", f"secrets: [{OTHER}, {SECRET}]")
        text = text.replace("      default:", "      other:")
        self.swap(config_yaml=(text + "  logging: {level: debug, levels: {link: warn}}\n").encode())
        self.reloader.hang_up()
        self.assertEqual(
            self.texts(),
            [
                "reloaded: secret (offers a new one, still accepts 1 other); "
                "bootstrap groups (other new, default gone); logging (debug, text, link warn)"
            ],
        )
        self.assertEqual(self.applied[0].config.logging.level, "debug")

    def test_nothing_new(self) -> None:
        """That nothing has changed is said too."""
        self.reloader.hang_up()
        self.assertEqual(self.texts(), ["reloaded: nothing has changed"])
        self.assertEqual(self.applied, [])

    def test_nothing_now(self) -> None:
        """When all that has changed waits for the next start, HUP is answered with just that, each
        time."""
        self.config("uid: 1000", "uid: 1001")
        for _ in range(2):
            self.reloader.hang_up()
        keys = "tun_mesh/process/uid, tun_mesh/process/gid"
        text = f"changed, but takes effect at the next start: {keys}"
        self.assertEqual(self.texts(), [text, text])

    def test_next_start(self) -> None:
        """Keys that a running node cannot follow are named, once; what it can follow counts. When
        they are as before, they are forgotten."""
        self.config("uid: 1000", "uid: 1001\n    gid: 1000")
        self.config("    ipv4:", "    tun_device_id: tun7\n    ipv4:")
        self.swap(secret=OTHER.encode())
        self.pass_time()
        self.swap(secret=SECRET.encode())
        self.pass_time()
        self.assertEqual(len(self.applied), 2)
        self.assertEqual(
            self.named("restart_needed"),
            [
                "changed, but takes effect at the next start: "
                "tun_mesh/networking/tun_device_id, tun_mesh/process/uid"
            ],
        )

    def test_ranges(self) -> None:
        """A range in the config is not another value each time it is read, which would be a change
        that nobody made."""
        self.config(
            "uid: 1000", "uid: 1000\n    timing: {registrations: {startup_grace: 1..1000s}}"
        )
        first = load(self.path).config
        self.assertEqual(load(self.path).config, first)


class BeforeBootstrap(ReloadCase):
    """The list of nodes to look for, when it is needed."""

    def test_if_so_configured(self) -> None:
        """With reload_config_on_bootstrap, what has changed counts before the next attempt, at
        once; without it, it does not. The key itself can be switched on while the node runs."""
        self.config("https://bob.example:4567", "https://carol.example:4567")
        self.reloader.before_bootstrap()
        self.assertEqual(self.applied, [])
        self.config("    auth:", "    reload_config_on_bootstrap: true\n    auth:")
        self.reloader.hang_up()
        self.config("carol", "dave")
        self.reloader.before_bootstrap()
        targets = [loaded.reloadable.groups[0].targets for loaded in self.applied]
        self.assertEqual(targets, [(("carol.example", 4567),), (("dave.example", 4567),)])


class HungMount(ReloadCase):
    """Files that do not answer: whoever looks at them waits, perhaps for ever."""

    def test_said_once(self) -> None:
        """That a file hangs is said once, with its name; nothing piles up behind it; and when it
        answers, that is said and what has changed counts."""
        self.aside.hangs = True
        self.swap(secret=OTHER.encode())
        self.pass_time(PATIENCE)
        self.assertEqual(self.events, [])
        self.pass_time(100)
        (text,) = self.texts()
        self.assertTrue(text.startswith(f"{self.path}, or what it leads to, does not answer"), text)
        self.assertEqual(len(self.aside.waiting), 1)
        self.aside.go_on()
        self.pass_time()
        _, answers, reloaded = self.texts()
        self.assertIn("answers again, after 1", answers)
        self.assertIn("reloaded: secret", reloaded)
        self.aside.hangs = True
        self.pass_time(2 * PATIENCE)
        self.assertEqual(len(self.named("files_hang")), 2)

    def test_asked_meanwhile(self) -> None:
        """Who sends HUP while a file hangs is answered when it does not any more; all of them by
        one reading."""
        self.aside.hangs = True
        self.pass_time(LOOK)
        answers = [self.reloader.hang_up() for _ in range(3)]
        self.reloader.before_bootstrap()
        self.pass_time(PATIENCE)
        self.assertEqual(len(self.aside.waiting), 1)
        self.assertNoResult(answers[0])
        self.aside.go_on()
        for answer in answers:
            self.successResultOf(answer)
        self.assertEqual(self.named("reloaded"), ["reloaded: nothing has changed"])

    def test_stopped_meanwhile(self) -> None:
        """A node that has left does not care for what comes of it."""
        self.aside.hangs = True
        self.swap(secret=OTHER.encode())
        answer = self.reloader.hang_up()
        self.reloader.stop()
        self.aside.go_on()
        self.assertEqual(self.applied, [])
        self.assertNoResult(answer)

    def test_bug(self) -> None:
        """A bug of ours is logged, answers who has asked, and does not end the looking."""
        self.patch(self.reloader, "_find", lambda _files: 1 // 0)
        self.successResultOf(self.reloader.hang_up())
        self.assertEqual([event["event"] for event in self.events], ["bug"])


class Hanging(unittest.TestCase):
    """The thread for what may hang."""

    timeout = 20

    async def test_order(self) -> None:
        """Functions run one behind the other in one thread, which is not the reactor's. One that
        hangs keeps up those behind it and nobody else."""
        aside, held, log = FileThread(reactor, "test"), Event(), list[str]()

        def hang() -> int:
            log.append("hangs")
            held.wait()
            return get_ident()

        first, second = aside.run(hang), aside.run(get_ident)
        third = aside.run(lambda: 1 // 0)
        while not log:
            await _turn()
        for _ in range(100):
            await _turn()
        self.assertFalse(first.called or second.called)
        held.set()
        thread = await first
        self.assertNotEqual(thread, get_ident())
        self.assertEqual(await second, thread)
        with self.assertRaises(ZeroDivisionError):
            await third


def _turn() -> Deferred[None]:
    turned: Deferred[None] = Deferred()
    reactor.callLater(0.001, turned.callback, None)
    return turned


class Apart(ReloadCase):
    """The config, read by a child process."""

    def test_same(self) -> None:
        """What the child hands over is the same as what is read here. Using it needs none of the
        modules that read it; values of ranges are the same as well."""
        self.config(
            "uid: 1000", "uid: 1000\n    timing: {registrations: {startup_grace: 1..1000s}}"
        )
        self.assertEqual(load_in_child(self.path), load(self.path))
        self.assertNotIn(SECRET, repr(load_in_child(self.path)))
        code = (
            "import sys; from pathlib import Path; "
            "from tunmesh.service import composition, load, settings; "
            f"loaded = load.load_in_child(Path({str(self.path)!r})); "
            "settings.settings_of(loaded.config, loaded.reloadable); "
            "sys.exit('pydantic' in sys.modules or 'yaml' in sys.modules)"
        )
        self.assertEqual(subprocess.run([sys.executable, "-c", code]).returncode, 0)

    def test_refused(self) -> None:
        """What is wrong is told as if there had been no child: all of it."""
        self.swap(config_yaml=b"tun_mesh: {typo: 1}\n", secret=b"short")
        with self.assertRaises(OperatorError) as here:
            load(self.path)
        with self.assertRaises(OperatorError) as there:
            load_in_child(self.path)
        lines = complaints(self.path, there.exception)
        self.assertGreater(len(lines), 3)
        self.assertEqual(lines, complaints(self.path, here.exception))

    def test_plain(self) -> None:
        """The plain config has what the checked one has: every key, and what is made of them."""
        for text in (MINIMAL, ORIGINAL):
            self.swap(config_yaml=text.encode())
            for name in ("ca.pem", "cert.pem", "key.pem"):
                if not (self.directory / name).exists():
                    (self.directory / name).touch()
            checked = loading.load(self.path, {}, lambda low, _: low)
            self.compare(checked, plain(checked))
            self.assertEqual(pickle.loads(pickle.dumps(plain(checked))), plain(checked))

    def compare(self, checked: Any, flat: Any) -> None:
        for name in type(checked).model_fields:
            before, after = getattr(checked, name), getattr(flat, name)
            if isinstance(before, Section):
                self.compare(before, after)
            elif isinstance(before, Mapping):
                self.assertEqual(before.keys(), after.keys())
            elif "secret" not in name:
                self.assertEqual(before, after, name)
        with self.assertRaises(AttributeError):
            flat.anything = 1


class Expiry(ReloadCase):
    """A certificate that comes to its end."""

    def test_in_time(self) -> None:
        """The log says so 30, 7 and 1 days before, and at the end, once each; a renewed one begins
        anew."""
        mesh = Holder("mesh", end=40 * DAY)
        self.swap(cert_pem=mesh.pem(), key_pem=mesh.key_pem())
        self.pass_time()
        began = self.now
        said: list[tuple[int, str]] = []
        for day in range(42):
            self.now = began + day * DAY.total_seconds() + 60
            self.pass_time()
            said += [(day, text) for text in self.named("certificate_expires")[len(said) :]]
        name = self.directory / "cert.pem"
        self.assertEqual(
            said,
            [
                (10, f"{name}: the certificate expires in 29 days, renew it"),
                (33, f"{name}: the certificate expires in 6 days, renew it"),
                (39, f"{name}: the certificate expires within a day, renew it"),
                (40, f"{name}: the certificate has expired: no peer accepts it any more, renew it"),
            ],
        )
