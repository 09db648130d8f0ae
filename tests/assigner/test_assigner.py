"""The node's side of the helper: Deferreds over a real socket. The test plays the helper."""

from __future__ import annotations

import socket
from ipaddress import ip_interface

from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure
from twisted.trial import unittest

from tests.support.readers import Readers
from tunmesh.assigner import wire
from tunmesh.assigner.assigner import PATIENCE, HelpedAssigner
from tunmesh.assigner.wire import Request
from tunmesh.errors import OperatorError

ADDRESS = ip_interface("10.77.3.5/24")
OTHER = ip_interface("fd77::5/64")


class Requests(unittest.SynchronousTestCase):
    def setUp(self) -> None:
        ours, self.helper = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        self.addCleanup(self.helper.close)
        self.addCleanup(ours.close)
        self.loop = Readers()
        self.lost: list[str] = []
        self.assigner = HelpedAssigner(self.loop, ours, self.lost.append)

    def asked(self) -> Request:
        return wire.read_request(self.helper.recv(100))

    def answer(self, code: int = 0, why: str = "") -> None:
        self.helper.send(wire.answer(code, why))
        self.assigner.doRead()

    def test_done(self) -> None:
        """Each Deferred fires when its own request was carried out, in turn."""
        put, taken = self.assigner.put(ADDRESS), self.assigner.take_off(OTHER)
        self.assertEqual(self.asked(), Request(wire.PUT, ADDRESS))
        self.assertEqual(self.asked(), Request(wire.TAKE_OFF, OTHER))
        self.assertNoResult(put)
        self.answer()
        self.assertIsNone(self.successResultOf(put))
        self.assertNoResult(taken)
        self.answer()
        self.assertIsNone(self.successResultOf(taken))

    def test_refused(self) -> None:
        """A refusal is one line for a person, in the helper's words or the kernel's."""
        put, again = self.assigner.put(ADDRESS), self.assigner.put(ADDRESS)
        self.answer(1, "10.77.3.5 is reserved")
        error = self.failureResultOf(put, OperatorError).value
        self.assertEqual(str(error), "cannot put 10.77.3.5/24 on the device: 10.77.3.5 is reserved")
        self.answer(19)
        error = self.failureResultOf(again, OperatorError).value
        self.assertEqual(str(error), "cannot put 10.77.3.5/24 on the device: No such device")
        self.assertEqual(self.lost, [])

    def test_helper_dies(self) -> None:
        """What waits for an answer fails, what is asked later fails, and the owner is told once."""
        put = self.assigner.put(ADDRESS)
        self.helper.close()
        self.assigner.doRead()
        self.failureResultOf(put, OperatorError)
        self.failureResultOf(self.assigner.put(ADDRESS), OperatorError)
        self.assertEqual(self.lost, ["the helper process for the device is gone"])
        self.assertEqual(self.loop.readers, set())

    def test_no_answer(self) -> None:
        """A helper that was stopped is as good as none; what it says later does not matter."""
        put, later = self.assigner.put(ADDRESS), self.assigner.put(OTHER)
        self.loop.advance(PATIENCE / 2)
        self.assertNoResult(put)
        self.loop.advance(PATIENCE)
        error = self.failureResultOf(put, OperatorError).value
        self.assertEqual(
            str(error),
            "cannot put 10.77.3.5/24 on the device: the helper process does not answer",
        )
        self.failureResultOf(later, OperatorError)
        self.answer()
        self.answer()
        self.assertEqual(self.lost, [])

    def test_out_of_turn(self) -> None:
        """An answer to nothing is no helper of ours."""
        self.answer()
        self.assertEqual(len(self.lost), 1)

    def test_flooded(self) -> None:
        """When the socket is full, a request fails; it does not wait in memory."""
        asked = [self.assigner.put(ADDRESS) for _ in range(2000)]
        self.failureResultOf(asked[-1], OperatorError)
        self.helper.close()
        self.assigner.doRead()
        for each in asked[:-1]:
            self.failureResultOf(each, OperatorError)

    def test_stop(self) -> None:
        """The end of the node is not a loss, and it ends the helper."""
        self.assigner.put(ADDRESS)
        self.assigner.stop()
        self.assigner.stop()
        self.assigner.connectionLost(Failure(ConnectionDone()))
        self.assertEqual((self.lost, self.loop.readers), ([], set()))
        self.asked()
        self.assertEqual(self.helper.recv(100), b"")
