"""Changes one device: what the helper does once a request is allowed.

Taking the last IPv4 address off a device takes away all its routes, and taking off the first of two
in one subnet takes away the second as well (unless net.ipv4.conf.*.promote_secondaries is set). So
what should remain is put back at once.

The kernel takes IPv6 away from a device whose MTU is below 1,280, with all that it knew. When the
MTU is large enough again, it begins anew, and makes a link-local address unless the device is down
until it was told not to.

Sources: rtnetlink(7), inet_del_ifa in net/ipv4/devinet.c, fib_inetaddr_event in
net/ipv4/fib_frontend.c, addrconf_dad_work and addrconf_notify in net/ipv6/addrconf.c.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Sequence
from contextlib import suppress

from tunmesh.addresses import Interface, firsts, link_local_of
from tunmesh.assigner.allowance import Allowance, Family
from tunmesh.assigner.wire import PUT, Request
from tunmesh.netlink import changes, messages
from tunmesh.netlink.exchange import Exchange, open_socket

_CHUNK = 1 << 14
_PATIENCE = 20.0  # seconds until an address can be used; it is a millisecond or two
_TIMEOUT = 1.0  # seconds that it waits for news at a time


class Hand:
    """Acts on the device with this index. Opens its sockets in the constructor, and sets all that
    is to be set of them. Raises OSError."""

    def __init__(self, index: int, allowance: Allowance) -> None:
        self._index = index
        self._allowance = allowance
        self._mtu = allowance.mtu  # what routes go by
        self._asked = Exchange()
        self._news = open_socket(changes.IPV6_ROUTE_NEWS)
        self._news.settimeout(_TIMEOUT)
        if any(family.has_link_local for family in allowance.families):
            import hashlib  # noqa: F401 (for link_local_of: no file can be opened later)

    def carry_out(self, asked: Request) -> None:
        """Do what was asked, and was allowed. Returns when packets reach the addresses. Raises
        OSError."""
        allowance, own = self._allowance, asked.interface
        if own is None:
            self._set_link(asked.mtu or allowance.mtu, asked.queue or allowance.queue)
            self._mtu = asked.mtu or allowance.mtu
            for family in allowance.families:
                self._put(family, allowance.of_version(family.network.version))
            self._put_behind()
            for floating in allowance.floating:
                self._put_alone(floating)
            return
        if asked.what == PUT and allowance.floats(own):
            self._put_alone(own)
            return
        held = allowance.of_version(own.version)
        if asked.what != PUT:
            self._take_off(own)
            if own in held:
                held.remove(own)
                if allowance.family_of(own).has_link_local:
                    self._take_off(link_local_of(own))
        elif own not in held:
            held.append(own)
        self._put(allowance.family_of(own), held)
        self._put_behind()

    def _put(self, family: Family, held: Sequence[Interface]) -> None:
        """Let the device have these addresses of a family, and their routes."""
        index, network = self._index, family.network
        for own in held:
            self._asked.change(changes.put_address, index, own, family.broadcast)
            if family.has_link_local:
                local = link_local_of(own)
                self._asked.change(changes.put_address, index, local, broadcast=False)
        last, subnets = network.broadcast_address, [own.network for own in held]
        if held and family.broadcast:
            # One that the kernel makes with an address is better: it goes with the address.
            if last in [subnet.broadcast_address for subnet in subnets]:
                with suppress(ProcessLookupError):  # ESRCH: there is none
                    self._asked.change(changes.take_off_broadcast, index, last)
            else:
                self._asked.change(changes.put_broadcast, index, last, held[0].ip)
        if family.is_automatic or not held:
            self._asked.change(changes.put_route, index, network, self._mtu)
        elif network in subnets:
            with suppress(ProcessLookupError):
                self._asked.change(changes.take_off_route, index, network)
        else:
            source = held[0].ip
            self._asked.change(changes.put_route, index, network, self._mtu, source)
        for own in firsts(held):
            self._asked.change(changes.put_subnet, index, own, self._mtu)
        for own in held:
            self._await_usable(own)

    def _put_behind(self) -> None:
        """The kernel chooses the source of what is sent there: of a route that named an address, it
        would remove the route with the address."""
        for network in self._allowance.behind:
            self._asked.change(changes.put_route, self._index, network, self._mtu)

    def _put_alone(self, floating: Interface) -> None:
        """Let the device have an address without a subnet."""
        self._asked.change(changes.put_address, self._index, floating, False)
        self._await_usable(floating)

    def _take_off(self, own: Interface) -> None:
        try:
            self._asked.change(changes.take_off_address, self._index, own)
        except OSError as error:
            if error.errno != errno.EADDRNOTAVAIL:  # somebody else has done it
                raise

    def _set_link(self, mtu: int, queue: int) -> None:
        """Let the device be up, with this MTU and txqueuelen, and as at the start otherwise."""
        index = self._index
        has_ipv6 = any(family.network.version == 6 for family in self._allowance.families)
        may_begin = has_ipv6 or self._mtu < changes.MIN_MTU_IPV6 <= mtu
        is_anew = may_begin and not self._forgoes_link_local()
        self._asked.change(changes.set_link, index, not is_anew, mtu, queue)
        if is_anew:
            self._forgo_link_local()
            self._asked.change(changes.set_link, index, True)
        if not self._allowance.forwards:
            with suppress(OSError):  # it only saves time
                self._asked.change(changes.limit_pieces, index)

    def _forgoes_link_local(self) -> bool:
        """False if the device has no IPv6, or has begun anew with it."""
        answer = self._asked.ask(changes.ask_link, self._index)
        if code := changes.errno_of(answer):
            raise OSError(code, os.strerror(code))
        return changes.forgoes_link_local(answer)

    def _forgo_link_local(self) -> None:
        try:
            self._asked.change(changes.forgo_link_local, self._index)
        except OSError as error:
            if error.errno != errno.EAFNOSUPPORT:  # there is no IPv6 in this namespace
                raise

    def _await_usable(self, own: Interface) -> None:
        """As netlink.setup does for a static address: the kernel completes an IPv6 address later,
        and last of all makes its route, and tells those who listen."""
        deadline = time.monotonic() + _PATIENCE
        while not self._is_usable(own):
            if time.monotonic() > deadline:
                raise OSError(errno.EADDRNOTAVAIL, "it does not become usable")
            try:
                self._news.recv(_CHUNK)  # whether it is about ours, the next look tells
            except TimeoutError:
                continue
            except OSError as error:
                if error.errno != errno.ENOBUFS:  # there was more of it than the socket holds
                    raise

    def _is_usable(self, own: Interface) -> bool:
        return changes.is_local(self._asked.ask(messages.route_request, own.ip))
