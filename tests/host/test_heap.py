"""Free memory is returned to the kernel."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial import unittest

from tests.support.certificates import Holder
from tests.support.configs import MINIMAL, SECRET
from tests.support.realnode import reactor

SECRETS = [f"secret number {number}, which is long enough for it" for number in range(9)]
_PROGRAM = """
import sys
from pathlib import Path
from threading import Thread
from tunmesh.host import heap
from tunmesh.auth.handshake import Key
from tunmesh.service.load import load

def resident():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096

def spare():
    before = resident()
    heap.trim()
    return before - resident()

load(Path(sys.argv[1]))
print(spare())
def derive(secrets):
    for secret in secrets:
        Key.derive(secret.encode())
derive(sys.argv[2:5])
print(spare())
heap.share()
before = resident()
aside = Thread(target=derive, args=(sys.argv[5:],))
aside.start()
aside.join()
heap.trim()
print(resident() - before)
"""


class HeapTests(unittest.TestCase):
    """A process that has loaded a config with several secrets, each of which took 16 MiB."""

    if platform.libc_ver()[0] != "glibc":
        skip = "only glibc has malloc_trim"

    async def test_reading(self) -> None:
        """After loading, none of that memory is left, even from a thread; without a trim it would
        stay."""
        directory = Path(self.mktemp()).absolute()
        directory.mkdir()
        mesh = Holder("mesh")
        (directory / "cert.pem").write_bytes(mesh.pem())
        (directory / "key.pem").write_bytes(mesh.key_pem())
        listed = ", ".join(f"'{secret}'" for secret in SECRETS[:3])
        config = directory / "config.yaml"
        config.write_text(MINIMAL.replace(f"secret: {SECRET}", f"secrets: [{listed}]"))
        out, err, code = await getProcessOutputAndValue(
            sys.executable, ["-c", _PROGRAM, str(config), *SECRETS[3:]], reactor=reactor
        )
        self.assertEqual((err, code), (b"", 0))
        after_reading, after_deriving, left_by_thread = map(int, out.split())
        self.assertLess(after_reading, 8 << 20)
        self.assertGreater(after_deriving, 8 << 20)
        self.assertLess(left_by_thread, 8 << 20)
