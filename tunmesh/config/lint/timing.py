"""Remarks on how patient links are."""

from __future__ import annotations

from collections.abc import Iterator

from tunmesh.config.file import Loc
from tunmesh.config.keys.process import LocalRegistration, MeshRegistration
from tunmesh.config.lint.remarks import Checks, Remark
from tunmesh.link.keepalive import PING_INTERVAL, SILENCE

_MIN_PATIENCE = 3  # stale_threshold by reregistration_interval, as the original advised


def _patience(timing: LocalRegistration, _now: float) -> Iterator[Remark]:
    for key, most in (("reregistration_interval", PING_INTERVAL), ("stale_threshold", SILENCE)):
        asked = getattr(timing, key)
        if key in timing.model_fields_set and asked > most:
            text = f"is {asked:g} s and counts as {most:g} s: links are not more patient than that"
            yield Remark((key,), text)
    interval = min(timing.reregistration_interval, PING_INTERVAL)
    threshold = min(timing.stale_threshold, SILENCE)
    if threshold < _MIN_PATIENCE * interval:
        yield Remark(
            ("stale_threshold",),
            f"is {threshold:g} s, less than {_MIN_PATIENCE} times reregistration_interval "
            f"({interval:g} s), so a peer that is slow once may be given up; make it "
            f"{_MIN_PATIENCE * interval:g} or more",
        )


_TIMING: Loc = ("tun_mesh", "process", "timing", "registrations")


CHECKS: Checks = (
    ((*_TIMING, "local"), LocalRegistration, _patience),
    ((*_TIMING, "mesh"), MeshRegistration, _patience),
)
