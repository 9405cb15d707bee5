"""Bundles on their way into a slot: what is good takes it, and whatever is bad leaves slot, disk and pipeline as they were."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from agent.judges import Serving
from agent.uplink.slots import SlotStore
from agent.uplink.update import TRUST_AGAIN_S, Updater
from models.bundle.archive import Golden
from models.contract.checkin import DesiredBundle, DesiredSlots
from models.errors import BundleUntrusted, LinkError
from tests.builders import BundleParts, bundle, desired, rig, tiny_model, wrong_golden


class Shelf:
    """Verified bundles, or what became of verifying them, by id. How they are verified: tests/distribution."""

    def __init__(self) -> None:
        self.files: dict[str, bytes | Exception] = {}
        self.gets: list[str] = []

    def fetch(self, profile: str, wanted: DesiredBundle) -> bytes:
        self.gets.append(wanted.bundle_id)
        file = self.files[wanted.bundle_id]
        if isinstance(file, Exception):
            raise file
        return file


class Device:
    """An updater with its slots on disk and a shelf of bundles; `served` is what the pipeline was last given."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.hub = Shelf()
        self.now_s = 100.0
        self.n_served = 0
        self.restart()

    def restart(self) -> None:
        self.slots = SlotStore(self.directory)
        self.served: tuple[str | None, str | None] = (None, None)
        self.updater = Updater(self.slots, self.hub, {"rig": rig().spec_hash}, self._serve, lambda: self.now_s)

    def _serve(self, profile: str, active: Serving | None, shadow: Serving | None) -> None:
        assert profile == "rig"
        self.n_served += 1
        self.served = (active and active.detector.detector_id, shadow and shadow.detector.detector_id)

    def offer(self, bundle_id: str, archive: bytes | Exception | None = None) -> DesiredBundle:
        """Put a bundle on the hub; how the hub asks for it."""
        self.hub.files[bundle_id] = bundle(bundle_id) if archive is None else archive
        return desired(archive if isinstance(archive, bytes) else bundle(bundle_id), bundle_id)

    def ask(self, active: DesiredBundle | None, shadow: DesiredBundle | None = None, profile: str = "rig") -> None:
        self.updater.reconcile([DesiredSlots(profile=profile, active=active, shadow=shadow)])

    @property
    def in_slots(self) -> tuple[str | None, ...]:
        slots = self.slots.of("rig")
        return tuple(held and held.bundle_id for held in (slots.active, slots.shadow, slots.previous))

    @property
    def on_disk(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in sorted(self.directory.rglob("*")) if path.is_file()}

    @property
    def bundles_on_disk(self) -> int:
        return sum(name.endswith(".bundle") for name in self.on_disk)

    @property
    def reasons(self) -> dict[str, str]:
        return {failure.bundle_id: failure.reason for failure in self.slots.failures}


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path)


@pytest.fixture
def serving(device: Device) -> Device:
    """A device that runs v1, and has v0 to fall back to."""
    device.ask(device.offer("rig-v0"))
    device.ask(device.offer("rig-v1"))
    assert device.in_slots == ("rig-v1", None, "rig-v0")
    return device


# --- good bundles -------------------------------------------------------------------------------------------------


def test_a_good_bundle_is_verified_tested_stored_and_served(device: Device) -> None:
    device.ask(device.offer("rig-v1"), device.offer("rig-v2"))
    assert device.in_slots == ("rig-v1", "rig-v2", None)
    assert device.served == ("rig-v1", "rig-v2")
    assert device.reasons == {}
    assert device.slots.of("rig").active.score_us > 0


def test_what_is_held_already_is_not_fetched_tested_or_written_again(serving: Device) -> None:
    before, gets, n_served = serving.on_disk, list(serving.hub.gets), serving.n_served
    serving.ask(serving.offer("rig-v1"))
    assert (serving.on_disk, serving.hub.gets, serving.n_served) == (before, gets, n_served)


def test_a_shadow_becomes_active_without_a_download(serving: Device) -> None:
    serving.ask(serving.offer("rig-v1"), serving.offer("rig-v2"))
    gets = list(serving.hub.gets)
    serving.ask(serving.offer("rig-v2"))
    assert serving.in_slots == ("rig-v2", None, "rig-v1")
    assert serving.served == ("rig-v2", None)
    assert serving.hub.gets == gets


