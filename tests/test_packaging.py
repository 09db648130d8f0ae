"""The distributions: a source distribution with everything in it, and a wheel with the program."""

from __future__ import annotations

import configparser
import email
import importlib.util
import re
import runpy
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from dataclasses import dataclass
from email.message import Message
from functools import cache
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tunmesh import __version__

ROOT = Path(__file__).parent.parent
MADE = ("PKG-INFO", "setup.cfg", "tunmesh.egg-info/")  # added by setuptools


def skip_reason() -> str | None:
    """Why no distribution can be built here and compared with the repository; None if it can."""
    if not (ROOT / ".git").exists():
        return "not a git checkout"
    if not shutil.which("git"):
        return "git is not installed"
    if not importlib.util.find_spec("build"):
        return "build is not installed (pip install build)"
    return None


def tracked() -> list[str]:
    """The files in the repository; not what else lies in the checkout, which may be another user's,
    as in containers."""
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return sorted(name for name in listed.split("\0") if name and (ROOT / name).is_file())


@dataclass(frozen=True)
class Distributions:
    """The names of the files in both archives, without generated ones, and the metadata."""

    source: list[str]
    wheel: list[str]
    metadata: Message


@cache
def built() -> Distributions:
    """Run `python -m build` on a copy of the repository's files, since it writes into its
    source."""
    with tempfile.TemporaryDirectory() as name:
        copy, output = Path(name, "copy"), Path(name, "output")
        for file in tracked():
            (copy / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / file, copy / file)
        command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(output)]
        done = subprocess.run([*command, str(copy)], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        with tarfile.open(next(output.glob("*.tar.gz"))) as archive:
            source = [one.name.partition("/")[2] for one in archive if one.isfile()]
        with zipfile.ZipFile(next(output.glob("*.whl"))) as wheel:
            packed = wheel.namelist()
            text = wheel.read(f"tunmesh-{__version__}.dist-info/METADATA").decode()
    return Distributions(
        sorted(one for one in source if not one.startswith(MADE)),
        sorted(one for one in packed if ".dist-info/" not in one),
        email.message_from_string(text),
    )


class DistributionTests(SynchronousTestCase):
    """The archives made by `python -m build`."""

    skip = skip_reason()

    def test_source(self) -> None:
        """The source distribution has every file of the repository, so its tests can be run."""
        self.assertEqual(built().source, tracked())

    def test_wheel(self) -> None:
        """The wheel has the program, including the files of the live page, the templates of
        deployments and the plugin of twistd, and nothing else."""
        program = [name for name in tracked() if name.startswith(("tunmesh/", "twisted/"))]
        self.assertEqual(built().wheel, program)
        for kind in ("html", "css", "js", "svg", "typed", "yaml", "service", "gitignore"):
            self.assertTrue([name for name in built().wheel if name.endswith(f".{kind}")], kind)

    def test_metadata(self) -> None:
        """Author, license, keywords and versions are in the metadata."""
        metadata = built().metadata
        self.assertEqual(metadata["Version"], __version__)
        self.assertEqual(metadata["Author"], "The tunmesh authors")
        self.assertEqual(metadata["License-Expression"], "Apache-2.0")
        self.assertEqual(metadata["Requires-Python"], ">=3.11")
        self.assertIn("mesh", metadata["Keywords"])
        self.assertIn("Framework :: Twisted", metadata.get_all("Classifier", []))

    def test_description(self) -> None:
        """The README on a package index has no links that only work in the source tree."""
        text = built().metadata.get_payload()
        assert isinstance(text, str)
        self.assertTrue(text.lstrip().startswith("# tunmesh"), text[:80])
        targets = re.findall(r"\]\(([^)]+)\)|(?:src|href)=\"([^\"]+)\"", text)
        for target in ("".join(pair) for pair in targets):
            self.assertRegex(target, r"^(https?:|mailto:|#)")


class DeclarationTests(SynchronousTestCase):
    """pyproject.toml, setup.py and tox.ini."""

    def test_links(self) -> None:
        """With the URL of a repository, the README's links lead to this version's files there;
        other links are unchanged."""
        readme = runpy.run_path(str(ROOT / "setup.py"))["readme"]
        text = "[a](docs/a.md#b) ![p](p.png) [c](https://c.example/d) [e](#f)"
        self.assertEqual(
            readme(text, "https://git.example/t", "1.2"),
            "[a](https://git.example/t/blob/v1.2/docs/a.md#b) "
            "![p](https://git.example/t/raw/v1.2/p.png) [c](https://c.example/d) [e](#f)",
        )
        self.assertEqual(readme(text, "", "1.2"), "a  [c](https://c.example/d) [e](#f)")

    def test_versions_of_python(self) -> None:
        """tox runs the tests with each version of Python in the classifiers."""
        with (ROOT / "pyproject.toml").open("rb") as file:
            classifiers = tomllib.load(file)["project"]["classifiers"]
        named = [
            re.fullmatch(r"Programming Language :: Python :: 3\.(\d+)", c) for c in classifiers
        ]
        tox = configparser.ConfigParser(interpolation=None)
        tox.read(ROOT / "tox.ini")
        self.assertEqual(
            [f"py3{found[1]}" for found in named if found],
            re.findall(r"py3\d+", tox["tox"]["envlist"]),
        )
