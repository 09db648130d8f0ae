"""Files with certificates and keys: errors are found before a peer finds them."""

from __future__ import annotations

import base64
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, rsa, x448, x25519
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID
from twisted.trial.unittest import SynchronousTestCase

from tests.support.certificates import Holder
from tunmesh.errors import OperatorError
from tunmesh.tls import certificates

DAY = timedelta(days=1)
SERVER, CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH
GOOD_KEYS = "use EC P-256, P-384 or P-521, Ed25519, or RSA of 2048 bits or more"


class FilesCase(SynchronousTestCase):
    """A directory with the certificate of a mesh and its key."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.mesh = Holder("mesh", "mesh.test")
        self.cert = self.file("cert.pem", self.mesh.pem())
        self.key = self.file("key.pem", self.mesh.key_pem())

    def file(self, name: str, content: bytes) -> Path:
        path = self.directory / name
        path.write_bytes(content)
        return path

    def files(self, holder: Holder, *issuers: Holder) -> tuple[Path, Path]:
        """Of a certificate, with its issuers behind it, and of its key."""
        chain = b"".join(each.pem() for each in (holder, *issuers))
        return self.file("its-cert.pem", chain), self.file("its-key.pem", holder.key_pem())

    def refusal(self, cert: Path, key: Path, ca: Path | None = None) -> str:
        error = self.assertRaises(OperatorError, certificates.load, cert, key, ca, False)
        self.assertTrue(str(error).isprintable())
        return str(error)


class ContentsTests(FilesCase):
    """Files as operators have them."""

    def test_certificate_for_all(self) -> None:
        """Without a CA file the node's own certificate is trusted."""
        loaded = certificates.load(self.cert, self.key, None, True)
        self.assertEqual(loaded.chain, (self.mesh.certificate,))
        self.assertEqual(loaded.trusted, loaded.chain)
        self.assertTrue(loaded.verify_hostname)

    def test_chain_and_authorities(self) -> None:
        """A certificate file may also have the issuers, a CA file may have several CAs."""
        root, other = Holder("root"), Holder("other")
        middle = Holder("middle", issuer=root)
        node = Holder("node", "node.test", issuer=middle, end=30 * DAY)
        authorities = self.file("ca.pem", root.pem() + other.pem())
        loaded = certificates.load(*self.files(node, middle), authorities, False)
        self.assertEqual(loaded.chain, (node.certificate, middle.certificate))
        self.assertEqual(loaded.trusted, (root.certificate, other.certificate))
        self.assertEqual(loaded.expiry, node.certificate.not_valid_after_utc.timestamp())

    def test_one_file_for_both(self) -> None:
        """Certificate and key may be in one file, in any order, with Windows line ends."""
        both = self.mesh.key_pem() + self.mesh.pem()
        path = self.file("both.pem", b"\xef\xbb\xbf" + both.replace(b"\n", b"\r\n"))
        certificates.load(path, path, None, False)

    def test_missing_files(self) -> None:
        """Whichever file is missing or cannot be read is named."""
        missing = self.directory / "missing.pem"
        text = f"{missing}: cannot be read: No such file or directory"
        self.assertEqual(self.refusal(missing, self.key), text)
        self.assertEqual(self.refusal(self.cert, missing), text)
        self.assertEqual(self.refusal(self.cert, self.key, missing), text)
        self.assertIn("Is a directory", self.refusal(self.directory, self.key))

    def test_no_certificate(self) -> None:
        """A file with something else is named, with what it contains."""
        request = x509.CertificateSigningRequestBuilder().subject_name(self.mesh.subject)
        signed = request.sign(self.mesh.key, SHA256()).public_bytes(Encoding.PEM)
        der = self.mesh.certificate.public_bytes(Encoding.DER)
        swapped = "holds a private key, not a certificate: are the two files swapped?"
        for content, what in (
            (b"", "is empty; it must hold a certificate in PEM form"),
            (b" \n", "is empty; it must hold a certificate in PEM form"),
            (b"not PEM", "holds no certificate in PEM form"),
            (b"\xff\0" * 100, "holds no certificate in PEM form"),
            (self.mesh.key_pem(), swapped),
            (der, "is in DER form, not in PEM; `openssl x509 -inform der` converts it"),
            (signed, "holds a request; an authority makes the certificate of it"),
            (
                self.mesh.pem()[:200],
                "holds a certificate that cannot be read: it is damaged or cut off",
            ),
        ):
            wrong = self.file("wrong.pem", content)
            for text in (self.refusal(wrong, self.key), self.refusal(self.cert, self.key, wrong)):
                self.assertEqual(text, f"{wrong}: {what}")

    def test_no_key(self) -> None:
        """The same for the key; one with a passphrase is refused, since nobody could type it."""
        locked = "holds a private key with a passphrase, which nobody is there to type; "
        locked += "`openssl pkey` takes it off"
        swapped = "holds a certificate, not a private key: are the two files swapped?"
        traditional = PrivateFormat.TraditionalOpenSSL
        sesame = BestAvailableEncryption(b"sesame")
        public = self.mesh.key.public_key().public_bytes(
            Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
        )
        openssh = self.mesh.key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
        for content, what in (
            (b"", "is empty; it must hold a private key in PEM form"),
            (b"not PEM", "holds no private key in PEM form"),
            (self.mesh.pem(), swapped),
            (self.mesh.key_pem(sesame), locked),
            (self.mesh.key.private_bytes(Encoding.PEM, traditional, sesame), locked),
            (public, "holds a public key, not the private one"),
            (openssh, "holds a key of OpenSSH; the certificate needs one of its own"),
            (
                self.mesh.key_pem()[:100],
                "holds a private key that cannot be read: it is damaged, cut "
                "off, or of a kind that is not known here",
            ),
        ):
            wrong = self.file("wrong.pem", content)
            self.assertEqual(self.refusal(self.cert, wrong), f"{wrong}: {what}")

    def test_damaged(self) -> None:
        """A certificate or key with a flipped bit is accepted or named in one line, wherever the
        bit is."""
        own = self.mesh.certificate.public_bytes(Encoding.DER)
        key = self.mesh.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        for place in range(len(own)):
            cert = self.file("damaged.pem", in_pem(damaged(own, place), "CERTIFICATE"))
            other = self.file("damaged-key.pem", in_pem(damaged(key, place), "PRIVATE KEY"))
            for files in (
                (cert, self.key, None, False),
                (cert, self.key, self.cert, False),
                (self.cert, self.key, cert, False),
                (self.cert, other, None, False),
            ):
                try:
                    credentials = certificates.read(*files)
                    path = certificates.prove(credentials, files[0], files[2])
                    list(certificates.untimely(path, time.time()))
                    certificates.is_for(path[0], "mesh.test")
                except OperatorError as error:
                    self.assertTrue(str(error).isprintable())

    def test_key_of_another(self) -> None:
        """A key that does not belong to the certificate is refused, naming both files."""
        for other in (Holder("other").key_pem(), pem_of(x25519.X25519PrivateKey.generate())):
            key = self.file("other.pem", other)
            text = f"{key}: is not the private key of the certificate in {self.cert}"
            self.assertEqual(self.refusal(self.cert, key), text)

    def test_order(self) -> None:
        """When the issuers come before the certificate, the error does not blame the key."""
        root = Holder("root")
        node = Holder("node", "node.test", issuer=root)
        cert = self.file("chain.pem", root.pem() + node.pem())
        key = self.file("node.pem", node.key_pem())
        self.assertEqual(
            self.refusal(cert, key, self.file("ca.pem", root.pem())),
            f"{cert}: has the certificate of the key in {key} at place 2; it must be the first, "
            "and its issuers behind it",
        )

    def test_key_is_not_shown(self) -> None:
        """The repr of credentials does not contain the key."""
        self.assertNotIn("PrivateKey", repr(certificates.load(self.cert, self.key, None, False)))


