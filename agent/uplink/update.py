"""Bringing the slots to what the hub desires: download, verify, self-test, swap; or refuse and keep what serves.

    desired --> held already? ------------------------------------------------\\
            \\-> download, verify (TUF, in a child) -> readable? -> spec? -> self-test -> slots.json -> pipeline

Every step before the swap works on a candidate that nothing else knows; whatever fails, the current slot goes on serving
and the reason is reported. A link that fails is no verdict on the bundle: it is tried again at the next check-in. That the
repository does not vouch for a bundle is a verdict on what was served just now: it is tried again, but an hour later.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Protocol

import msgspec

from agent.judges import Serving, serving_of
from agent.uplink.slots import Held, ProfileSlots, SlotStore
from models.bundle.archive import Bundle, digest, read_bundle
from models.bundle.selftest import Sizes, load_detector, self_test
from models.contract.checkin import DesiredBundle, DesiredSlots
from models.errors import BundleError, BundleIncompatible, BundleUntrusted, LinkError

log = logging.getLogger("tocsin.update")
TRUST_AGAIN_S: Final = 3600.0
Serve = Callable[[str, Serving | None, Serving | None], None]  # (profile, active, shadow)


class BundleSource(Protocol):
    """Where bundles come from: `agent.distribution.process.Distribution`."""

    def fetch(self, profile: str, wanted: DesiredBundle) -> bytes:
        """The archive, of the size and digest that is wanted. Raises LinkError, BundleUntrusted."""
        ...


class Updater:
    """Works towards what the hub desires. `spec_hashes`, `sizes`: by profile. `serve`: hands models to the pipeline. `source`:
    None for a device without a hub."""

    def __init__(
        self,
        slots: SlotStore,
        source: BundleSource | None,
        spec_hashes: Mapping[str, str],
        serve: Serve,
        mono_s: Callable[[], float] = time.monotonic,
        sizes: Mapping[str, Sizes] | None = None,
    ) -> None:
        self._slots = slots
        self._source = source
        self._spec_hashes = spec_hashes
        self._serve = serve
        self._mono_s = mono_s
        # When to ask again for what the repository did not vouch for: after a start, at once.
        reasons = {failure.bundle_id: failure.reason for failure in slots.failures}
        self._again_s = {name: 0.0 for name, reason in reasons.items() if reason.startswith(BundleUntrusted.reason)}
        self._sizes = sizes or {}

    def resume(self) -> None:
        """After a start: put before the pipeline what the slots hold.

        A bundle that no longer passes gives way: the active one to the last good one, else to the baseline.
        """
        for profile in self._spec_hashes:
            slots = self._slots.of(profile)
            active, shadow = self._usable(profile, slots.active), self._usable(profile, slots.shadow)
            if slots.active and active is None:
                active = self._usable(profile, slots.previous)
                slots = ProfileSlots(active=slots.previous if active else None, shadow=slots.shadow)
            if slots.shadow and shadow is None:
                slots = msgspec.structs.replace(slots, shadow=None)
            if slots != self._slots.of(profile):
                self._slots.put(profile, slots)
            self._serve(profile, active, shadow)

    def _usable(self, profile: str, held: Held | None) -> Serving | None:
        if held is None:
            return None
        archive = self._slots.load(held.sha256)
        if archive is None or digest(archive) != held.sha256:  # the storage's fault, not the bundle's: it may come again
            log.warning("bundle %s cannot serve: its file is gone or damaged", held.bundle_id)
            return None
        try:
            return _self_tested(read_bundle(archive), self._spec_hashes[profile], self._sizes.get(profile))[0]
        except BundleError as error:
            log.warning("bundle %s refused at start: %s", held.bundle_id, error)
            self._slots.refuse(held.bundle_id, f"{error.reason}: {error}")
            return None

    def reconcile(self, desired: Iterable[DesiredSlots]) -> None:
        """Take one step towards `desired`. Raises LinkError where a download fails; what was swapped before stays."""
        desired = list(desired)
        asked_for = {bundle.bundle_id for slots in desired for bundle in (slots.active, slots.shadow) if bundle}
        self._slots.forget_failures(asked_for)
        for slots in desired:
            if slots.profile in self._spec_hashes:
                self._reconcile_profile(slots)

    def _reconcile_profile(self, desired: DesiredSlots) -> None:
        current = self._slots.of(desired.profile)
        if self._settled(current.active, desired.active) and self._settled(current.shadow, desired.shadow):
            return
        active = self._obtain(desired.profile, desired.active, current)
        shadow = self._obtain(desired.profile, desired.shadow, current)
        refused = desired.active is not None and active is None
        new_active = current.active if refused else (active[1] if active else None)
        changed = new_active != current.active
        new = ProfileSlots(
            active=new_active,
            shadow=shadow[1] if shadow else None,
            previous=current.active if changed and current.active else current.previous,
        )
        if new == current:
            return
        self._slots.put(desired.profile, new)
        serving = self._usable(desired.profile, current.active) if refused else (active[0] if active else None)
        self._serve(desired.profile, serving, shadow[0] if shadow else None)
        log.info("%s now runs %s", desired.profile, new_active.bundle_id if new_active else "the baseline detector")

    def _settled(self, held: Held | None, wanted: DesiredBundle | None) -> bool:
        """Whether there is nothing to do for a slot, or nothing that would help."""
        return _same(held, wanted) or (wanted is not None and self._given_up(wanted.bundle_id))

    def _given_up(self, bundle_id: str) -> bool:
        """Whether `bundle_id` was refused, and it is not time to ask again."""
        return self._slots.refused(bundle_id) and self._mono_s() < self._again_s.get(bundle_id, math.inf)

    def _obtain(self, profile: str, wanted: DesiredBundle | None, current: ProfileSlots) -> tuple[Serving, Held] | None:
        """The wanted bundle, ready to serve; None where none is wanted, or it was or is now refused."""
        if wanted is None or self._given_up(wanted.bundle_id):
            return None
        stored = self._slots.load(wanted.sha256)
        if stored is not None and digest(stored) != wanted.sha256:
            stored = None  # damaged in storage: fetched anew
        try:
            archive = stored or self._fetch(profile, wanted)
            bundle = read_bundle(archive)
            if (bundle.manifest.profile, bundle.manifest.bundle_id) != (profile, wanted.bundle_id):
                raise BundleIncompatible(
                    f"{wanted.bundle_id} for {profile} is {bundle.manifest.bundle_id} for {bundle.manifest.profile}"
                )
            serving, score_us = _self_tested(bundle, self._spec_hashes[profile], self._sizes.get(profile))
        except BundleError as error:
            log.warning("bundle %s refused: %s", wanted.bundle_id, error)
            self._slots.refuse(wanted.bundle_id, f"{error.reason}: {error}")
            again_s = self._mono_s() + TRUST_AGAIN_S if isinstance(error, BundleUntrusted) else math.inf
            self._again_s[wanted.bundle_id] = again_s
            return None
        self._slots.accept(wanted.bundle_id)
        if stored is None:
            self._slots.store(wanted.sha256, archive)
        held = next((held for held in current.held() if _same(held, wanted)), None)
        return serving, held or Held(wanted.bundle_id, wanted.sha256, score_us)

    def _fetch(self, profile: str, wanted: DesiredBundle) -> bytes:
        if self._source is None:
            raise LinkError("no hub to fetch bundles from")
        return self._source.fetch(profile, wanted)


def _self_tested(bundle: Bundle, spec_hash: str, sizes: Sizes | None) -> tuple[Serving, float]:
    """The bundle's detector after its golden vectors have passed here, and the median time of a score, µs."""
    detector = load_detector(bundle, spec_hash, sizes)
    result = self_test(bundle, detector)
    return serving_of(bundle, detector), result.score_us


def _same(held: Held | None, wanted: DesiredBundle | None) -> bool:
    return (held and (held.bundle_id, held.sha256)) == (wanted and (wanted.bundle_id, wanted.sha256))
