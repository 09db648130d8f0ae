"""Whether a certificate and its key can be used, found out by using them.

    files ── read ──> Credentials ── prove ──> a TLS 1.3 handshake in memory, with itself
                                               at both ends: the path from the certificate
                                               to what is trusted

Which keys TLS 1.3 accepts, how strong they must be, what a certificate may be used for and whether
it chains to a trusted one depend on OpenSSL's release and build. So OpenSSL decides, with the same
contexts as for real connections: what it refuses here, it would refuse in every link. Peers are
taken to trust what this node trusts, since `ca_file_path` is the same on all nodes.

Dates are checked separately (`untimely`): they pass, clocks are wrong, and a node whose certificate
has expired can still dial nodes whose certificates have not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from cryptography import x509
from OpenSSL import SSL, crypto
from service_identity import CertificateError, VerificationError
from service_identity.cryptography import (
    verify_certificate_hostname,
    verify_certificate_ip_address,
)

from tunmesh.addresses import literal_address
from tunmesh.errors import OperatorError, PeerError
from tunmesh.pki import pem
from tunmesh.tls.binding import Channel
from tunmesh.tls.credentials import Credentials, verify_error
from tunmesh.units import DAY, expires, roughly

SOON = 30 * DAY

_FLIGHTS = 6  # more than a handshake has
_BIO = 1 << 16  # bytes
_GOOD_KEYS = "EC P-256, P-384 or P-521, Ed25519, or RSA of 2048 bits or more"
_UNTIMELY = (9, 10)  # X509_verify_cert_error_string(3): not valid yet, has expired
_UNTRUSTED = (7, 18, 19, 20, 21)
_WEAK = ("key too small", "md too weak", "security level")


def load(cert: Path, key: Path, ca: Path | None, verify_hostname: bool) -> Credentials:
    """Read PEM files and prove that they can be used. Raises OperatorError naming the file that is
    missing or wrong."""
    credentials = read(cert, key, ca, verify_hostname)
    prove(credentials, cert, ca)
    return credentials


def read(cert: Path, key: Path, ca: Path | None, verify_hostname: bool) -> Credentials:
    """Read the files. Raises OperatorError."""
    chain, private = pem.read_pair(cert, key)
    trusted = chain[:1] if ca is None else pem.read_certificates(ca)
    return Credentials(chain, private, trusted, verify_hostname)


def prove(credentials: Credentials, cert: Path, ca: Path | None) -> tuple[x509.Certificate, ...]:
    """The chain from the node's own certificate to a trusted one, its own first. Raises
    OperatorError naming the file that is wrong if no peer would accept it."""
    own = credentials.chain[0]
    try:
        server, client = credentials.server_context(), credentials.client_context()
    except (SSL.Error, crypto.Error, TypeError, ValueError) as error:
        raise OperatorError(f"{cert}: {_unusable(own, _said(error))}") from None
    path: dict[int, x509.Certificate] = {}
    flaws: list[int] = []

    def verified(
        _: SSL.Connection, certificate: crypto.X509, error: int, depth: int, ok: int
    ) -> bool:
        path[depth] = certificate.to_cryptography()
        if not ok and error not in _UNTIMELY:
            flaws.append(error)
            return False
        return True

    client.set_verify(SSL.VERIFY_PEER, verified)
    try:
        _shake_hands(client, server)
    except SSL.Error as error:
        if flaws:
            text = _unaccepted(flaws[0], credentials, cert, ca)
        else:
            text = _unusable(own, _said(error))
    except PeerError as error:
        text = _unusable(own, str(error))
    else:
        return tuple(path[depth] for depth in sorted(path))
    raise OperatorError(f"{cert}: {text}") from None


def untimely(path: Sequence[x509.Certificate], now: float) -> Iterator[tuple[int, str]]:
    """What is wrong, or soon will be, with the dates of the certificates in the chain that `prove`
    returned: the position in the chain, and a text. `now`: seconds since the epoch."""
    for depth, certificate in enumerate(path):
        of = f"is by {_name(certificate.subject)}, whose certificate " if depth else ""
        begins = certificate.not_valid_before_utc
        left = certificate.not_valid_after_utc.timestamp() - now
        if begins.timestamp() > now:
            date = f"{begins:%Y-%m-%d %H:%M} UTC"
            text = f"is not valid before {date}; nodes that dial this one refuse it until then: is "
            text += "a clock wrong?"
        elif left <= 0:
            text = f"expired {roughly(-left)} ago; nodes that dial this one refuse it, renew it"
        elif left <= SOON:
            text = f"{expires(left)}; renew it"
        else:
            continue
        yield depth, f"{of}{text}"


def is_for(certificate: x509.Certificate, host: str) -> bool:
    """Whether a peer that verifies host names accepts it for this name or address."""
    check: Callable[[x509.Certificate, str], None] = (
        verify_certificate_hostname
        if literal_address(host) is None
        else verify_certificate_ip_address
    )
    try:
        check(certificate, host.removesuffix("."))
    except (VerificationError, CertificateError, ValueError):
        return False
    return True


def _shake_hands(client_context: SSL.Context, server_context: SSL.Context) -> None:
    """A complete handshake, as for a link. Raises SSL.Error or PeerError."""
    client, server = SSL.Connection(client_context), SSL.Connection(server_context)
    client.set_connect_state()
    server.set_accept_state()
    for _ in range(_FLIGHTS):
        for one, other in ((client, server), (server, client)):
            with suppress(SSL.WantReadError):
                one.do_handshake()
            with suppress(SSL.WantReadError):
                other.bio_write(one.bio_read(_BIO))
    Channel().bind(client)


def _unusable(certificate: x509.Certificate, said: str) -> str:
    """For a key that TLS 1.3 does not accept."""
    kind = pem.kind_of_key(certificate)
    how = "is too weak for OpenSSL" if any(word in said for word in _WEAK) else "cannot be used"
    return f"its key or signature ({kind}) {how} in TLS 1.3 ({said}); use {_GOOD_KEYS}"


def _unaccepted(flaw: int, credentials: Credentials, cert: Path, ca: Path | None) -> str:
    """For a certificate that peers do not accept."""
    if flaw in _UNTRUSTED and ca is not None:
        return f"peers refuse it: {_unknown_issuer(credentials, cert, ca)}"
    return f"peers refuse it: {verify_error(flaw)}"


def _unknown_issuer(credentials: Credentials, cert: Path, ca: Path) -> str:
    """Where the chain from the node's own certificate breaks."""
    last, rest = credentials.chain[0], list(credentials.chain[1:])
    while issuer := next((each for each in rest if _signs(each, last)), None):
        last = issuer
        rest.remove(issuer)
    name = _name(last.issuer)
    if any(each.subject == last.issuer for each in credentials.trusted):
        return f"it is signed by another {name} than the one in {ca}"
    if last.subject == last.issuer:
        return f"it is signed by {name}, which is not in {ca}"
    return f"its issuer {name} is neither behind it in {cert} nor in {ca}"


def _signs(issuer: x509.Certificate, certificate: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except Exception:  # cryptography names no less: a signature, a name, or a kind of key
        return False
    return True


def _name(name: x509.Name) -> str:
    """On one line, as in RFC 4514."""
    text = name.rfc4514_string()
    return text if text.isprintable() else ascii(text)


def _said(error: Exception) -> str:
    """What OpenSSL said, in a few words."""
    match error.args:
        case ([*_, (*_, said)],):
            return str(said)
        case _:
            return str(error)
