"""Bundles on their way into a slot: what is good takes it, and whatever is bad leaves slot, disk and pipeline as they were."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest

from agent.judges import Serving
from agent.slots import SlotStore
from agent.update import Updater
from models.bundle.archive import Golden
from models.contract.checkin import DesiredBundle, DesiredSlots
from models.contract.names import MAX_BUNDLE_BYTES
from models.errors import LinkError
from tests.agent.hub_in_memory import MemoryHub
from tests.builders import BundleParts, bundle, desired, rig, signing_key, tiny_model, wrong_golden

HUB, STRANGER = signing_key(8), signing_key(9)


class Device:
    """An updater with its slots on disk and a hub in memory; `served` is what the pipeline was last given."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.hub = MemoryHub()
        self.n_served = 0
        self.restart()

    def restart(self) -> None:
        self.slots = SlotStore(self.directory)
        self.served: tuple[str | None, str | None] = (None, None)
        self.updater = Updater(self.slots, self.hub, {"rig": rig().spec_hash}, self._serve)

    def _serve(self, profile: str, active: Serving | None, shadow: Serving | None) -> None:
        assert profile == "rig"
        self.n_served += 1
        self.served = (active and active.detector.detector_id, shadow and shadow.detector.detector_id)

    def offer(self, bundle_id: str, archive: bytes | None = None, **changes: object) -> DesiredBundle:
        """Put a bundle on the hub; how the hub asks for it."""
        archive = bundle(bundle_id) if archive is None else archive
        wanted = msgspec.structs.replace(desired(archive, bundle_id, HUB), **changes)
        self.hub.files[wanted.path] = archive
        return wanted

    def ask(self, active: DesiredBundle | None, shadow: DesiredBundle | None = None, profile: str = "rig") -> None:
        self.updater.reconcile([DesiredSlots(profile=profile, active=active, shadow=shadow)], HUB.public_bytes)

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
    "other bytes than desired": (lambda d: d.offer("rig-bad", GOOD, sha256="0" * 64), "corrupt: rig-bad: its digest is not"),
    "signed by a stranger": (
        lambda d: d.offer("rig-bad", signature=desired(GOOD, "rig-bad", STRANGER).signature),
        "untrusted: rig-bad: not signed by the hub",
    ),
    "unsigned": (lambda d: d.offer("rig-bad", signature=b""), "untrusted: "),
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
    "said to be huge": (lambda d: d.offer("rig-bad", size=MAX_BUNDLE_BYTES + 1), "corrupt: "),
    "said to be less than nothing": (lambda d: d.offer("rig-bad", size=-2), "corrupt: "),
    "elsewhere": (lambda d: d.offer("rig-bad", path="http://elsewhere/x"), "corrupt: "),
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
    assert serving.hub.gets == [*gets, bad.path]


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
    serving.hub.files[wanted.path] = LinkError("GET /v1/bundles/rig-v2: the answer broke off after 1000 bytes")
    wish = (wanted, None) if slot == "active" else (current, wanted)
    with pytest.raises(LinkError):
        serving.ask(*wish)
    assert (serving.on_disk, serving.reasons) == (before, {})
    serving.offer("rig-v2")
    serving.ask(*wish)
    assert serving.in_slots[0 if slot == "active" else 1] == "rig-v2"


def test_a_download_that_came_is_kept_for_when_the_other_one_comes(device: Device) -> None:
    first, second = device.offer("rig-v1"), device.offer("rig-v2")
    device.hub.files[second.path] = LinkError("cut")
    with pytest.raises(LinkError):
        device.ask(first, second)
    device.offer("rig-v2")
    device.ask(first, second)
    assert device.hub.gets == [first.path, second.path, second.path]
    assert device.in_slots == ("rig-v1", "rig-v2", None)


def test_golden_vectors_may_differ_a_little(device: Device) -> None:
    golden = BundleParts().golden
    close = Golden(golden.inputs, golden.scores + 0.04 * np.abs(golden.scores).max())
    device.ask(device.offer("rig-v1", BundleParts(golden=close).pack()))
    assert device.in_slots[0] == "rig-v1"
