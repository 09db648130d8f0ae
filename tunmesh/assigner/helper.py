"""The helper process: it waits for requests of its node, judges each, and carries it out.

    node, no capabilities ── put this address ──> helper, NET_ADMIN ── netlink ──> kernel
      │                   <── done, or why not ──┘
      └ reads the network                          reads nothing but these few bytes

It is another program, not a copy of the node: so it has none of the node's secrets in its memory,
other addresses in it, and a tenth of its size. It starts as root, since the user that it becomes
may not be allowed to read Python's modules; by the time it answers for the first time it has become
that user, has no capability but NET_ADMIN, has no descriptors but those that it needs, cannot be
attached to, and may make only the system calls of host.seccomp.ALLOWED.

It ends with its node: then the socket is at its end. Signals do not reach it (assigner.start),
since a node that is told to end still has to leave its mesh.

It imports little, as its memory counts for every node that has one.
"""

from __future__ import annotations

import errno
import os
import resource
import socket
import sys
import time

from tunmesh.assigner import wire
from tunmesh.assigner.allowance import Allowance, Device
from tunmesh.assigner.hand import Hand
from tunmesh.errors import OperatorError
from tunmesh.host import privileges, seccomp
from tunmesh.rate_limit import TokenBucket

# Requests that are answered at once, and a second. A node asks for two when its address changes.
BURST, RATE = 20, 5.0


def main(arguments: list[str]) -> int:
    """`arguments`: uid, gid, the index of the device, and those of allowance.Device. Standard input
    is the socket. Returns the exit code."""
    uid, gid, index, *device = arguments
    node = socket.socket(fileno=0)
    os.closerange(3, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    allowance = Allowance(Device.parse(*device))
    try:
        hand = Hand(int(index), allowance)
        os.close(1)
        privileges.drop(int(uid), int(gid), keep=privileges.NET_ADMIN)
    except OperatorError as error:
        node.send(wire.answer(errno.EPERM, str(error)))
        return 1
    # Nothing else may have to be imported from here on.
    node.send(wire.answer(0, seccomp.allow_only()))
    serve(node, allowance, hand)
    return 0


def serve(node: socket.socket, allowance: Allowance, hand: Hand) -> None:
    """Answer requests until the node is gone. One that asks too often waits."""
    bucket = TokenBucket(BURST, RATE, time.monotonic())
    try:
        while asked := node.recv(wire.MAX_REQUEST + 1):  # more than that is cut off
            time.sleep(bucket.wait(time.monotonic()))
            bucket.take(time.monotonic())
            node.send(_answer(asked, allowance, hand))
    except ConnectionError:
        pass


def _answer(data: bytes, allowance: Allowance, hand: Hand) -> bytes:
    try:
        asked = wire.read_request(data)
        allowance.judge(asked)
    except ValueError as error:
        return wire.answer(errno.EPERM, str(error))
    try:
        hand.carry_out(asked)
    except OSError as error:
        return wire.answer(error.errno or errno.EIO, error.strerror or str(error))
    allowance.done(asked)
    return wire.answer(0)


def run() -> None:
    """The whole life of the process. Nothing is cleaned up at its end: the filter refuses that."""
    os._exit(main(sys.argv[1:]))
