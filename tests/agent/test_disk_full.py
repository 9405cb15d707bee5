"""A disk that takes nothing more, or has become read-only: real small file systems, mounted for the test.

The agent goes on; alerts reach the local actions; what was stored stays, what could not be is stored later or told as lost.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from agent.asset import SavedState
from agent.sources.source import Burst
from agent.storage.holding import Holding
from models.contract.clock import NS_PER_S
from models.contract.items import Eviction, Evidence, decode_body, pack_floats
from tests.agent.agent_process import AgentProcess
from tests.agent.outboxes import drop, open_outbox, shut, stored_items
from tests.agent.test_committer import Device
from tests.builders import T0_NS, aggregate, alert, evidence, health, sensor_fault, stamp
from tests.waiting import wait_until

STATE = SavedState(spec_hash="0" * 16, vectors=bytes(4000), done=False)


def noisy_evidence(n: int, n_values: int = 5000) -> Evidence:
    return msgspec.structs.replace(evidence(n), values=pack_floats(np.random.default_rng(n).standard_normal(n_values)))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB."""
    if os.geteuid():
        pytest.skip("mounting a small file system takes root")
    mount = tmp_path / "disk"
    mount.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(mount)], capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.decode().strip()}")
    yield mount
    subprocess.run(["umount", "--lazy", str(mount)], check=True)


