"""Which peer's datagrams go to which place.

What comes from a place may say by which address of this host it is answered (sockets.destinations).
A member can forge the source of its datagrams, authentic as they are. So once the path to a peer
leads to a place, only that peer has a say about it: its pings there were answered, which nobody can
do who is not there.
"""

from __future__ import annotations

from tunmesh.udp.port import Place


class PlacesInUse:
    """Of all peers of a node."""

    def __init__(self) -> None:
        self._users: dict[Place, object] = {}
        self._places: dict[object, Place] = {}

    def use(self, user: object, place: Place | None) -> None:
        """The datagrams to this peer go there from now on, or nowhere. Where two peers are in one
        place, the first has the say."""
        if self._places.get(user) == place:
            return
        before = self._places.pop(user, None)
        if before is not None and self._users.get(before) is user:
            del self._users[before]
        if place is not None:
            self._places[user] = place
            self._users.setdefault(place, user)

    def is_open_to(self, user: object, place: Place) -> bool:
        """Whether this peer has a say about that place."""
        return self._users.get(place, user) is user
