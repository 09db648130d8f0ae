"""The client of a node's control socket: HTTP over a Unix socket; and the option that names it.

Little is imported here, so that a command takes a tenth of a second.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import (
    BadStatusLine,
    HTTPConnection,
    HTTPException,
    HTTPResponse,
    RemoteDisconnected,
)
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from tunmesh.cli.base import Command
from tunmesh.config.paths import DEFAULT_SOCKET, SOCKET_VARIABLE, socket_path
from tunmesh.config.values import PATH_VARIABLE
from tunmesh.errors import OperatorError

if TYPE_CHECKING:
    from tunmesh.observe.status_json import Json

FUTURE = 2**52  # later than every past event


class NoAnswerError(OperatorError):
    """The node does not answer, or has stopped answering."""


class NoNodeError(NoAnswerError):
    """Nothing listens on the socket."""


class _Object(dict[str, Any]):
    """A JSON object of an answer."""

    def __missing__(self, key: str) -> Any:
        raise OperatorError(f"the node's answer has no {key!r}: another version of tunmesh?")


class _Connection(HTTPConnection):
    def __init__(self, path: Path, timeout: float | None) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))
        self.opened = self.sock  # `sock` is taken away once an answer comes


class Client:
    """One node, by the path of its socket. Raises NoAnswerError when it does not answer, and
    OperatorError when it refuses. `patience` is in seconds."""

    timeout = 10.0  # seconds by default

    def __init__(self, path: Path) -> None:
        self.path = path

    def get(self, page: str, patience: float | None = None) -> Json:
        """The JSON object of a page."""
        return self._json("GET", page, self.timeout if patience is None else patience)

    def post(self, page: str) -> Json:
        """Make the node do something."""
        return self._json("POST", page, self.timeout)

    def lines(self, page: str) -> list[Json]:
        """The objects of a page of JSON lines."""
        with self._talking(self.timeout), self._open("GET", page, self.timeout) as response:
            return [_tree(line) for line in response if line.strip()]

    def copy(self, page: str, out: IO[bytes]) -> None:
        """Copy a streamed page to `out` until the node ends. Raises OSError if `out` cannot be
        written."""
        with self._talking(self.timeout):
            response = self._open("GET", page, self.timeout, is_endless=True)
        with response:
            while data := _until_end(lambda: response.read1(1 << 16)):
                out.write(data)
                out.flush()

    def follow(
        self, since: int = FUTURE, interval: float = 5.0, patience: float | None = None
    ) -> Iterator[Json | None]:
        """Every event after `since`, future ones included, until the node ends; None whenever
        `interval` seconds have passed without one, late by at most `patience`."""
        page = f"/v1/events?since={since}&follow={interval}"
        longest = interval + (self.timeout if patience is None else patience)
        with self._talking(longest), self._open("GET", page, longest) as response:
            while line := _until_end(response.readline):
                yield _tree(line) if line.strip() else None

    def _json(self, method: str, page: str, patience: float) -> Json:
        with self._talking(patience), self._open(method, page, patience) as response:
            return _tree(response.read())

    @contextmanager
    def _talking(self, patience: float) -> Iterator[None]:
        """Turn what goes wrong into one line."""
        try:
            yield
        except TimeoutError:
            why = f"it said nothing for {patience:g} s"
        except RemoteDisconnected:
            why = "it hung up"
        except BadStatusLine:
            why = "it does not speak HTTP"
        except (OSError, HTTPException, ValueError) as error:
            why = str(error) or type(error).__name__
        else:
            return
        raise NoAnswerError(f"the node at {self.path} does not answer: {why}") from None

    def _open(
        self, method: str, page: str, patience: float, is_endless: bool = False
    ) -> HTTPResponse:
        """The response; once it has begun, `patience` no longer applies to it."""
        connection = _Connection(self.path, patience)
        try:
            connection.connect()
        except OSError as error:
            raise _not_there(self.path, error) from None
        connection.request(method, page, headers={"Connection": "close"})
        response = connection.getresponse()
        if response.status < 400:
            if is_endless:
                connection.opened.settimeout(None)
            return response
        with response:
            if response.getheader("Content-Type") == "application/json":
                raise OperatorError(_tree(response.read())["error"])
        why = f"it answers {response.status}: another version of tunmesh?"
        raise OperatorError(f"{page.partition('?')[0]}: {why}")


def _tree(text: bytes) -> Json:
    """Raises ValueError unless it is a JSON object."""
    tree = json.loads(text, object_hook=_Object)
    if not isinstance(tree, _Object):
        raise ValueError("it sends something else than a JSON object")
    return tree


def _until_end(read: Callable[[], bytes]) -> bytes:
    """The next part; none if the node ended in the middle of the stream, as it must."""
    try:
        return read()
    except (HTTPException, ConnectionError):
        return b""


def _not_there(path: Path, error: OSError) -> OperatorError:
    if isinstance(error, BlockingIOError | TimeoutError):
        return NoAnswerError(f"the node at {path} does not answer: it takes no connections")
    if isinstance(error, PermissionError):
        return OperatorError(f"{path}: permission denied; only who started the node may ask it")
    if isinstance(error, FileNotFoundError | ConnectionRefusedError):
        return NoNodeError(
            f"no node answers at {path}: is it running? If its socket is elsewhere, say where "
            f"(--socket, or ${SOCKET_VARIABLE})"
        )
    return OperatorError(f"{path}: {error.strerror or error}")


def _client(ctx: click.Context, _parameter: click.Parameter, value: str | None) -> Client | None:
    if ctx.resilient_parsing:
        return None  # shell completion: no node is needed
    if value is None and isinstance(ctx.obj, Client):
        return ctx.obj  # given before the subcommand
    return Client(socket_path(value, os.environ) or DEFAULT_SOCKET)


def node_of(ctx: click.Context, node: Client, file: str | None) -> Client:
    """The node whose config this file is, if one was named; but the one that --socket or
    $TUNMESH_SOCKET names, if there is one."""
    if file is None or ctx.get_parameter_source("node") is not ParameterSource.DEFAULT:
        return node
    try:
        path = socket_path(None, {**os.environ, PATH_VARIABLE: file})
    except OperatorError:
        path = None  # who reads the config says what is wrong with it
    return Client(path or DEFAULT_SOCKET)


def node_option(command: Command) -> Command:
    """The --socket option; the command gets a Client as `node`."""
    return click.option(
        "--socket",
        "node",
        metavar="PATH",
        callback=_client,
        help=f"The node's control socket; default ${SOCKET_VARIABLE}, else as its config says.",
    )(command)
