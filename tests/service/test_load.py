"""Reading the config in a child process."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from tests.service.reload_case import ReloadCase
from tests.support.configs import MINIMAL, ORIGINAL, SECRET
from tunmesh.config import loading
from tunmesh.config.plain import plain
from tunmesh.config.section import Section
from tunmesh.errors import OperatorError
from tunmesh.service.load import complaints, load, load_in_child


class InChild(ReloadCase):
    """The config as a child process reads it."""

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
            "settings.settings_of(loaded.config, loaded.reloadable, 'alice'); "
            "sys.exit('pydantic' in sys.modules or 'yaml' in sys.modules)"
        )
        self.assertEqual(subprocess.run([sys.executable, "-c", code]).returncode, 0)

    def test_refused(self) -> None:
        """Errors are the same as without a child process, and complete."""
        self.swap(config_yaml=b"tun_mesh: {typo: 1}\n", secret=b"short")
        with self.assertRaises(OperatorError) as here:
            load(self.path)
        with self.assertRaises(OperatorError) as there:
            load_in_child(self.path)
        lines = complaints(self.path, there.exception)
        self.assertGreater(len(lines), 3)
        self.assertEqual(lines, complaints(self.path, here.exception))

    def test_plain(self) -> None:
        """The plain config has all that the checked one has: every key, and what is derived from
        them."""
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