class ProofTests(FilesCase):
    """Certificates that no peer would accept."""

    def test_keys(self) -> None:
        """Keys that TLS 1.3 does not accept, or that are too weak, are named with their kind;
        others are accepted."""
        root = Holder("root")
        ca = self.file("ca.pem", root.pem())
        bad: list[tuple[str, Any]] = [
            ("EC secp256k1", ec.generate_private_key(ec.SECP256K1())),
            ("EC secp224r1", ec.generate_private_key(ec.SECP224R1())),
            ("RSA, 1024 bits", rsa.generate_private_key(65537, 1024)),
            ("DSA", dsa.generate_private_key(2048)),
            ("X25519", x25519.X25519PrivateKey.generate()),
            ("X448", x448.X448PrivateKey.generate()),
        ]
        for kind, key in bad:
            cert, file = self.files(Holder("node", "node.test", issuer=root, key=key))
            text = self.refusal(cert, file, ca)
            self.assertTrue(text.startswith(f"{cert}: its key or signature ({kind}) "), text)
            self.assertRegex(text, rf"\([A-Za-z .]{{10,}}\); {GOOD_KEYS}$")
        good: list[Any] = [
            ec.generate_private_key(ec.SECP521R1()),
            ed448.Ed448PrivateKey.generate(),
        ]
        for key in good:
            holder = Holder("node", "node.test", issuer=root, key=key)
            certificates.load(*self.files(holder), ca, False)

    def test_rsa_pss(self) -> None:
        """A certificate of an RSA-PSS key is named as such."""
        data = Path(__file__).with_name("rsa-pss.pem").read_bytes()
        path = self.file("pss.pem", data)
        self.assertIn("its key or signature (RSA-PSS) cannot be used", self.refusal(path, path))

    def test_purpose(self) -> None:
        """A certificate that is not for servers is refused; one that is for servers among others is
        accepted."""
        for usage, good in (((CLIENT,), False), ((SERVER, CLIENT), True), ((SERVER,), True)):
            holder = Holder("mesh", "mesh.test", usage=usage)
            if good:
                certificates.load(*self.files(holder), None, False)
                continue
            cert, key = self.files(holder)
            self.assertEqual(
                self.refusal(cert, key),
                f"{cert}: peers refuse it: it is not for servers: its extended key usage must have "
                "serverAuth, or not be there",
            )

    def test_issuers(self) -> None:
        """The error says where the chain breaks: an issuer that is missing, another one of the same
        name, one that may not sign, a self-signed certificate."""
        root, namesake, signer = Holder("root"), Holder("root"), Holder("signer", "signer.test")
        middle = Holder("middle", issuer=root)
        leaf = Holder("leaf", "leaf.test", issuer=middle)
        ca = self.file("ca.pem", root.pem())
        cert = self.directory / "its-cert.pem"
        for chain, trusted, what in (
            ((leaf,), root, f"its issuer CN=middle is neither behind it in {cert} nor in {ca}"),
            ((leaf, middle), namesake, f"it is signed by another CN=root than the one in {ca}"),
            ((self.mesh,), root, f"it is signed by CN=mesh, which is not in {ca}"),
            (
                (Holder("leaf", "leaf.test", issuer=signer),),
                signer,
                "an issuer of it is no authority: its basic constraints must say CA:TRUE",
            ),
        ):
            ca.write_bytes(trusted.pem())
            text = self.refusal(*self.files(*chain), ca)
            self.assertEqual(text, f"{cert}: peers refuse it: {what}")

    def test_dates(self) -> None:
        """Wrong dates are no reason to refuse. They are reported separately, for each certificate
        in the chain and for no other."""
        now = time.time()
        root = Holder("root", begin=-9 * DAY, end=-5 * DAY)
        old = Holder("old", begin=-9 * DAY, end=-5 * DAY)
        early = Holder("early", "a.test", issuer=root, begin=3 * DAY, end=5 * DAY)
        ca = self.file("ca.pem", root.pem() + old.pem())
        cert, key = self.files(early, old)
        path = certificates.prove(certificates.read(cert, key, ca, False), cert, ca)
        self.assertEqual(path, (early.certificate, root.certificate))
        begins = early.certificate.not_valid_before_utc
        self.assertEqual(
            list(certificates.untimely(path, now)),
            [
                (
                    0,
                    f"is not valid before {begins:%Y-%m-%d %H:%M} UTC; nodes that dial this one "
                    "refuse it until then: is a clock wrong?",
                ),
                (
                    1,
                    "is by CN=root, whose certificate expired 5 days ago; nodes that dial this one "
                    "refuse it, renew it",
                ),
            ],
        )

    def test_host(self) -> None:
        """A certificate is for its names and addresses; a final dot is not part of a name."""
        own = Holder("mesh", "a.test", "*.b.test", "192.0.2.1", "2001:db8::1").certificate
        for host in ("a.test", "a.test.", "A.test", "x.b.test.", "192.0.2.1", "2001:db8::1"):
            self.assertTrue(certificates.is_for(own, host), host)
        for host in ("c.test", "b.test", "192.0.2.2", "a~b", ".", "2001:db8::2"):
            self.assertFalse(certificates.is_for(own, host), host)


def damaged(data: bytes, place: int) -> bytes:
    """With the last bit of the byte at that place, counted around, changed."""
    copy = bytearray(data)
    copy[place % len(copy)] ^= 1
    return bytes(copy)


def in_pem(data: bytes, label: str) -> bytes:
    text = base64.encodebytes(data).decode()
    return f"-----BEGIN {label}-----\n{text}-----END {label}-----\n".encode()


def pem_of(key: Any) -> bytes:
    data: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return data
