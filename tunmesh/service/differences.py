"""What has changed in a config, for the log."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from tunmesh.auth.handshake import Key
from tunmesh.dialing.bootstrap import GroupSettings
from tunmesh.node.settings import DeviceSettings
from tunmesh.service.load import LoadedConfig
from tunmesh.units import counted

if TYPE_CHECKING:
    from tunmesh.config.keys.serving import Logging


def differences(old: LoadedConfig, new: LoadedConfig) -> Iterator[str]:
    """What a running node can follow of the differences between two configs, in words. Nothing that
    is derived from a secret is shown."""
    before, after = old.reloadable, new.reloadable
    if before.keys != after.keys:
        yield f"secret ({', '.join(_secrets(before.keys, after.keys))})"
    if before.credentials.chain != after.credentials.chain:
        until = after.credentials.chain[0].not_valid_after_utc
        yield f"certificate (valid until {until:%Y-%m-%d %H:%M} UTC)"
    if before.credentials.trusted != after.credentials.trusted:
        yield "trusted certificates"
    if before.credentials.verify_hostname != after.credentials.verify_hostname:
        yield f"verify_hostname ({str(after.credentials.verify_hostname).lower()})"
    names = ", ".join(_changed_groups(before.groups, after.groups))
    if names:
        yield f"bootstrap groups ({names})"
    if before.node_groups != after.node_groups:
        yield f"node_groups ({', '.join(after.node_groups) or 'none'})"
    if before.advertise != after.advertise:
        yield f"advertise ({', '.join(map(str, after.advertise)) or 'none'})"
    if before.relay != after.relay:
        yield f"relay ({str(after.relay).lower()})"
    if before.expected_nodes != after.expected_nodes:
        yield f"expected_nodes ({after.expected_nodes or 'none'})"
    yield from _device(before.device, after.device)
    if old.config.logging != new.config.logging:
        yield f"logging ({', '.join(_logging(new.config.logging))})"


def _device(before: DeviceSettings, after: DeviceSettings) -> Iterator[str]:
    if before.mtu != after.mtu:
        yield f"mtu ({after.mtu})"
    if before.queue != after.queue:
        yield f"txqueuelen ({after.queue or 'as it was'})"
    if before.addresses != after.addresses:
        yield f"node_address_cidr ({', '.join(map(str, after.addresses))})"


def _secrets(before: Sequence[Key], after: Sequence[Key]) -> Iterator[str]:
    """What changed: the secret that is offered, those that are accepted as well, those revoked."""
    offered, *others = after
    if offered == before[0]:
        yield "offers the same one"
    else:
        yield "offers one that was accepted before" if offered in before else "offers a new one"
    new = sum(key not in before for key in others)
    known = len(others) - new
    if new:
        yield f"also accepts {new} new"
    if known:
        yield f"still accepts {counted(known, 'other')}"
    gone = sum(key not in after for key in before)
    if gone:
        yield f"revokes {gone}"


def _logging(logging: Logging) -> Iterator[str]:
    yield logging.level
    yield logging.format
    yield from (f"{part} {level}" for part, level in logging.levels.items())


def _changed_groups(
    before: Iterable[GroupSettings], after: Iterable[GroupSettings]
) -> Iterator[str]:
    old, new = ({group.name: group for group in groups} for groups in (before, after))
    yield from (f"{name} new" for name in new.keys() - old.keys())
    yield from (f"{name} changed" for name in old.keys() & new.keys() if old[name] != new[name])
    yield from (f"{name} gone" for name in old.keys() - new.keys())
