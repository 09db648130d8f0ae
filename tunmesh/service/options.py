"""The command line of `twistd tunmesh`: which config, and where the log goes.

twistd finds `Options` and `makeService` here. This module imports little: the rest of the node is
imported while a child process reads the config.

Exit code 78 (EX_CONFIG) says that the config is no good, with nothing changed on the machine.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from twisted.logger import ILogObserver, LogEvent
from twisted.python import usage

import twisted
from tunmesh import __version__
from tunmesh.config import values
from tunmesh.errors import OperatorError
from tunmesh.host import heap, stdio
from tunmesh.logs import formatting
from tunmesh.logs.nonblocking_output import NonblockingOutput
from tunmesh.logs.observers import LogWriter

if TYPE_CHECKING:
    from tunmesh.service.composition import NodeService
    from tunmesh.service.load import LoadedConfig

EX_CONFIG = 78
TWISTD_PIDFILE = "twistd.pid"  # its default


class Options(usage.Options):
    """twistd's options for a node."""

    observer: ClassVar[Callable[[], ILogObserver]]
    log_writer: LogWriter | None = None  # none if twistd was told to log elsewhere

    optParameters = [  # noqa: RUF012 (usage.Options wants a list)
        [
            "config",
            "c",
            None,
            f"the config file; default $TUNMESH_CONFIG_PATH, else {values.DEFAULT_PATH}",
        ]
    ]

    def opt_version(self) -> None:
        """Display the versions of tunmesh and Twisted, and exit."""
        sys.stdout.write(f"tunmesh {__version__} (Twisted {twisted.__version__})\n")
        sys.exit(0)

    def postOptions(self) -> None:
        """Read and check the config, before twistd does anything else: it says how to log, too."""
        closed = stdio.open_closed()
        self.path = values.path_of(self["config"], os.environ)
        with heap.lasting():
            self.loaded = _load(self.path)
        twistd = self.parent
        if twistd is None:
            return
        if "nodaemon" not in twistd:
            sys.stderr.write("start it with twistd: twist does not start a service as root\n")
            sys.exit(EX_CONFIG)
        if twistd.get("pidfile") == TWISTD_PIDFILE:
            # Nobody asked for it. A node that has given up root could not remove it, and the next
            # start might take the process that has its number by then for another node.
            twistd["pidfile"] = ""
        if not any(twistd.get(option) for option in ("logger", "logfile", "syslog")):
            if why := _no_place_for_a_log(twistd, closed):
                sys.stderr.write(f"the log would go nowhere, as {why}\n")
                sys.exit(EX_CONFIG)
            # twistd takes the *name* of a function without arguments.
            logging = self.loaded.config.logging
            self.log_writer = writer = LogWriter(
                NonblockingOutput(sys.stdout.fileno()).write,
                logging.level,
                logging.format,
                logging.levels.items(),
                text_for(sys.stdout.isatty(), os.environ, os.fstat(sys.stdout.fileno())),
            )
            Options.observer = lambda: writer
            twistd["logger"] = "tunmesh.service.options.Options.observer"


def _load(path: Path) -> LoadedConfig:
    """Import the node, while a child process imports the config checker and checks the config. What
    both of them need is imported first."""
    from tunmesh.service import load

    def import_node() -> None:
        import tunmesh.service.composition  # noqa: F401

    try:
        return load.load_in_child(path, import_node)
    except OperatorError as error:
        sys.stderr.writelines(f"{line}\n" for line in load.complaints(path, error))
        sys.exit(EX_CONFIG)


def makeService(options: Options) -> NodeService:
    """What twistd calls, with the options of above."""
    from tunmesh.service import composition  # it was imported while the config was read

    return composition.node_service(options.path, options.loaded, options.log_writer)


def _no_place_for_a_log(twistd: Mapping[str, object], closed: Collection[int]) -> str:
    """Why standard output cannot be logged to, and what to do about it; empty if it can."""
    if twistd.get("nodaemon") == 0 and not twistd.get("debug"):
        return (
            "twistd goes to the background: start it with twistd --nodaemon, "
            "or with --logfile FILE or --syslog"
        )
    if stdio.OUTPUT in closed:
        return "standard output is closed: redirect it to a file, or give twistd --logfile FILE"
    return ""


def text_for(
    is_terminal: bool, environ: Mapping[str, str], output: os.stat_result
) -> Callable[[LogEvent], str]:
    """The form of text lines that suits the output. See systemd.exec(5) for JOURNAL_STREAM: a
    process that inherits it may write somewhere else."""
    if environ.get("JOURNAL_STREAM") == f"{output.st_dev}:{output.st_ino}":
        return formatting.journal_line
    if not is_terminal:
        return formatting.text_line
    is_plain = stdio.is_colourless(environ)
    return formatting.terminal_line if is_plain else formatting.coloured_line