def test_rolling_back_to_the_previous_one_needs_no_download(serving: Device) -> None:
    wanted = serving.offer("rig-v0")
    serving.hub.files.clear()
    serving.ask(wanted)
    assert serving.in_slots == ("rig-v0", None, "rig-v1")
    assert serving.served == ("rig-v0", None)


def test_without_a_desired_bundle_the_baseline_decides_and_the_model_stays_as_previous(serving: Device) -> None:
    serving.ask(None)
    assert serving.in_slots == (None, None, "rig-v1")
    assert serving.served == (None, None)


def test_bundles_that_no_slot_names_any_more_are_deleted_and_the_others_are_not(serving: Device) -> None:
    serving.ask(serving.offer("rig-v2"))
    serving.ask(serving.offer("rig-v3"), serving.offer("rig-v4"))
    assert serving.in_slots == ("rig-v3", "rig-v4", "rig-v2")
    assert serving.bundles_on_disk == 3


def test_profiles_that_this_device_does_not_watch_are_left_alone(serving: Device) -> None:
    before = serving.on_disk
    serving.ask(serving.offer("fan-v1"), profile="fan")
    assert serving.on_disk == before


# --- bad bundles --------------------------------------------------------------------------------------------------

Offer = Callable[[Device], DesiredBundle]
GOOD = bundle("rig-bad")
BAD: dict[str, tuple[Offer, str]] = {
    "corrupt": (lambda d: d.offer("rig-bad", GOOD[:500] + b"\0" + GOOD[501:]), "corrupt: "),
    "truncated": (lambda d: d.offer("rig-bad", GOOD[:-100]), "corrupt: "),
    "empty": (lambda d: d.offer("rig-bad", b""), "corrupt: "),
    "not vouched for": (lambda d: d.offer("rig-bad", BundleUntrusted("rig-bad: not listed")), "untrusted: rig-bad: not listed"),
    "another feature spec": (
        lambda d: d.offer("rig-bad", BundleParts("rig-bad", changes={"spec_hash": "f" * 16}).pack()),
        "incompatible: rig-bad needs feature spec ffff",
    ),
    "float input": (lambda d: d.offer("rig-bad", BundleParts("rig-bad", model=tiny_model("float")).pack()), "incompatible: "),
    "unsupported operator": (
        lambda d: d.offer("rig-bad", BundleParts("rig-bad", model=tiny_model("custom")).pack()),
        "incompatible: ",
    ),
    "no model": (lambda d: d.offer("rig-bad", BundleParts("rig-bad", model=b"nothing").pack()), "incompatible: "),
    "newer format": (lambda d: d.offer("rig-bad", bundle("rig-bad", format=2)), "incompatible: bundle format 2"),
    "golden vectors fail": (lambda d: d.offer("rig-bad", wrong_golden()), "self-test: rig-bad: golden vector"),
    "of another profile": (lambda d: d.offer("rig-bad", bundle("rig-bad", profile="fan")), "incompatible: "),
    "another one under its name": (lambda d: d.offer("rig-bad", bundle("rig-v7")), "incompatible: "),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("slot", ["active", "shadow"])
def test_a_bad_bundle_keeps_the_current_slot_and_what_is_on_disk(name: str, slot: str, serving: Device) -> None:
    offer, reason = BAD[name]
    wanted, current = offer(serving), serving.offer("rig-v1")
    before = {k: v for k, v in serving.on_disk.items() if k != "slots.json"}
    profiles, served = dict(serving.slots.profiles), serving.served
    serving.ask(wanted if slot == "active" else current, wanted if slot == "shadow" else None)
    assert serving.slots.profiles == profiles
    assert serving.served == served
    assert {k: v for k, v in serving.on_disk.items() if k != "slots.json"} == before
    assert serving.reasons["rig-bad"].startswith(reason)


@pytest.mark.parametrize("slot", ["active", "shadow"])
def test_a_refused_bundle_is_not_tried_again_until_the_desired_one_changes(slot: str, serving: Device) -> None:
    bad, current = serving.offer("rig-bad", wrong_golden()), serving.offer("rig-v1")
    wish = (bad, None) if slot == "active" else (current, bad)
    serving.ask(*wish)
    gets, before, n_served = list(serving.hub.gets), serving.on_disk, serving.n_served
    for _ in range(3):
        serving.ask(*wish)
    serving.restart()
    serving.updater.resume()
    serving.ask(*wish)
    assert (serving.hub.gets, serving.on_disk) == (gets, before)
    assert serving.n_served == n_served + 1  # the restart's
    serving.ask(current)
    assert serving.reasons == {}
    serving.ask(*wish)
    assert serving.hub.gets == [*gets, "rig-bad"]


@pytest.mark.parametrize("restarted", [False, True])
def test_what_was_not_vouched_for_is_reported_and_asked_for_again_after_an_hour_or_a_restart(
    restarted: bool, serving: Device
) -> None:
    wanted = serving.offer("rig-v2", BundleUntrusted("timestamp.json is expired"))
    serving.ask(wanted)
    gets, before = list(serving.hub.gets), serving.on_disk
    serving.now_s += TRUST_AGAIN_S - 1
    for _ in range(3):
        serving.ask(wanted)
    assert (serving.hub.gets, serving.on_disk) == (gets, before)
    assert serving.reasons == {"rig-v2": "untrusted: timestamp.json is expired"}
    if restarted:
        serving.restart()
    serving.now_s += 2
    serving.ask(wanted)
    serving.ask(wanted)
    assert serving.hub.gets == [*gets, "rig-v2"]
    assert serving.in_slots == ("rig-v1", None, "rig-v0")
    serving.offer("rig-v2")
    serving.now_s += TRUST_AGAIN_S + 1
    serving.ask(wanted)
    assert serving.in_slots == ("rig-v2", None, "rig-v1")
    assert serving.reasons == {}


def test_a_refused_shadow_does_not_keep_a_new_active_one_from_its_slot(serving: Device) -> None:
    serving.ask(serving.offer("rig-v2"), serving.offer("rig-bad", wrong_golden()))
    assert serving.in_slots == ("rig-v2", None, "rig-v1")
    assert list(serving.reasons) == ["rig-bad"]


def test_a_refused_active_one_does_not_keep_a_new_shadow_from_its_slot(serving: Device) -> None:
    serving.ask(serving.offer("rig-bad", wrong_golden()), serving.offer("rig-v2"))
    assert serving.in_slots == ("rig-v1", "rig-v2", "rig-v0")
    assert serving.served == ("rig-v1", "rig-v2")


@pytest.mark.parametrize("slot", ["active", "shadow"])
def test_a_link_that_fails_is_no_verdict_on_the_bundle(slot: str, serving: Device) -> None:
    wanted, current = serving.offer("rig-v2"), serving.offer("rig-v1")
    before = serving.on_disk
    serving.hub.files["rig-v2"] = LinkError("the answer broke off after 1000 bytes")
    wish = (wanted, None) if slot == "active" else (current, wanted)
    with pytest.raises(LinkError):
        serving.ask(*wish)
    assert (serving.on_disk, serving.reasons) == (before, {})
    serving.offer("rig-v2")
    serving.ask(*wish)
    assert serving.in_slots[0 if slot == "active" else 1] == "rig-v2"


def test_a_download_that_came_is_kept_for_when_the_other_one_comes(device: Device) -> None:
    first, second = device.offer("rig-v1"), device.offer("rig-v2")
    device.hub.files["rig-v2"] = LinkError("cut")
    with pytest.raises(LinkError):
        device.ask(first, second)
    device.offer("rig-v2")
    device.ask(first, second)
    assert device.hub.gets == ["rig-v1", "rig-v2", "rig-v2"]
    assert device.in_slots == ("rig-v1", "rig-v2", None)


def test_golden_vectors_may_differ_a_little(device: Device) -> None:
    golden = BundleParts().golden
    close = Golden(golden.inputs, golden.scores + 0.04 * np.abs(golden.scores).max())
    device.ask(device.offer("rig-v1", BundleParts(golden=close).pack()))
    assert device.in_slots[0] == "rig-v1"
