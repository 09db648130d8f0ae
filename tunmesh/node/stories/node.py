"""What is logged about the node itself."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from tunmesh.addresses import Address
from tunmesh.logs.journal import Journal
from tunmesh.node.settings import Place
from tunmesh.status.health import Health


class NodeStory:
    """The node as a whole."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def listening(self, place: Place, udp: bool) -> None:
        """`udp`: also on the UDP port of the same number."""
        self._journal.info(
            "listening on {where}" + ", and the UDP port of the same number" * udp,
            event="listening",
            where=place.where,
            port=place.port,
            address=str(place.address or ""),
            udp=udp,
        )

    def leaving(self) -> None:
        self._journal.info("leaving the mesh", event="leaving")

    def tun_lost(self, why: str) -> None:
        self._journal.error("{why}", event="tun_lost", why=why)

    def device_changed(self, device: str, complaints: Sequence[str]) -> None:
        """Somebody took something from the device, or gave it back."""
        why = "; ".join(complaints)
        if why:
            self._journal.warn(
                ("device", why),
                "{device} is not as it was set up: {why}",
                event="device_changed",
                device=device,
                why=why,
            )
        else:
            text = "{device} has its addresses and routes again"
            self._journal.info(text, event="device_whole", device=device)

    def addresses_changed(
        self, came: Collection[Address], gone: Collection[Address], links: int
    ) -> None:
        """This host has other addresses. So many links left from one of those that are gone."""
        self._journal.info(
            "the addresses of this host have changed ({change}): {links} links left from one that "
            "is gone and are dialed again, the others are asked whether they work",
            event="host_addresses",
            change="; ".join(
                f"{', '.join(sorted(map(str, which)))} {what}"
                for which, what in ((came, "came"), (gone, "went"))
                if which
            )
            or "not known how",
            links=links,
        )

    def ready(self) -> None:
        self._journal.info("ready", event="ready")

    def not_ready(self, health: Health) -> None:
        why = "; ".join(check.reason for check in health.ready if not check.ok)
        self._journal.warn(("not ready", why), "not ready: {why}", event="not_ready", why=why)

    def settled(self) -> None:
        self._journal.debug("settled: new nodes believe this node's claims", event="settled")
