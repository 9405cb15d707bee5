"""The places for models on a light device: what it holds, has refused and still has to fetch; told as a real agent tells it.

A light device has one profile. It fetches an archive and checks size and digest; signatures it does not, and it scores nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import Final

from models.contract.checkin import BundleFailure, DesiredBundle, DesiredSlots, SlotName, SlotReport
from models.contract.items import BASELINE

_SCORE_US: Final = 180.0
Refuses = Callable[[str], str]  # (bundle id) -> why this device refuses it, "" = it does not


class LightSlots:
    """`refuses` is asked once a bundle is there, as a self-test would be run then."""

    def __init__(self, profile: str, refuses: Refuses) -> None:
        self._profile = profile
        self._refuses = refuses
        self._desired: DesiredSlots | None = None
        self._known: dict[str, str] = {}  # archives that are here and have passed: sha256 by id
        self._failures: dict[str, str] = {}
        self.held: dict[SlotName, str] = {}
        self.since_window: dict[str, int] = {}  # by bundle: from which window on it scores

    def copy(self, refuses: Refuses) -> LightSlots:
        """As on a copied card."""
        other = LightSlots(self._profile, refuses)
        other._desired, other._known, other._failures = self._desired, dict(self._known), dict(self._failures)
        other.held, other.since_window = dict(self.held), dict(self.since_window)
        return other

    def desire(self, told: Iterable[DesiredSlots]) -> None:
        """What the hub said at a check-in; for other profiles it is none of this device's business."""
        for slots in told:
            if slots.profile == self._profile:
                self._desired = slots
        wanted = {bundle.bundle_id for bundle in self._wanted()}
        self._failures = {bundle_id: why for bundle_id, why in self._failures.items() if bundle_id in wanted}

    def to_fetch(self) -> DesiredBundle | None:
        """What is wanted and neither here nor refused."""
        return next((b for b in self._wanted() if b.bundle_id not in self._known and b.bundle_id not in self._failures), None)

    def path_of(self, bundle: DesiredBundle) -> str:
        return f"/v1/tuf/targets/{self._profile}/{bundle.sha256}.{bundle.bundle_id}.bundle"

    def fetched(self, bundle: DesiredBundle, archive: bytes) -> None:
        """Look at what came: it takes a slot by `settle`."""
        right = len(archive) == bundle.size and hashlib.sha256(archive).hexdigest() == bundle.sha256
        why = self._refuses(bundle.bundle_id) if right else "corrupt: another archive than the one that was asked for"
        if why:
            self._failures[bundle.bundle_id] = why
        else:
            self._known[bundle.bundle_id] = bundle.sha256

    def settle(self, window: int) -> bool:
        """Swap to what is desired, where all of it is here or refused; whether anything has changed. From `window` on."""
        if self._desired is None or self.to_fetch() is not None:
            return False
        active, shadow = (self._usable(bundle) for bundle in (self._desired.active, self._desired.shadow))
        if self._desired.active is not None and active is None:
            active = self.held.get("active")  # refused: what serves stays
        new: dict[SlotName, str | None] = {"active": active, "shadow": shadow, "previous": self.held.get("previous")}
        before = self.held.get("active")
        if before is not None and before != active:
            new["previous"] = before
        held = {slot: bundle_id for slot, bundle_id in new.items() if bundle_id is not None}
        if held == self.held:
            return False
        scoring = {bundle_id for slot, bundle_id in held.items() if slot != "previous"}
        self.since_window = {bundle_id: self.since_window.get(bundle_id, window) for bundle_id in scoring}
        self.held = held
        return True

    def detectors(self) -> list[str]:
        """What scores each window, the one that decides first."""
        active, shadow = self.held.get("active"), self.held.get("shadow")
        return [*([active] if active else []), BASELINE, *([shadow] if shadow else [])]

    def reports(self, window: int, n_assets: int) -> list[SlotReport]:
        return [
            SlotReport(
                profile=self._profile,
                slot=slot,
                bundle_id=bundle_id,
                n_windows=max(0, window - self.since_window.get(bundle_id, window)) * n_assets,
                score_us_median=_SCORE_US,
            )
            for slot, bundle_id in self.held.items()
        ]

    @property
    def failures(self) -> list[BundleFailure]:
        return [BundleFailure(bundle_id=bundle_id, reason=why) for bundle_id, why in self._failures.items()]

    def _usable(self, bundle: DesiredBundle | None) -> str | None:
        return bundle.bundle_id if bundle is not None and bundle.bundle_id in self._known else None

    def _wanted(self) -> list[DesiredBundle]:
        if self._desired is None:
            return []
        return [bundle for bundle in (self._desired.active, self._desired.shadow) if bundle is not None]
