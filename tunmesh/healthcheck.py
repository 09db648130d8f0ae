"""Ask the node of this container how it is: `python -m tunmesh.healthcheck [/livez]`.

It is the HEALTHCHECK of the image, which has no curl. The port is the one in the config file, found
as the node finds it. The answer is one line, the page or why there is none, and the exit code that
Docker wants: 0 healthy, 1 not.

The certificate is not verified: nobody can stand between this process and its own loopback, and the
names in the certificate, if any, are those of the nodes and not of 127.0.0.1.
"""

from __future__ import annotations

import os
import random
import ssl
import sys
from collections.abc import Mapping, Sequence
from http.client import HTTPException, HTTPSConnection

from tunmesh import config
from tunmesh.errors import OperatorError

TIMEOUT = 4.0  # seconds; less than the image gives us, so that we can still say why
LONGEST = 4096  # bytes of a page that are shown: Docker keeps no more of an answer
_OK = 200


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """Print what the page says, by default /livez, and return the exit code."""
    page = arguments[0] if arguments else "/livez"
    try:
        loaded = config.load(config.path_of(None, environ), environ, random.uniform)
        code, text = ask(loaded.control_api.listen_port, page)
    except OperatorError as error:
        sys.stdout.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{page} answers {code}: {text}\n")
    return int(code != _OK)


def ask(port: int, page: str) -> tuple[int, str]:
    """The status code of `page` on this machine's `port`, and the page in one line.

    Raises OperatorError when nobody answers.
    """
    connection = HTTPSConnection("127.0.0.1", port, timeout=TIMEOUT, context=_unverified())
    try:
        connection.request("GET", page)
        response = connection.getresponse()
        body = response.read(LONGEST)
    except (OSError, HTTPException) as error:
        reason = str(error) or type(error).__name__
        raise OperatorError(f"{page} of port {port} does not answer: {reason}") from None
    finally:
        connection.close()
    return response.status, " ".join(body.decode(errors="replace").split())


def _unverified() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