@pytest.fixture
def dying_disk(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """ext4 on a loop device, and that device's name: on the first error it becomes read-only, as with a worn-out card."""
    if os.geteuid():
        pytest.skip("a loop device takes root")
    image, mount = tmp_path / "image", tmp_path / "disk"
    mount.mkdir()
    with image.open("wb") as file:
        file.truncate(16_000_000)
    for command in (["mkfs.ext4", "-q", "-F", image], ["mount", "-o", "loop,errors=remount-ro", image, mount]):
        if shutil.which(command[0]) is None or subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip(f"{command[0]} does not work here")
    device = subprocess.run(["findmnt", "-no", "SOURCE", mount], capture_output=True, text=True, check=True).stdout.strip()
    yield mount, device
    subprocess.run(["umount", "--lazy", str(mount)], check=True)


def fill(disk: Path) -> Path:
    """Leave no room on `disk`."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
    return ballast


def test_on_a_full_disk_it_goes_on_and_stores_everything_when_there_is_room_again(small_disk: Path, empty_outbox: Path) -> None:
    path = Path(shutil.copy(empty_outbox, small_disk / "outbox.db"))
    box = open_outbox(path, tail_blocks=4)
    holding = Holding(box)
    assert holding.store([alert(0)], stamp(0), {"rig-1": STATE}, {"rig-1": 0})
    ballast = fill(small_disk)
    stored = [holding.store([alert(n), aggregate(n)], stamp(n), None, {"rig-1": n}) for n in range(1, 30)]
    n_stored = stored.index(False)
    assert 0 < n_stored < 10, "the tail has its room already"
    assert not any(stored[n_stored:])
    assert box.progress == {"rig-1": n_stored}, "how far the windows have come is noted with what they led to"
    assert "full" in holding.trouble or "space" in holding.trouble or "I/O" in holding.trouble
    assert holding.held_items == 2 * (29 - n_stored)
    assert [item.seq for item in box.pending(10**6, 10**9) if item.lane == "alerts"] == list(range(1, n_stored + 2))

    ballast.unlink()
    holding.tick(stamp(1000))
    assert (holding.trouble, holding.held_items, holding.lost_items) == ("", 0, 0)
    assert box.progress == {"rig-1": 29}
    items = box.pending(10**6, 10**9)
    assert [decode_body(i.kind, i.body) for i in items if i.lane == "alerts"] == [alert(n) for n in range(30)]
    assert [i.at for i in items if i.lane == "aggregates"] == [stamp(n) for n in range(1, 30)]
    drop(box)
    again = open_outbox(path)
    assert again.pending(10**6, 10**9) == items
    assert again.saved_states() == {"rig-1": STATE}
    shut(again)


def test_what_memory_has_no_room_for_is_told_as_lost_the_least_urgent_first(small_disk: Path, empty_outbox: Path) -> None:
    path = Path(shutil.copy(empty_outbox, small_disk / "outbox.db"))
    box = open_outbox(path, tail_blocks=4)
    holding = Holding(box, max_bytes=60_000)
    ballast = fill(small_disk)
    for n in range(100):
        holding.store([alert(n), noisy_evidence(n)], stamp(n))
    numbered = sum(item.seq - item.first_seq + 1 for item in box.pending(10**6, 10**9))
    assert holding.held_items < 110
    assert holding.held_items + holding.lost_items + numbered == 200
    ballast.unlink()
    holding.tick(stamp(1000))
    items = box.pending(10**6, 10**9)
    assert [decode_body(i.kind, i.body) for i in items if i.lane == "alerts"] == [alert(n) for n in range(100)]
    told = [(i, decode_body(i.kind, i.body)) for i in items if i.kind == "eviction"]
    for item, body in told:
        assert isinstance(body, Eviction)
        assert (item.lane, body.reason, body.n_items) == ("evidence", "disk full", item.seq - item.first_seq + 1)
    assert sum(body.n_items for _, body in told) + sum(i.kind == "evidence" for i in items) == 100  # type: ignore[attr-defined]
    shut(box)


def test_a_file_system_that_becomes_read_only_stops_nothing_and_loses_nothing_stored(
    dying_disk: tuple[Path, str], empty_outbox: Path
) -> None:
    mount, device = dying_disk
    path = Path(shutil.copy(empty_outbox, mount / "outbox.db"))
    os.sync()
    box = open_outbox(path, tail_blocks=4)
    holding = Holding(box)
    for n in range(10):
        assert holding.store([alert(n), health(n)], stamp(n))
    before = box.pending(10**6, 10**9)
    Path(f"/sys/fs/ext4/{Path(device).name}/trigger_fs_error").write_text("a worn-out card")
    assert not holding.store([alert(10)], stamp(10))
    assert not holding.store([alert(11)], stamp(20), {"rig-1": STATE})
    assert holding.trouble
    assert (holding.held_items, holding.lost_items) == (2, 0)
    assert box.pending(10**6, 10**9) == before
    drop(box)

    subprocess.run(["umount", str(mount)], check=True)
    image = mount.with_name("image")
    subprocess.run(["mount", "-o", "loop", str(image), str(mount)], check=True)  # after a new start of the machine
    again = open_outbox(path)
    assert (again.database.salvaged, again.pending(10**6, 10**9)) == (None, before)
    shut(again)


def test_an_error_of_the_disk_under_the_tail_is_held_like_a_full_one(outbox_path: Path) -> None:
    box = open_outbox(outbox_path)
    holding = Holding(box)
    assert holding.store([alert(1)], stamp(1))
    good = box.database.tail._descriptor
    box.database.tail._descriptor = os.open(outbox_path.with_suffix(".tail"), os.O_RDONLY)  # each write fails
    assert not holding.store([alert(2)], stamp(2))
    assert holding.trouble.endswith("Bad file descriptor")
    os.close(box.database.tail._descriptor)
    box.database.tail._descriptor = good
    assert holding.store([alert(3)], stamp(30))
    alerts = [decode_body(item.kind, item.body) for item in box.pending(10, 10**6)]
    assert alerts == [alert(1), alert(2), alert(3)]
    shut(box)


def test_what_is_held_is_stored_by_an_agent_that_is_stopped_just_after_there_was_room_again(outbox_path: Path) -> None:
    """Somebody makes room, and starts the service anew at once: before the next of the tries that come every few seconds."""
    device = Device(outbox_path)
    good = device.database.tail._descriptor
    device.database.tail._descriptor = os.open(outbox_path.with_suffix(".tail"), os.O_RDONLY)  # each write fails
    device.committer.take(Burst("plant"), [sensor_fault()])
    assert device.holding.trouble
    os.close(device.database.tail._descriptor)
    device.database.tail._descriptor = good
    device.clock.now_s += 1
    device.committer.close()
    assert (device.holding.trouble, device.holding.held_items) == ("", 0)
    assert [item.kind for item in device.outbox.pending(10, 10**6)] == ["sensor_fault"]
    device.database.close()


def test_what_is_lost_with_an_agent_that_stops_while_the_disk_refuses_is_logged(
    outbox_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    device = Device(outbox_path)
    device.database.connection.execute("PRAGMA query_only=1")
    good, device.database.tail._descriptor = device.database.tail._descriptor, os.open(outbox_path, os.O_RDONLY)
    device.committer.take(Burst("plant"), [sensor_fault()])
    device.committer.close()
    assert "1 items that the disk has not taken are lost" in caplog.text
    os.close(device.database.tail._descriptor)
    device.database.tail._descriptor = good
    device.database.close()


CONFIG = """\
[device]
id = "dev-1"
state_dir = "disk/state"
max_outbox_mb = 1

[[assets]]
id = "here"
profile = "here"

[[host]]
asset = "here"
interval_s = 0.1
"""
PROFILE = """\
name = "here"
windowing = { rate_hz = 10.0, window_s = 0.5, lateness_s = 0.1, max_gap_s = 0.5 }
features = { per_channel = ["mean"] }
commissioning = { windows = 60 }

[[channels]]
name = "memory_used"
unit = "%"
"""


def test_an_agent_whose_disk_is_full_runs_on_says_so_and_catches_up(small_disk: Path, empty_outbox: Path) -> None:
    folder = small_disk.parent
    (folder / "here.toml").write_text(PROFILE)
    (small_disk / "state").mkdir()
    shutil.copy(empty_outbox, small_disk / "state" / "outbox.db")
    agent = AgentProcess(folder, empty_outbox, CONFIG)
    agent.state = small_disk / "state"
    try:
        agent.start()
        ballast = fill(small_disk)
        told = wait_until(lambda: (s := agent.status()) and s["held_items"] > 5 and s, 60, "items that are held")
        assert "full" in told["storage"] or "space" in told["storage"]
        shown = agent.asked("status").stdout
        assert "items in memory, 0 lost" in shown
        wait_until(lambda: agent.status()["windows"] > told["windows"] + 3, what="more windows")
        ballast.unlink()
        wait_until(lambda: not agent.status()["storage"], what="room")
        windows = agent.status()["windows"]
        assert agent.signal(signal.SIGTERM) == 0
    finally:
        agent.close()
    items = stored_items(agent.state / "outbox.db")
    aggregates = [item for item in items if item.kind == "aggregate"]
    assert len(aggregates) >= windows
    ends = [decode_body(item.kind, item.body).end_ns for item in aggregates]  # type: ignore[attr-defined]
    assert ends == sorted(set(ends))
    assert not [item for item in items if item.kind == "eviction"]


def test_on_a_full_disk_nothing_is_acknowledged_and_everything_is_told(small_disk: Path, empty_outbox: Path) -> None:
    """And what is acknowledged when there is room again is on disk."""
    device = Device(Path(shutil.copy(empty_outbox, small_disk / "outbox.db")), tail_blocks=4)
    ballast = fill(small_disk)
    numbers = [device.burst(*range(10 * n + 1, 10 * n + 11)) for n in range(40)]
    for _ in range(40):
        device.committer.take(Burst("plant"), [sensor_fault()])
    n_before = len(device.acknowledged)
    assert n_before <= len(device.aggregates())
    assert device.holding.trouble
    numbers += [device.burst(*range(401, 411), can_wait=False), device.burst(*range(411, 421))]
    device.tick()
    assert len(device.acknowledged) == n_before
    assert len(device.told) > 70
    ballast.unlink()
    device.tick(6.0)
    device.burst(*range(421, 432))
    device.tick()
    assert set(numbers) == set(device.acknowledged)
    starts = [(body.start_ns - T0_NS) // NS_PER_S for body in device.aggregates()]
    assert starts == list(range(0, 430, 10))
    device.database.close()
