"""What is acknowledged is on disk; what is told is on disk; and a crash at any moment loses and doubles nothing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.asset import AssetWatch
from agent.pipeline import Pipeline
from agent.sources.source import Burst
from agent.storage.committer import COMMIT_S, Committer
from agent.storage.database import Database
from agent.storage.holding import Holding
from agent.storage.outbox import Outbox
from models.contract.clock import NS_PER_S
from models.contract.items import Aggregate, Body, SensorFault, decode_body
from models.contract.reading import Reading
from tests.builders import T0_NS, TurnedClock, plain, sensor_fault


class Device:
    """A committer over a real database, and what it told and acknowledged. `crash` leaves the files as they are."""

    def __init__(self, path: Path, tail_blocks: int = 64) -> None:
        self.path = path
        self._tail_blocks = tail_blocks
        self.clock = TurnedClock()
        self.told: list[Body] = []
        self.acknowledged: list[int] = []
        self._numbers = count()
        self.open()

    def open(self) -> None:
        self.database = Database(self.path, self._tail_blocks)
        self.outbox = Outbox(self.database, 10**9)
        self.holding = Holding(self.outbox)
        self.pipeline = Pipeline([AssetWatch("rig-1", plain(lateness_s=1.0))])
        self.committer = Committer(self.holding, self.pipeline, self.clock, self._tell)
        self.committer.resume()

    def _tell(self, bodies: Sequence[Body], stored: bool) -> None:
        on_disk = [decode_body(item.kind, item.body) for item in self.outbox.pending(10**6, 10**9)]
        assert not stored or all(body in on_disk for body in bodies)
        self.told += bodies

    def burst(self, *seconds: float, can_wait: bool = True, source: str = "plant", again: bool = False) -> int:
        """Readings measured at `seconds`; the burst's number, which `acknowledged` will hold."""
        number = next(self._numbers)
        readings = [Reading("rig-1", "x", T0_NS + round(s * NS_PER_S), float(s)) for s in seconds]
        burst = Burst(source, readings, 0, 0, "", lambda: self.acknowledged.append(number), can_wait, again)
        self.committer.take(burst, ())
        return number

    def tick(self, after_s: float = COMMIT_S) -> None:
        self.clock.now_s += after_s
        self.committer.tick(())

    def crash(self, to: Path, damage: Callable[[Path], object] = lambda _: None) -> None:
        """End without a word, and begin anew on a copy of the files, with what `damage` did to them."""
        for suffix in ("", "-wal"):
            if Path(f"{self.path}{suffix}").exists():
                shutil.copy(f"{self.path}{suffix}", f"{to}{suffix}")
        for extra in self.path.parent.glob(f"{self.path.stem}.tail"):
            shutil.copy(extra, to.with_suffix(".tail"))
        self.database.close()
        self.path = to
        damage(to)
        self.open()

    def aggregates(self) -> list[Aggregate]:
        bodies = [decode_body(item.kind, item.body) for item in self.outbox.pending(10**6, 10**9)]
        return [body for body in bodies if isinstance(body, Aggregate)]


@pytest.fixture
def device(outbox_path: Path) -> Iterator[Device]:
    device = Device(outbox_path)
    yield device
    device.database.close()


def test_a_burst_is_acknowledged_when_its_window_is_on_disk(device: Device) -> None:
    first = device.burst(*range(1, 10))
    device.tick()
    assert device.acknowledged == []
    second = device.burst(10, 11)  # closes the window, and has a reading of the next
    assert device.aggregates() == []
    device.tick(0.1)
    assert device.acknowledged == []  # the window has closed; it is not stored yet
    device.tick()
    assert device.acknowledged == [first]
    assert [body.n_readings for body in device.aggregates()] == [10]
    device.burst(*range(12, 22))
    device.tick()
    assert device.acknowledged == [first, second]


