"""`tunmesh secret` and `tunmesh certificate`, and nodes that use the files that they make."""

from __future__ import annotations

import datetime
import os
import stat
from pathlib import Path

from click.testing import Result
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa, x25519
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from twisted.trial import unittest

from tests.cli.test_cli import run
from tests.support import netns
from tests.support.certificates import Holder
from tests.support.realnode import OWNER, Ground
from tests.tls.test_credentials import Meeting
from tunmesh.errors import OperatorError
from tunmesh.pki import issue
from tunmesh.tls import certificates
from tunmesh.tls.credentials import Credentials


class Workshop(Meeting):
    """A directory in which the commands are run."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir()

    def make(self, command: str, *options: str) -> Result:
        """Run a command that succeeds; `command` may have several words."""
        result = run(*command.split(), *options)
        self.assertEqual((result.exit_code, result.stderr), (0, ""))
        return result

    def certificate(self, *options: str, directory: str = ".") -> Path:
        """Make a certificate in a subdirectory, which is returned."""
        place = self.directory / directory
        place.mkdir(exist_ok=True)
        self.make("certificate", "--dir", str(place), *options)
        return place

    def refused(self, text: str, *arguments: str) -> None:
        """The command prints one line, exits with 1, and leaves nothing new in the directory."""
        before = sorted(self.directory.rglob("*"))
        result = run(*arguments)
        self.assertEqual((result.exit_code, result.stdout), (1, ""))
        self.assertEqual(result.stderr.count("\n"), 1)
        self.assertIn(text, result.stderr)
        self.assertEqual(sorted(self.directory.rglob("*")), before)

    def mode(self, path: Path) -> str:
        return stat.filemode(path.stat().st_mode)


class SecretTests(Workshop):
    """`tunmesh secret`."""

    def test_printed(self) -> None:
        """It prints 256 bits, different ones each time."""
        made = {self.make("secret").stdout for _ in range(3)}
        self.assertEqual(len(made), 3)
        for secret in made:
            self.assertRegex(secret, r"\A[0-9a-f]{64}\n\Z")

    def test_written(self) -> None:
        """In a file, only its owner can read it, whatever the umask is; then it is not printed."""
        for umask in (0o000, 0o022, 0o777):
            self.addCleanup(os.umask, os.umask(umask))
            path = self.directory / f"secret-{umask:o}"
            self.assertEqual(self.make("secret", "--out", str(path)).output, "")
            self.assertEqual(self.mode(path), "-rw-------")
            self.assertRegex(path.read_text(), r"\A[0-9a-f]{64}\n\Z")
        self.assertEqual(len(list(self.directory.iterdir())), 3)

    def test_group(self) -> None:
        """With a group, that group may read it, and no other user."""
        path = self.directory / "secret"
        gid = os.getgid()
        self.make("secret", "--out", str(path), "--group", str(gid))
        self.assertEqual((self.mode(path), path.stat().st_gid), ("-rw-r-----", gid))

    def test_never_overwritten(self) -> None:
        """An existing secret is not overwritten, even if it is a dangling link; --force replaces
        it, and the old file's mode with it."""
        path = self.directory / "secret"
        path.write_text("precious")
        path.chmod(0o644)
        self.refused(f"{path}: exists already; --force", "secret", "--out", str(path))
        self.assertEqual(path.read_text(), "precious")
        self.make("secret", "--force", "--out", str(path))
        self.assertEqual((len(path.read_text()), self.mode(path)), (65, "-rw-------"))
        dangling = self.directory / "dangling"
        dangling.symlink_to("nowhere")
        self.refused("exists already", "secret", "--out", str(dangling))

    def test_impossible(self) -> None:
        """A directory or group that does not exist is named."""
        path = str(self.directory / "none" / "secret")
        self.refused(f"{path}: cannot be written: No such file", "secret", "--out", path)
        path = str(self.directory / "secret")
        self.refused("--group no.such: there is no", "secret", "--out", path, "--group", "no.such")


