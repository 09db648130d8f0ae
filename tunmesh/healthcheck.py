"""Asks the node of this container for its health: `python -m tunmesh.healthcheck [/livez]`, which
is the HEALTHCHECK of the image, or `tunmesh healthcheck`.

It runs every few seconds in every container, so it must be cheap: it speaks to the control socket
and imports little more than the socket module. If no socket answers, or it is not the node's, it
asks the port in the config file, found as the node finds it; that takes seven times the CPU time
and gives no reasons. The answer is one line, the page or why there is none, and the exit code that
Docker expects: 0 healthy, 1 not.

The port's certificate is not verified: nobody can intercept loopback, and the names in the
certificate, if any, are the nodes' and not 127.0.0.1.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tunmesh.config.paths import socket_path
from tunmesh.errors import OperatorError
from tunmesh.host import stdio

TIMEOUT = 4.0  # seconds; less than the image's timeout, so that the reason can be printed
LONGEST = 4096  # bytes of a page that are shown: Docker keeps no more
_OK = 200


_USAGE = (
    "usage: python -m tunmesh.healthcheck [PAGE]\n"
    "PAGE is /livez (the default), /readyz or /health. It asks the node at the control socket, "
    "else at its port. Exit code 0 if it answers 200, 1 if not.\n"
)


class _NobodyError(Exception):
    """No socket answers."""


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """Print the answer of the page (/livez by default) and return the exit code."""
    stdio.open_closed()
    page = arguments[0] if arguments else "/livez"
    if len(arguments) > 1 or not page.startswith("/"):
        stdio.say(_USAGE)
        return int(page not in ("-h", "--help"))
    try:
        code, text = _ask(page, environ)
    except OperatorError as error:
        stdio.say(f"{error}\n")
        return 1
    stdio.say(f"{page} answers {code}: {' '.join(text.split())}\n")
    return int(code != _OK)


def _ask(page: str, environ: Mapping[str, str]) -> tuple[int, str]:
    """The page's status code and the start of its body. Raises OperatorError if nothing answers."""
    path = socket_path(None, environ)
    try:
        if path is not None:
            return _ask_socket(path, page)
    except _NobodyError:
        try:
            place = _place(environ)
        except OperatorError as error:
            text = f"no node answers at {path}, nor is its port known: {error}"
            raise OperatorError(text) from None
    else:
        place = _place(environ)
    return _ask_port(*place, page)


def _ask_socket(path: Path, page: str) -> tuple[int, str]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(TIMEOUT)
        try:
            connection.connect(str(path))
        except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError, PermissionError):
            raise _NobodyError from None
        except OSError as error:
            raise OperatorError(f"{path} does not answer: {error.strerror or error}") from None
        try:
            connection.sendall(f"GET {page} HTTP/1.0\r\n\r\n".encode())
            answer = b""
            while len(answer) < LONGEST and (data := connection.recv(LONGEST)):
                answer += data
            head, _, body = answer.partition(b"\r\n\r\n")
            return int(head.split()[1]), body.decode(errors="replace")
        except (OSError, ValueError, IndexError) as error:
            raise OperatorError(f"{page} of {path} does not answer: {error}") from None


def _place(environ: Mapping[str, str]) -> tuple[str, int]:
    """The address and port that the node listens on."""
    import random

    from tunmesh.config import loading

    loaded = loading.load(loading.path_of(None, environ), environ, random.uniform)
    address, port = loaded.control_api.listen_address, loaded.control_api.listen_port
    if address is None or address.is_unspecified:
        return "::1" if address is not None and address.version == 6 else "127.0.0.1", port
    return str(address), port


def _ask_port(host: str, port: int, page: str) -> tuple[int, str]:
    import ssl
    from http.client import HTTPException, HTTPSConnection

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    connection = HTTPSConnection(host, port, timeout=TIMEOUT, context=context)
    try:
        connection.request("GET", page)
        response = connection.getresponse()
        return response.status, response.read(LONGEST).decode(errors="replace")
    except (OSError, HTTPException) as error:
        reason = getattr(error, "strerror", "") or str(error) or type(error).__name__
        raise OperatorError(f"{page} of port {port} does not answer: {reason}") from None
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
