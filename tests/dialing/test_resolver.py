"""Looking up names: what waits for it, and what does not."""

from __future__ import annotations

from twisted.trial import unittest

from tests.support.netns import run_python
from tests.support.realnode import reactor


class NamesTests(unittest.TestCase):
    """A process with a resolver of its own, and a system that looks names up as the test says."""

    async def look_up(self, getaddrinfo: str, *names: str) -> list[str]:
        """The answers, in the order in which they come, until a name that ends in .last has one.
        The process must then end by itself."""
        out, err, code = await run_python(reactor, LOOK_UP.format(getaddrinfo=getaddrinfo), *names)
        self.assertEqual((err.decode(), code), ("", 0))
        return out.decode().splitlines()

    async def test_names(self) -> None:
        """A name has the addresses that the system knows, of both families, in the order that they
        were shuffled into: what is nearest, which may be this machine itself, is not preferred."""
        known = """[
            (AF_INET6, SOCK_STREAM, 6, "", ("fd00::1", port, 0, 0)),
            (AF_INET, SOCK_STREAM, 6, "", ("192.0.2.1", port)),
        ]"""
        self.assertEqual(await self.look_up(known, "a.last"), ["a.last 192.0.2.1 fd00::1"])

    async def test_errors(self) -> None:
        """A name that the system does not know, or chokes on, has no addresses."""
        for error in ("gaierror(2, 'unknown')", "OSError(24, 'files')", "UnicodeError('label')"):
            self.assertEqual(await self.look_up(f"fail({error})", "a.last"), ["a.last"])

    async def test_silent_name_server(self) -> None:
        """While lookups hang, however many, addresses are answered; and the process does not wait
        for them when it ends."""
        names = [f"{number}.test" for number in range(50)]
        hang = "time.sleep(3600) if host.endswith('.test') else real(host, port, 0, SOCK_STREAM)"
        answers = await self.look_up(hang, *names, "192.0.2.7", "fd00::7", "127.0.0.1")
        self.assertEqual(answers, ["192.0.2.7 192.0.2.7", "fd00::7 fd00::7", "127.0.0.1 127.0.0.1"])


LOOK_UP = """
import socket, sys, time
from socket import AF_INET, AF_INET6, SOCK_STREAM, gaierror

real = socket.getaddrinfo

def fail(error):
    raise error

socket.getaddrinfo = lambda host, port, *_, **__: {getaddrinfo}

from twisted.internet import reactor
from tunmesh.dialing.resolver import Resolver

class Answer:
    def __init__(self, name):
        self.line = [name]
    def resolutionBegan(self, resolution):
        assert resolution.name == self.line[0]
    def addressResolved(self, address):
        assert address.port == 4567
        self.line.append(address.host)
    def resolutionComplete(self):
        print(*self.line)
        if self.line[0] in ("a.last", "127.0.0.1"):
            reactor.stop()

def ask():
    for name in sys.argv[1:]:
        reactor.nameResolver.resolveHostName(Answer(name), name, 4567)

reactor.installNameResolver(Resolver(reactor, list.reverse))
reactor.callWhenRunning(ask)
reactor.run()
"""
