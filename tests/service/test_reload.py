"""Files that change while a node runs: when they are read again, and what is logged."""

from __future__ import annotations

from tests.service.reload_case import OTHER, ReloadCase
from tests.support.certificates import DAY, Holder
from tests.support.configs import SECRET
from tunmesh.auth.handshake import Key
from tunmesh.service.load import load
from tunmesh.service.reload import LOOK


class OnDisk(ReloadCase):
    """Files that change by themselves."""

    def test_nothing_changes(self) -> None:
        """As long as no file changes, nothing is applied and nothing is logged."""
        self.pass_time(100)
        self.assertEqual((self.applied, self.events), ([], []))

    def test_swapped(self) -> None:
        """A secret that an orchestrator replaces is used without further action; the log says what
        became of the old one."""
        self.swap(secret=OTHER.encode())
        self.pass_time()
        (loaded,) = self.applied
        self.assertEqual(loaded.reloadable.keys, (Key.derive(OTHER.encode()),))
        self.assertEqual(self.texts(), ["reloaded: secret (offers a new one, revokes 1)"])

    def test_touched(self) -> None:
        """Files that are replaced by equal ones are read, but nothing is applied."""
        self.swap()
        self.pass_time()
        self.assertEqual((self.applied, self.events), ([], []))

    def test_while_it_is_written(self) -> None:
        """A file that grows is not read until it has stopped: half a secret may be long enough to
        be accepted."""
        file = self.directory / "secret"
        for length in range(32, len(OTHER)):
            file.write_text(OTHER[:length])
            self.pass_time(LOOK)
        self.assertEqual(self.applied, [])
        file.write_text(OTHER)
        self.pass_time()
        self.assertEqual([r.reloadable.keys[0] for r in self.applied], [Key.derive(OTHER.encode())])

    def test_certificate(self) -> None:
        """A renewed certificate is used as soon as its key is there as well."""
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
        """Files that only the new config names are watched too."""
        (self.directory / "other").write_text(SECRET)
        self.config("secret_file: secret", "secret_file: other")
        self.pass_time()
        self.assertEqual(self.applied, [])
        (self.directory / "other").write_text(OTHER)
        self.pass_time()
        self.assertEqual([r.reloadable.keys[0] for r in self.applied], [Key.derive(OTHER.encode())])

    def test_gone(self) -> None:
        """What was in a file stays in force while the file is missing."""
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
        """An error is logged once, with the same text as at a start. Nothing changes, not even what
        is right in the same file; when the file is right again, it is applied."""
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
        self.assertEqual(self.reloader.notes(), (text,))
        self.config("\n  typo: 1", "")
        self.pass_time()
        self.assertEqual(len(self.applied), 1)
        self.assertEqual(self.reloader.notes(), ())

    def test_everything(self) -> None:
        """Every error is logged, in a line of its own, also those in certificates; and once."""
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
        """A different error is logged as well."""
        self.swap(secret=b"short")
        self.pass_time()
        self.swap(config_yaml=b"tun_mesh: [\n")
        self.pass_time()
        self.assertEqual(len(self.named("reload_failed")), 2)

    def test_said_again_when_asked(self) -> None:
        """After HUP the errors are logged each time."""
        self.swap(secret=b"short")
        for _ in range(3):
            self.reloader.hang_up()
        self.assertEqual(len(self.named("reload_failed")), 3)


class Doubtful(ReloadCase):
    """Files that can be used, but deserve a warning."""

    def doubts(self) -> list[str]:
        return self.named("doubtful_config")

    def test_new_doubt(self) -> None:
        """A warning is logged when it is new, and not again each time the files are read."""
        self.swap(secret=b"abc" * 20)
        self.pass_time()
        self.config("uid: 1000", "uid: 1001")
        self.pass_time()
        (doubt,) = self.doubts()
        self.assertIn(f"{self.path}:6: tun_mesh/clustering/auth/secret_file: has too little", doubt)

    def test_at_the_start(self) -> None:
        """Warnings about the first config are logged at the start; the expiry of the certificate
        has an event of its own."""
        self.reloader.stop()
        early = Holder("mesh", begin=DAY, end=5 * DAY)
        self.swap(secret=b"password1" * 4, cert_pem=early.pem(), key_pem=early.key_pem())
        self.begin()
        secret, certificate = self.doubts()
        self.assertIn("secret_file: is a pattern that repeats or counts up", secret)
        self.assertIn("cert_file_path: is not valid before ", certificate)
        self.assertEqual(len(self.named("certificate_expires")), 1)


