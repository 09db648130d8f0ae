"""Ask the node of this container how it is: `python -m tunmesh.healthcheck [/livez]`, which is the
HEALTHCHECK of the image, or `tunmesh healthcheck`.

It runs every few seconds in every container, so it is to cost little: it speaks to the control
socket, with nothing but the socket module. Where there is no socket that answers, or it is somebody
else's, it asks the port in the config file, found as the node finds it, which takes seven times as
much of the processor and gives no reasons. The answer is one line, the page or why there is none,
and the exit code that Docker wants: 0 healthy, 1 not.

The port's certificate is not verified: nobody can stand between this process and its own loopback,
and the names in the certificate, if any, are those of the nodes and not of 127.0.0.1.
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

TIMEOUT = 4.0  # seconds; less than the image gives us, so that we can still say why
LONGEST = 4096  # bytes of a page that are shown: Docker keeps no more of an answer
_OK = 200


class _NobodyError(Exception):
    """There is no socket that can be asked."""


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """Print what the page says, by default /livez, and return the exit code."""
    stdio.open_closed()
    page = arguments[0] if arguments else "/livez"
    try:
        code, text = _ask(page, environ)
    except OperatorError as error:
        stdio.say(f"{error}\n")
        return 1
    stdio.say(f"{page} answers {code}: {' '.join(text.split())}\n")
    return int(code != _OK)


def _ask(page: str, environ: Mapping[str, str]) -> tuple[int, str]:
    """The status code of the page, and its beginning. Raises OperatorError when nobody answers."""
    path = socket_path(None, environ)
    try:
        if path is not None:
            return _ask_socket(path, page)
    except _NobodyError:
        pass
    return _ask_port(*_place(environ), page)


def _ask_socket(path: Path, page: str) -> tuple[int, str]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(TIMEOUT)
        try:
            connection.connect(str(path))
        except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError, PermissionError):
            raise _NobodyError from None
        except OSError as error:
            raise OperatorError(f"{path} does not answer: {error}") from None
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
    """Where the node listens: an address, and the port."""
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
        reason = str(error) or type(error).__name__
        raise OperatorError(f"{page} of port {port} does not answer: {reason}") from None
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
