"""The URL that a node advertises when its host is to be found out (`auto`).

    at the start               a guess: the source of the default route (netlink.own_address)
    a connection is dialed     its local address, before the handshake says the record; as long as
                               no node is linked
    no link, nothing dialed    the guess anew: the machine may have got an address meanwhile
    linked, and no link has    the local address of the link that was dialed last: the machine has
    the host of the URL        another address than before

So a node says of itself what is true on the way to its first peer, also on a host with several
networks. As long as one link has that address at this end, the URL stays.

A connection over loopback counts, too: then the whole mesh may be on this machine. But if it leads
to this node itself it says nothing, and the guess is used again. An IPv6 link-local address never
counts, since it means nothing without an interface, which no URL can name; nor does one inside the
mesh, as no link has one (tls.underlay).
"""

from __future__ import annotations

from collections.abc import Sequence

from tunmesh.addresses import literal_address, plain_host, shown_target


class OwnUrl:
    """Of a node that listens on `port` for the others, and guesses that it is at `guess`."""

    def __init__(self, port: int, guess: str) -> None:
        self._port = port
        self._guess = guess
        self._seen = ""  # the local address of a connection

    @property
    def url(self) -> str:
        return f"https://{shown_target((self._seen or self._guess, self._port))}"

    @property
    def is_guessed(self) -> bool:
        """Whether no connection has shown the address yet."""
        return not self._seen

    def guessed(self, host: str) -> None:
        """This is the guess by now."""
        self._guess = host

    def dialed_from(self, local: str) -> None:
        """A connection was dialed from this address while no node was linked."""
        host = plain_host(local)
        address = literal_address(host)
        if address is None or address.is_unspecified:
            return
        if not (address.version == 6 and address.is_link_local):
            self._seen = host

    def linked_by(self, links: Sequence[tuple[str, bool]]) -> None:
        """There are these links, the newest last: each its local address, and whether it was dialed
        from here."""
        hosts = {plain_host(local) for local, _ in links}
        dialed = [local for local, is_dialed in links if is_dialed]
        if (self._seen or self._guess) in hosts:
            return
        if dialed:
            self.dialed_from(dialed[-1])
        elif hosts:
            self.led_back()  # those that are linked have not come over loopback

    def led_back(self) -> None:
        """The last connection leads to this node itself, and none to another."""
        address = literal_address(self._seen)
        if address is not None and address.is_loopback:
            self._seen = ""