class HangUp(ReloadCase):
    """HUP: somebody says that something has changed."""

    def test_at_once(self) -> None:
        """The files are read at once, and one line says what is new."""
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

    def test_device_without_helper(self) -> None:
        """A node without a helper process says that MTU and addresses need a restart."""
        self.config("networking:", "networking:\n    mtu: 9000")
        self.config("10.77.1.2/24", "[10.77.1.2/24, 10.77.1.9/24]")
        self.reloader.hang_up()
        keys = "tun_mesh/networking/mtu, tun_mesh/networking/ipv4/node_address_cidr"
        self.assertEqual(self.texts(), [f"changed, but takes effect at the next start: {keys}"])
        self.assertEqual(self.applied, [])

    def test_device(self) -> None:
        """With a helper process they are followed, but not into another network, nor to or from
        an automatic address."""
        self.config("networking:", "networking:\n    device_helper: true")
        self.reloader.stop()
        self.begin()
        self.config("10.77.1.2/24", "[10.77.1.2/24, 10.77.1.9/24]")
        self.config("device_helper: true", "device_helper: true\n    mtu: 9000")
        self.config("mtu: 9000", "mtu: 9000\n    txqueuelen: 2000")
        self.reloader.hang_up()
        self.assertEqual(
            self.texts(),
            [
                "reloaded: mtu (9000); txqueuelen (2000); "
                "node_address_cidr (10.77.1.2/24, 10.77.1.9/24)"
            ],
        )
        device = self.applied[-1].reloadable.device
        self.assertEqual((device.mtu, device.queue, len(device.addresses)), (9000, 2000, 2))
        self.config("10.77.0.0/16", "10.77.0.0/20")
        self.config("[10.77.1.2/24, 10.77.1.9/24]", "10.77.2.2/24")
        self.config("mtu: 9000", "mtu: 1400")
        self.reloader.hang_up()
        kept = self.applied[-1].reloadable.device
        self.assertEqual((kept.mtu, kept.queue), (1400, 2000))
        self.assertEqual([str(each) for each in kept.addresses], ["10.77.1.2/24"])
        self.config("10.77.0.0/20", "10.77.0.0/16")
        self.config("10.77.2.2/24", "auto")
        self.reloader.hang_up()
        self.assertIn("networking/ipv4/node_address_cidr", self.texts()[-1])

    def test_nothing_new(self) -> None:
        """That nothing has changed is logged too."""
        self.reloader.hang_up()
        self.assertEqual(self.texts(), ["reloaded: nothing has changed"])
        self.assertEqual(self.applied, [])

    def test_nothing_now(self) -> None:
        """When all changes need a restart, HUP is answered with just that, each time."""
        self.config("uid: 1000", "uid: 1001")
        for _ in range(2):
            self.reloader.hang_up()
        keys = "tun_mesh/process/uid, tun_mesh/process/gid"
        text = f"changed, but takes effect at the next start: {keys}"
        self.assertEqual(self.texts(), [text, text])
        note = f"changed in the config, but takes effect at the next start: {keys}"
        self.assertEqual(self.reloader.notes(), (note,))

    def test_next_start(self) -> None:
        """Keys that a running node cannot follow are named, once; the others are applied. Keys that
        are changed back are forgotten."""
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
        """A range in the config gives the same value each time it is read; otherwise there would be
        a change that nobody made."""
        self.config(
            "uid: 1000", "uid: 1000\n    timing: {registrations: {startup_grace: 1..1000s}}"
        )
        first = load(self.path).config
        self.assertEqual(load(self.path).config, first)


class BeforeBootstrap(ReloadCase):
    """Bootstrap URLs, just before they are dialed."""

    def test_if_so_configured(self) -> None:
        """With reload_config_on_bootstrap, changes are applied before the next attempt; without it,
        they are not. The key itself can be changed while the node runs."""
        self.config("https://bob.example:4567", "https://carol.example:4567")
        self.reloader.before_bootstrap()
        self.assertEqual(self.applied, [])
        self.config("    auth:", "    reload_config_on_bootstrap: true\n    auth:")
        self.reloader.hang_up()
        self.config("carol", "dave")
        self.reloader.before_bootstrap()
        targets = [loaded.reloadable.groups[0].targets for loaded in self.applied]
        self.assertEqual(targets, [(("carol.example", 4567),), (("dave.example", 4567),)])


class Expiry(ReloadCase):
    """A certificate that expires."""

    def test_in_time(self) -> None:
        """The log says so 30, 7 and 1 days before, and at the end, once each; with a renewed one
        the count starts again."""
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
                (39, f"{name}: the certificate expires in 23 hours, renew it"),
                (
                    40,
                    f"{name}: the certificate has expired: nodes that dial this one refuse it, "
                    "renew it",
                ),
            ],
        )
