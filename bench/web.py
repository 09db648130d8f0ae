"""A real HTTP server (Twisted's), and a client that opens a new connection for each request.

    python -m bench.web serve ADDRESS PORT        prints "ready", then serves 1 KiB per request
    python -m bench.web ask ADDRESS PORT SECONDS  prints the number of requests answered

The client keeps eight connections in flight, so that it is bound by the server and not by round
trips. Client and server each use several times the CPU time of the tunnel, so what is compared is
how much of the machine each tunnel leaves for them.
"""

from __future__ import annotations

import selectors
import socket
import sys
import time
from typing import Any

UNDER_WAY = 8
REQUEST = b"GET / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n"
BODY = b"x" * 1024


def serve(address: str, port: int) -> None:
    from twisted.internet import reactor as installed
    from twisted.web.server import Site
    from twisted.web.static import Data

    reactor: Any = installed
    root = Data(BODY, "text/plain")
    root.putChild(b"", root)
    reactor.listenTCP(port, Site(root), interface=address)
    reactor.callWhenRunning(print, "ready", flush=True)
    reactor.run()


def ask(address: str, port: int, seconds: float) -> int:
    """The number of requests answered in full within the time."""
    answered = 0
    with selectors.DefaultSelector() as selector:
        for _ in range(UNDER_WAY):
            _begin(selector, (address, port))
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            for key, events in selector.select(left):
                outcome = _go_on(selector, key, events)
                if outcome is not None:
                    answered += outcome
                    _begin(selector, (address, port))
        for key in list(selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]
    return answered


def _begin(selector: selectors.BaseSelector, where: tuple[str, int]) -> None:
    connection = socket.socket()
    connection.setblocking(False)
    connection.connect_ex(where)
    selector.register(connection, selectors.EVENT_WRITE, bytearray())


def _go_on(
    selector: selectors.BaseSelector, key: selectors.SelectorKey, events: int
) -> bool | None:
    """One step of one request: None while it is in progress, then whether it was answered in
    full."""
    connection, answer = key.fileobj, key.data
    assert isinstance(connection, socket.socket)  # noqa: S101
    try:
        if events & selectors.EVENT_WRITE:
            connection.send(REQUEST)
            selector.modify(connection, selectors.EVENT_READ, answer)
            return None
        if data := connection.recv(65536):
            answer += data
            return None
    except OSError:
        answer.clear()
    selector.unregister(connection)
    connection.close()
    return bool(answer.startswith(b"HTTP/1.1 200") and answer.endswith(BODY))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve", address, port]:
            serve(address, int(port))
        case ["ask", address, port, seconds]:
            print(ask(address, int(port), float(seconds)))  # noqa: T201
