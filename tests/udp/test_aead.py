"""Sealing and opening in place, with whatever cryptography offers."""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from twisted.trial import unittest

from tunmesh.udp import aead

KEY, NONCE = bytes(range(32)), bytes(range(12))


class OldAESGCM:
    """As in cryptography 46 and before: nothing is written into a buffer."""

    def __init__(self, key: bytes) -> None:
        aead = AESGCM(key)
        self.encrypt, self.decrypt = aead.encrypt, aead.decrypt


class InPlace(unittest.SynchronousTestCase):
    """The result is in the buffer."""

    def check(self) -> None:
        for size in (0, 1, 1444, 65_000):
            text = bytes(size)
            sealed = bytearray(size + 18)
            aead.sealing(KEY)(NONCE, text, None, memoryview(sealed)[1:-1])
            self.assertEqual(sealed, b"\0" + AESGCM(KEY).encrypt(NONCE, text, None) + b"\0")
            opened = bytearray(b"\1" * (size + 2))
            place = memoryview(opened)[1:-1]
            aead.opening(KEY)(memoryview(NONCE), memoryview(sealed)[1:-1], None, place)
            self.assertEqual(opened, b"\1" + text + b"\1")
            sealed[-2] ^= 1
            with self.assertRaises(InvalidTag):
                aead.opening(KEY)(NONCE, bytes(sealed[1:-1]), None, place)

    def test_as_installed(self) -> None:
        """With this release of cryptography."""
        self.check()

    def test_old(self) -> None:
        """With releases that know only bytes."""
        self.patch(aead, "AESGCM", OldAESGCM)
        self.check()
