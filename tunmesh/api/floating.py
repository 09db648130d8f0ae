"""The pages of the control socket for floating addresses.

POST /v1/claim?address=A     have this address on this node, as soon as no other node has it
POST /v1/release?address=A   give it up
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from twisted.web.resource import Resource
from twisted.web.server import Request

from tunmesh.addresses import Address
from tunmesh.api.http import address_of, answer_json, refuse
from tunmesh.observe import status_json
from tunmesh.observe.status_json import Json
from tunmesh.status.node import FloatingAddress


class Floating(Protocol):
    """The floating addresses of a node; node.own.floating.OwnFloating is one."""

    def claim(self, address: Address) -> FloatingAddress:
        """Raises ValueError if it may not be claimed."""
        ...

    def release(self, address: Address) -> bool:
        """Whether it was claimed."""
        ...


class _Page(Resource):
    """Does something with one address. `act` may raise ValueError."""

    isLeaf = True

    def __init__(self, act: Callable[[Address], Json]) -> None:
        super().__init__()
        self._act = act

    def render_POST(self, request: Request) -> bytes:
        try:
            done = self._act(address_of(request, b"address"))
        except ValueError as error:
            return refuse(request, str(error))
        return answer_json(request, {"version": status_json.VERSION, **done})


def put_pages(first: Resource, floating: Floating) -> None:
    """Put them below /v1."""

    def claimed(address: Address) -> Json:
        found = floating.claim(address)
        return {
            "address": found.address,
            "state": found.state,
            "usable": found.is_usable,
            "holder": found.holder,
        }

    first.putChild(b"claim", _Page(claimed))
    first.putChild(
        b"release",
        _Page(lambda address: {"address": str(address), "was_claimed": floating.release(address)}),
    )
