"""Slots over a restart: what serves comes back, and what was damaged gives way to the last good one."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.uplink.slots import Held, ProfileSlots, SlotStore
from tests.agent.test_update import Device
from tests.builders import bundle


@pytest.fixture
def device(tmp_path: Path) -> Device:
    """It runs v2, with v3 in shadow and v1 to fall back to."""
    device = Device(tmp_path)
    device.ask(device.offer("rig-v1"))
    device.ask(device.offer("rig-v2"), device.offer("rig-v3"))
    assert device.in_slots == ("rig-v2", "rig-v3", "rig-v1")
    return device


def damage(device: Device, *slots: str, how: str = "flip") -> None:
    for slot in slots:
        path = device.directory / "bundles" / f"{getattr(device.slots.of('rig'), slot).sha256}.bundle"
        data = bytearray(path.read_bytes())
        data[700] ^= 1
        if how == "gone":
            path.unlink()
        else:
            path.write_bytes(bytes(data) if how == "flip" else b"" if how == "empty" else data[:100])


def test_what_was_served_is_served_again_after_a_restart(device: Device) -> None:
    before = device.on_disk
    device.restart()
    device.updater.resume()
    assert device.served == ("rig-v2", "rig-v3")
    assert device.on_disk == before


def test_a_device_without_slots_starts_on_the_baseline(tmp_path: Path) -> None:
    device = Device(tmp_path)
    device.updater.resume()
    assert (device.served, device.n_served) == ((None, None), 1)


def test_files_that_the_disk_cannot_read_keep_nobody_from_starting(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = {f"{device.slots.of('rig').active.sha256}.bundle"}
    read = Path.read_bytes

    def read_bytes(path: Path) -> bytes:
        if path.name in bad:
            raise OSError(5, "Input/output error")
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    device.restart()
    device.updater.resume()
    assert device.served[0] == "rig-v1"
    bad.add("slots.json")
    device.restart()
    device.updater.resume()
    assert device.served == (None, None)


@pytest.mark.parametrize("how", ["flip", "cut", "empty", "gone"])
def test_a_damaged_active_bundle_gives_way_to_the_last_good_one_and_is_fetched_anew(how: str, device: Device) -> None:
    damage(device, "active", how=how)
    device.restart()
    device.updater.resume()
    assert device.served == ("rig-v1", "rig-v3")
    assert device.in_slots == ("rig-v1", "rig-v3", None)
    device.ask(device.offer("rig-v2"), device.offer("rig-v3"))
    assert device.served == ("rig-v2", "rig-v3")
    assert device.in_slots == ("rig-v2", "rig-v3", "rig-v1")
    assert device.reasons == {}


def test_with_the_last_good_one_damaged_too_the_baseline_serves(device: Device) -> None:
    damage(device, "active", "previous")
    device.restart()
    device.updater.resume()
    assert device.served == (None, "rig-v3")
    assert device.in_slots == (None, "rig-v3", None)


def test_a_damaged_shadow_leaves_its_slot_and_is_fetched_anew(device: Device) -> None:
    damage(device, "shadow")
    device.restart()
    device.updater.resume()
    assert device.served == ("rig-v2", None)
    device.ask(device.offer("rig-v2"), device.offer("rig-v3"))
    assert device.in_slots == ("rig-v2", "rig-v3", "rig-v1")


def test_a_damaged_previous_bundle_is_fetched_anew_when_it_is_rolled_back_to(device: Device) -> None:
    damage(device, "previous")
    device.restart()
    device.updater.resume()
    assert device.served == ("rig-v2", "rig-v3")
    device.ask(device.offer("rig-v1"))
    assert device.served == ("rig-v1", None)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b'{"profiles": 5}', b"null"])
def test_slots_that_cannot_be_read_count_as_empty_and_the_hub_sends_again(content: bytes, device: Device) -> None:
    (device.directory / "slots.json").write_bytes(content)
    device.restart()
    device.updater.resume()
    assert device.served == (None, None)
    device.ask(device.offer("rig-v2"))
    assert device.in_slots == ("rig-v2", None, None)


def test_a_swap_is_one_replacement_and_leaves_no_scraps(tmp_path: Path) -> None:
    store = SlotStore(tmp_path)
    archive = bundle()
    store.store("a" * 64, archive)
    store.put("rig", ProfileSlots(active=Held("rig-v1", "a" * 64, 1.0)))
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == [f"{'a' * 64}.bundle", "slots.json"]
    assert store.load("a" * 64) == archive
    assert store.load("b" * 64) is None
    assert SlotStore(tmp_path).of("rig") == store.of("rig")


def test_a_refusal_is_remembered_over_a_restart_and_forgotten_with_the_wish(tmp_path: Path) -> None:
    SlotStore(tmp_path).refuse("rig-bad", "x" * 1000)
    store = SlotStore(tmp_path)
    assert store.refused("rig-bad")
    assert len(store.failures[0].reason) == 500
    store.forget_failures({"rig-bad", "other"})
    assert store.refused("rig-bad")
    store.forget_failures({"other"})
    assert not SlotStore(tmp_path).refused("rig-bad")
