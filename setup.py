"""The parts of the metadata that pyproject.toml cannot express; all others are there."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent
# A picture or a link to a file of the source tree, which has no meaning outside it.
_RELATIVE = re.compile(r"(!?)\[([^\]]*)\]\((?![a-z]+:|#)([^)]+)\)")


def readme(text: str, source: str, version: str) -> str:
    """The README for a package index: relative links lead to this version at `source`, the URL of
    the repository. Without one they become their text, and pictures are left out."""

    def replace(found: re.Match[str]) -> str:
        mark, label, path = found.groups()
        if not source:
            return "" if mark else label
        return f"{mark}[{label}]({source}/{'raw' if mark else 'blob'}/v{version}/{path})"

    return _RELATIVE.sub(replace, text)


def main() -> None:
    from setuptools import find_packages, setup

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    setup(
        long_description=readme(
            text, project.get("urls", {}).get("Source", ""), project["version"]
        ),
        long_description_content_type="text/markdown",
        # twisted.plugins is a plugin directory and not a package: it must have no __init__.py.
        packages=[*find_packages(include=["tunmesh", "tunmesh.*"]), "twisted.plugins"],
    )


if __name__ == "__main__":
    main()
