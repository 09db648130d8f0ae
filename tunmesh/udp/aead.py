"""AES-256-GCM that writes into a buffer, with any release of cryptography."""

from __future__ import annotations

from collections.abc import Callable

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

# Takes nonce, text, None and a buffer of exactly the size of what becomes of the text. To open
# raises InvalidTag.
Into = Callable[[bytes | memoryview, bytes | memoryview, None, memoryview], object]


def sealing(key: bytes) -> Into:
    """Seals into a buffer; with this key."""
    aead = AESGCM(key)
    if hasattr(aead, "encrypt_into"):
        return aead.encrypt_into
    return _into(aead.encrypt)


def opening(key: bytes) -> Into:
    """Opens into a buffer; with this key."""
    aead = AESGCM(key)
    if hasattr(aead, "decrypt_into"):
        return aead.decrypt_into
    return _into(aead.decrypt)


def _into(call: Callable[[bytes, bytes, None], bytes]) -> Into:
    """cryptography has had the others since release 47."""

    def into(
        nonce: bytes | memoryview, text: bytes | memoryview, _: None, buffer: memoryview
    ) -> None:
        buffer[:] = call(bytes(nonce), bytes(text), None)

    return into