def test_windows_that_close_together_are_one_commit(device: Device) -> None:
    device.burst(*range(1, 22))
    device.burst(*range(22, 42))
    assert device.told == []
    device.tick()
    assert len(device.told) == 4


def test_what_is_urgent_does_not_wait_and_takes_along_what_does(device: Device) -> None:
    device.burst(*range(1, 12))
    fault = sensor_fault()
    device.committer.take(Burst("plant"), [fault])
    assert [type(body) for body in device.told] == [Aggregate, SensorFault]


def test_a_burst_that_no_window_wants_is_acknowledged_at_the_next_tick(device: Device) -> None:
    number = device.burst()
    late = [device.burst(*range(1, 12)), device.burst(3)]
    device.tick()
    assert number in device.acknowledged
    assert late[1] not in device.acknowledged  # it cannot be told from a fresh one; it waits for the next window
    device.burst(*range(12, 22))
    device.tick()
    assert late[1] in device.acknowledged


def test_readings_that_cannot_wait_are_in_the_journal_before_they_are_acknowledged(device: Device, tmp_path: Path) -> None:
    numbers = [device.burst(1, 2, 3), device.burst(4, 5, can_wait=False)]
    assert device.acknowledged == numbers
    device.crash(tmp_path / "after.db")
    device.burst(*range(6, 12))
    device.tick()
    (window,) = device.aggregates()
    assert window.n_readings == 10
    device.burst(12)
    device.tick()
    assert device.database.connection.execute("SELECT count(*) FROM journal").fetchone()[0] == 0


def test_large_messages_go_into_the_journal_before_they_fill_the_memory(device: Device) -> None:
    acknowledged: list[int] = []

    def large(n: int, second: int) -> Burst:
        readings = [Reading("rig-1", "x", T0_NS + second * NS_PER_S, float(second))]
        return Burst("plant", readings, 1_500_000, acknowledge=lambda: acknowledged.append(n))

    for n in range(8):
        device.committer.take(large(n, n + 1), ())
    assert acknowledged == list(range(6)), "each third one is one too many"
    device.burst(*range(9, 12))
    device.tick()
    assert [body.n_readings for body in device.aggregates()] == [10]
    device.committer.take(large(8, 12), ())
    device.committer.take(large(9, 13), ())
    assert acknowledged == list(range(8)), "what is acknowledged counts no more"


def test_where_the_disk_refuses_readings_are_not_kept_beyond_their_window(device: Device) -> None:
    good = device.database.tail._descriptor
    device.database.tail._descriptor = os.open(device.path.with_suffix(".tail"), os.O_RDONLY)
    device.burst(*range(1, 11))
    device.burst(11, 12)
    device.tick()
    assert device.holding.trouble
    assert [len(held.readings) for held in device.committer._held] == [0, 2]
    assert device.acknowledged == []
    os.close(device.database.tail._descriptor)
    device.database.tail._descriptor = good
    device.tick(6.0)
    assert device.acknowledged[:1] == [0]


def test_a_burst_that_cannot_wait_is_journaled_with_the_first_commit_that_the_disk_takes_again(device: Device) -> None:
    """A broker that waits for it says nothing more, so nobody would ask a second time."""
    good = device.database.tail._descriptor
    device.database.tail._descriptor = os.open(device.path.with_suffix(".tail"), os.O_RDONLY)
    device.committer.take(Burst("plant"), [sensor_fault()])
    assert device.holding.trouble
    os.close(device.database.tail._descriptor)
    device.database.tail._descriptor = good
    device.clock.now_s += 6.0
    number = device.burst(1, 2, can_wait=False)
    assert (device.holding.trouble, device.acknowledged) == ("", [number])
    assert device.database.connection.execute("SELECT count(*) FROM journal").fetchone()[0] == 1