class CertificateTests(Workshop):
    """`tunmesh certificate`."""

    def test_files(self) -> None:
        """Only the owner can read the key, and any user the certificate, whatever the umask is;
        with a group, that group can read the key."""
        self.addCleanup(os.umask, os.umask(0o777))
        made = self.certificate()
        self.assertEqual(self.mode(made / "key.pem"), "-rw-------")
        self.assertEqual(self.mode(made / "cert.pem"), "-rw-r--r--")
        os.umask(0)
        self.certificate("--force", "--group", str(os.getgid()))
        self.assertEqual(self.mode(made / "key.pem"), "-rw-r-----")
        self.assertEqual(sorted(os.listdir(made)), ["cert.pem", "key.pem"])

    def test_elsewhere(self) -> None:
        """Name and directory of both files can be chosen; a line says how long they are valid."""
        cert, key = self.directory / "a", self.directory / "b"
        result = self.make(f"certificate --out-cert {cert} --out-key {key} --days 30")
        until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=30)
        self.assertEqual(result.stdout, f"{cert} and {key}: valid until {until:%Y-%m-%d}\n")
        certificates.load(cert, key, None, False)

    def test_contents(self) -> None:
        """A node's certificate lists its hosts, cannot sign others, and is for servers only."""
        made = self.certificate("--name", "Node1.example", "--address", "2001:db8::1")
        (cert,) = x509.load_pem_x509_certificates((made / "cert.pem").read_bytes())
        find = cert.extensions.get_extension_for_class
        hosts = find(x509.SubjectAlternativeName).value
        self.assertEqual(hosts.get_values_for_type(x509.DNSName), ["node1.example"])
        self.assertEqual(list(map(str, hosts.get_values_for_type(x509.IPAddress))), ["2001:db8::1"])
        self.assertFalse(find(x509.BasicConstraints).value.ca)
        self.assertFalse(find(x509.KeyUsage).value.key_cert_sign)
        self.assertEqual([use._name for use in find(x509.ExtendedKeyUsage).value], ["serverAuth"])
        load_pem_private_key((made / "key.pem").read_bytes(), None)

    def test_never_overwritten(self) -> None:
        """If one of the two files exists, neither is written."""
        made = self.certificate()
        before = (made / "cert.pem").read_bytes()
        (made / "key.pem").unlink()
        self.refused("cert.pem: exists already", "certificate", "--dir", str(made))
        self.assertEqual((made / "cert.pem").read_bytes(), before)

    def test_wrong_hosts(self) -> None:
        """Invalid names and addresses are refused, with what would be right."""
        for option, value, text in (
            ("--name", "192.0.2.1", "--name 192.0.2.1: is an address; give it as --address"),
            ("--name", "a b", "--name a b: must be a host name"),
            ("--name", "https://a.example", "must be a host name"),
            ("--name", "grün.example", "must be a host name"),
            ("--address", "a.example", "--address a.example: must be an IP address"),
        ):
            directory = ("--dir", str(self.directory))
            self.refused(text, "certificate", *directory, option, value)

    def test_wrong_authority(self) -> None:
        """A certificate that is no authority, or does not match its key, signs nothing."""
        shared = self.certificate(directory="shared")
        authority = self.certificate("--ca", directory="authority")
        command = ("certificate", "--dir", str(self.directory))
        for cert, key, text in (
            (shared / "cert.pem", shared / "key.pem", "is not that of an authority"),
            (authority / "ca.pem", shared / "key.pem", "is not the private key of"),
            (authority / "none.pem", shared / "key.pem", "none.pem: cannot be read"),
        ):
            self.refused(text, *command, "--ca-cert", str(cert), "--ca-key", str(key))
        for options in (("--ca-cert", "x"), ("--ca", "--name", "a.test")):
            self.assertEqual(run(*command, *options).exit_code, 2)

    def test_within_the_authority(self) -> None:
        """No certificate outlives its authority, and an expired authority signs none."""
        now = datetime.datetime.now(datetime.UTC)
        authority = issue.issue([], 10, now, is_authority=True)
        end = authority.certificate.not_valid_after_utc
        self.assertEqual(issue.issue([], 365, now, authority).certificate.not_valid_after_utc, end)
        later = now + datetime.timedelta(days=11)
        error = self.assertRaises(OperatorError, issue.issue, [], 1, later, authority)
        self.assertIn("has expired", str(error))

    def test_unusable_authority(self) -> None:
        """An authority that cannot sign, or whose certificates peers would refuse, is named before
        anything is written."""
        root = Holder("root")
        for key, what in (
            (x25519.X25519PrivateKey.generate(), "the key of --ca-key cannot sign certificates"),
            (rsa.generate_private_key(65537, 1024), "the key of an issuer of it is too weak"),
        ):
            ca = Holder("ca", issuer=root, key=key)
            files = self.directory / "weak.pem", self.directory / "weak-key.pem"
            files[0].write_bytes(ca.pem())
            files[1].write_bytes(ca.key_pem())
            options = f"--ca-cert {files[0]} --ca-key {files[1]} --dir {self.directory}"
            self.refused(what, "certificate", *options.split(), "--name", "a.test")


