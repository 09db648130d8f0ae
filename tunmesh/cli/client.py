"""Asking the node on this machine: HTTP over its control socket.

Nothing but the standard library is imported here, so that asking takes a tenth of a second.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path
from typing import IO, Any

from tunmesh.errors import OperatorError
from tunmesh.socketpath import SOCKET_VARIABLE

TIMEOUT = 10.0  # seconds
FUTURE = 2**52  # later than every event that has been

Tree = dict[str, Any]


class NoNodeError(OperatorError):
    """Nobody answers at the socket."""


class _Connection(HTTPConnection):
    def __init__(self, path: Path, timeout: float | None) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class Client:
    """One node, by the path of its socket. Raises OperatorError when it does not answer, of which
    NoNodeError is when there is nobody to do so."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def get(self, page: str) -> Tree:
        """What a page says."""
        return self._json("GET", page)

    def post(self, page: str) -> Tree:
        """Have something done."""
        return self._json("POST", page)

    def lines(self, page: str) -> list[Tree]:
        """What a page of JSON lines says."""
        try:
            with self._open("GET", page, TIMEOUT) as response:
                return [json.loads(line) for line in response if line.strip()]
        except (OSError, HTTPException, ValueError) as error:
            raise self._silent(error) from None

    def copy(self, page: str, out: IO[bytes]) -> None:
        """Write what a page gives, as it comes, until the node ends."""
        try:
            with self._open("GET", page, None) as response:
                while data := response.read1(1 << 16):
                    out.write(data)
                    out.flush()
        except (HTTPException, ConnectionError):
            return  # it ended in the middle of the page, as it must

    def follow(self, since: int = FUTURE, interval: float = 5.0) -> Iterator[Tree | None]:
        """Every event after `since`, those to come included, until the node ends; None whenever
        `interval` seconds have passed."""
        page = f"/v1/events?since={since}&follow={interval}"
        try:
            with self._open("GET", page, interval + TIMEOUT) as response:
                while line := response.readline():
                    yield json.loads(line) if line.strip() else None
        except (HTTPException, ConnectionError):
            return  # it ended in the middle of the page, as it must

    def _json(self, method: str, page: str) -> Tree:
        try:
            with self._open(method, page, TIMEOUT) as response:
                tree: Tree = json.load(response)
        except (OSError, HTTPException, ValueError) as error:
            raise self._silent(error) from None
        return tree

    def _silent(self, error: Exception) -> OperatorError:
        return OperatorError(f"the node at {self.path} does not answer: {error}")

    def _open(self, method: str, page: str, timeout: float | None) -> HTTPResponse:
        connection = _Connection(self.path, timeout)
        try:
            connection.connect()
        except OSError as error:
            raise _not_there(self.path, error) from None
        connection.request(method, page, headers={"Connection": "close"})
        response = connection.getresponse()
        if response.status < 400:
            return response
        with response:
            why = f"it answers {response.status}: another version of tunmesh?"
            if response.getheader("Content-Type") == "application/json":
                why = json.load(response)["error"]
        raise OperatorError(f"{page.partition('?')[0]}: {why}")


def _not_there(path: Path, error: OSError) -> OperatorError:
    if isinstance(error, PermissionError):
        return OperatorError(f"{path}: permission denied; only who started the node may ask it")
    if isinstance(error, FileNotFoundError | ConnectionRefusedError):
        return NoNodeError(
            f"no node answers at {path}: is it running? If its socket is elsewhere, say where "
            f"(--socket, or ${SOCKET_VARIABLE})"
        )
    return OperatorError(f"{path}: {error.strerror or error}")