def test_only_the_source_that_cannot_wait_is_released(device: Device) -> None:
    other = device.burst(1, 2, source="hall")
    mine = device.burst(1, 2, source="plant")
    now = device.burst(can_wait=False, source="plant")
    assert sorted(device.acknowledged) == sorted([now, mine])
    assert other not in device.acknowledged


def test_what_comes_again_after_a_crash_counts_once(device: Device, tmp_path: Path) -> None:
    device.burst(*range(1, 12))
    device.tick()
    device.crash(tmp_path / "after.db")  # before any acknowledgement reached the broker
    device.burst(*range(1, 12), again=True)
    device.burst(*range(12, 22))
    device.tick()
    assert [(body.start_ns - T0_NS) // NS_PER_S for body in device.aggregates()] == [0, 10]
    assert [body.n_readings for body in device.aggregates()] == [10, 10]
    assert device.pipeline.assets["rig-1"].windower.n_repeated == 10


def test_a_channel_that_always_comes_too_late_holds_up_no_acknowledgement(device: Device) -> None:
    """Another publisher's clock is a minute behind: each of its readings waits for what the next ones say."""
    numbers = []
    for second in range(1, 200):
        numbers += [device.burst(second), *([device.burst(second - 60)] if second > 60 else [])]
        device.tick(0.5)
    assert len(numbers) - len(device.acknowledged) < 30, "the open window's, and what came since it opened"


def test_readings_after_a_clock_that_jumped_are_not_acknowledged_before_their_window_is_on_disk(
    device: Device, tmp_path: Path
) -> None:
    """They are held until enough of them agree, and are then in a window that is still open."""
    device.burst(*range(1, 12))
    device.tick()
    numbers = [device.burst(86_400 + second) for second in range(1, 9)]
    device.tick(0.1)
    device.tick(0.6)
    assert not set(numbers) & set(device.acknowledged)
    device.crash(tmp_path / "after.db")
    for second in range(1, 9):
        device.burst(86_400 + second, again=True)
    last = device.burst(*range(86_409, 86_422))
    device.tick()
    new = [body for body in device.aggregates() if body.start_ns >= T0_NS + 86_000 * NS_PER_S]
    assert sum(body.n_readings for body in new) == 20
    assert last not in device.acknowledged


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    sizes=st.lists(st.integers(1, 7), min_size=20, max_size=60),
    moves=st.lists(st.sampled_from(["go on", "go on", "can't wait", "tick", "crash"]), min_size=60, max_size=60),
)
def test_whatever_crashes_when_each_reading_is_in_one_window_exactly_once(
    empty_outbox: Path, tmp_path_factory: pytest.TempPathFactory, sizes: list[int], moves: list[str]
) -> None:
    """A broker that keeps what is not acknowledged, and sends it again after each crash."""
    folder = tmp_path_factory.mktemp("crashes")
    names = (folder / f"{n}.db" for n in count())
    device = Device(Path(shutil.copy(empty_outbox, next(names))))
    unacknowledged: dict[int, tuple[int, ...]] = {}
    next_s = 1
    for size, move in zip(sizes, moves, strict=False):
        seconds = tuple(range(next_s, next_s + size))
        next_s += size
        unacknowledged[device.burst(*seconds, can_wait=move != "can't wait")] = seconds
        if move == "tick":
            device.tick()
        for number in device.acknowledged:
            unacknowledged.pop(number, None)
        if move == "crash":
            device.crash(next(names))
            again, unacknowledged = list(unacknowledged.values()), {}
            for seconds in again:
                unacknowledged[device.burst(*seconds, again=True)] = seconds
    device.burst(*range(next_s, next_s + 25))
    device.tick()
    windows = device.aggregates()
    device.database.close()
    shutil.rmtree(folder)
    starts = [(body.start_ns - T0_NS) // NS_PER_S for body in windows]
    assert starts == list(range(0, 10 * len(windows), 10))
    assert len(windows) >= (next_s + 12) // 10
    assert [body.n_readings for body in windows] == [10] * len(windows)
