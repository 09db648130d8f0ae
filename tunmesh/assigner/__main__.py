"""The helper as a program: executed by its path, in an isolated Python, as `ps` shows it.

Such a Python looks for modules in the standard library only, so this adds where the package is: at
the end, so that nothing beside the package can stand in for a module of the standard library.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":
    sys.path.append(__file__.rsplit("/", 3)[0])

    from tunmesh.assigner import helper

    helper.run()