class TrustTests(Workshop):
    """Nodes that dial each other with the files that the commands made."""

    def credentials(self, made: Path, ca: Path | None = None) -> Credentials:
        return certificates.load(made / "cert.pem", made / "key.pem", ca, verify_hostname=True)

    def test_shared(self) -> None:
        """A shared certificate, which names no host, is accepted by nodes that trust that
        certificate."""
        made = self.certificate()
        shared = certificates.load(made / "cert.pem", made / "key.pem", None, False)
        self.assert_accepted(shared, shared)

    def test_names_and_addresses(self) -> None:
        """With verify_hostname, a certificate of the authority is accepted for each host that it
        was made for, and for no other."""
        authority = self.certificate("--ca", directory="authority")
        signed = ("--ca-cert", f"{authority}/ca.pem", "--ca-key", f"{authority}/ca-key.pem")
        hosts = ("--name", "a.test", "--name", "*.b.test", "--address", "192.0.2.1")
        a = self.credentials(self.certificate(*signed, *hosts, directory="a"), authority / "ca.pem")
        b = self.credentials(self.certificate(*signed, directory="b"), authority / "ca.pem")
        for name in ("a.test", "x.b.test", ""):
            self.assert_accepted(a, b, name)
        self.assert_refused("its certificate is not for c.test", a, b, "c.test")
        elsewhere = self.certificate(*signed, "--address", "192.0.2.7", directory="c")
        c = self.credentials(elsewhere, authority / "ca.pem")
        self.assert_refused("its certificate is not for 192.0.2.1", c, b)

    def test_other_authority(self) -> None:
        """A different authority of the same name is not trusted."""
        believed = []
        for name in ("one", "two"):
            place = self.certificate("--ca", directory=name)
            signed = ("--ca-cert", f"{place}/ca.pem", "--ca-key", f"{place}/ca-key.pem")
            made = self.certificate(*signed, "--address", "192.0.2.1", directory=f"{name}-a")
            believed.append(self.credentials(made, place / "ca.pem"))
        one, two = believed
        self.assert_refused("certificate verify failed", one, two)

    def test_foreign_authority(self) -> None:
        """An authority made by other software can sign as well, even without a key identifier."""
        root = Holder("root")
        issuer = issue.Issued(root.certificate, root.key)
        now = datetime.datetime.now(datetime.UTC)
        hosts = issue.host_names(["a.test"], [])
        made = issue.issue(hosts, 30, now, issuer)
        shown = Credentials((made.certificate,), made.key, (root.certificate,), True)
        self.assert_accepted(shown, shown, "a.test")


class RealNodesTests(unittest.TestCase):
    """Real nodes with files made by the commands."""

    skip = netns.skip_reason()

    async def test_verified_hosts(self) -> None:
        """Nodes with a secret and certificates made by the commands, as root for the group that
        they run as, are linked with verify_hostname."""
        ground = Ground(self, 2)
        place, group = ground.directory, str(OWNER.gid)
        run("certificate", "--ca", "--dir", str(place))
        run("secret", "--force", "--out", str(place / "secret"), "--group", group)
        ground.secret = (place / "secret").read_text().strip()
        signed = ("--ca-cert", f"{place}/ca.pem", "--ca-key", f"{place}/ca-key.pem")
        for number, plan in enumerate(ground.plans, 1):
            files = ("--out-cert", f"{place}/{plan.name}.pem", "--out-key", f"{place}/{number}.key")
            made = run("certificate", *signed, *files, "--address", plan.underlay, "--group", group)
            self.assertEqual(made.exit_code, 0, made.output)
            ground.change(
                number,
                control_api__ssl={
                    "ca_file_path": "ca.pem",
                    "cert_file_path": f"{plan.name}.pem",
                    "key_file_path": f"{number}.key",
                    "verify_hostname": True,
                },
            )
        one, other = await ground.linked(2)
        for node in (one, other):
            # A file that the group may not read would be named here.
            self.assertEqual(node.all_logged("not_reloadable"), [])
            self.assertEqual(node.all_logged("handshake_failed"), [])
