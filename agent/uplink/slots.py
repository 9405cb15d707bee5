"""The places for models on a device: active, shadow and previous, per profile.

    DIR/bundles/<sha256>.bundle     content-addressed, written once, never changed
    DIR/slots.json                  which bundle is in which slot, and which bundles were refused and why

Invariants:
1. A slot changes by one atomic replacement of `slots.json`: after a power cut it is the old model or the new one.
2. Only bundles that were verified and self-tested on this device are ever named in a slot.
3. A bundle that is named in a slot is never deleted; when the active one changes, the one before stays as `previous`.
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from pathlib import Path

import msgspec

from models.contract.checkin import BundleFailure
from models.files import write_durably


class Held(msgspec.Struct, frozen=True):
    """A bundle in a slot."""

    bundle_id: str
    sha256: str
    score_us: float


class ProfileSlots(msgspec.Struct, frozen=True, kw_only=True):
    """None = empty; without an active bundle the baseline detector decides."""

    active: Held | None = None
    shadow: Held | None = None
    previous: Held | None = None

    def held(self) -> Iterable[Held]:
        return [slot for slot in (self.active, self.shadow, self.previous) if slot is not None]


class _File(msgspec.Struct, frozen=True, kw_only=True):
    profiles: dict[str, ProfileSlots] = {}
    failures: dict[str, str] = {}


class SlotStore:
    """The slots on disk. A `slots.json` that cannot be read counts as empty: the baseline serves, the hub sends again."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._bundles = directory / "bundles"
        self._bundles.mkdir(parents=True, exist_ok=True)
        self._path = directory / "slots.json"
        self._file = self._read()

    def _read(self) -> _File:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=_File)
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError):  # not there, or a bad sector
            return _File()

    def _write(self, file: _File) -> None:
        write_durably(self._path, msgspec.json.encode(file))
        self._file = file

    @property
    def profiles(self) -> dict[str, ProfileSlots]:
        return self._file.profiles

    def of(self, profile: str) -> ProfileSlots:
        return self._file.profiles.get(profile, ProfileSlots())

    @property
    def failures(self) -> list[BundleFailure]:
        return [BundleFailure(bundle_id=bundle, reason=reason) for bundle, reason in self._file.failures.items()]

    def put(self, profile: str, slots: ProfileSlots) -> None:
        """Swap a profile's slots; returns once that is durable. Bundles that no slot names any more are deleted."""
        self._write(msgspec.structs.replace(self._file, profiles={**self._file.profiles, profile: slots}))
        named = {f"{held.sha256}.bundle" for each in self._file.profiles.values() for held in each.held()}
        for path in self._bundles.glob("*.bundle"):
            if path.name not in named:
                path.unlink(missing_ok=True)

    def refuse(self, bundle_id: str, reason: str) -> None:
        """Remember that `bundle_id` was refused, so that it is reported and not tried again."""
        self._write(msgspec.structs.replace(self._file, failures={**self._file.failures, bundle_id: reason[:500]}))

    def refused(self, bundle_id: str) -> bool:
        return bundle_id in self._file.failures

    def accept(self, bundle_id: str) -> None:
        """It was refused, and is in order now."""
        self.forget_failures(self._file.failures.keys() - {bundle_id})

    def forget_failures(self, still_desired: Set[str]) -> None:
        """Drop the failures of bundles that nobody asks for any more: should one be asked for again, it gets its chance."""
        failures = {bundle: reason for bundle, reason in self._file.failures.items() if bundle in still_desired}
        if failures != self._file.failures:
            self._write(msgspec.structs.replace(self._file, failures=failures))

    def store(self, sha256: str, archive: bytes) -> None:
        """Keep an archive; it takes a slot only by `put`."""
        write_durably(self._bundles / f"{sha256}.bundle", archive)

    def load(self, sha256: str) -> bytes | None:
        """The archive, or None where it is not here, or lies on a bad sector."""
        try:
            return (self._bundles / f"{sha256}.bundle").read_bytes()
        except OSError:
            return None
