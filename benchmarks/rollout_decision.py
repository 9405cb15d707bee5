"""A rollout's decision over 10,000 devices: from the tables that check-ins and evidence fill to the verdicts and the event.

One stage holds all devices but the canary, every one of them has checked in, holds the candidate, and has sent evidence. `tick`
is what the hub does every few seconds. Compared with reading the devices' latest check-ins alone.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

import msgspec
from sqlalchemy import Engine, insert, select

from benchmarks.checkins import N_DEVICES, START_NS, add_rollout, checkin_of
from benchmarks.figure import Figure, median_of
from hub.rollout.service import RolloutService
from hub.state.database import open_state
from hub.state.schema import device_slots, devices, rollout_events, rollouts, stage_evidence

NOW_NS: Final = START_NS + 600 * 10**9


def run() -> Iterable[Figure]:
    with tempfile.TemporaryDirectory() as directory:
        engine = open_state(f"sqlite:///{Path(directory) / 'hub.db'}")
        _fill(engine)
        service = RolloutService(engine)
        times_s = [_timed(lambda: service.tick(NOW_NS)) for _ in range(6)][1:]
        _check(engine)
        yield median_of(f"a decision over {N_DEVICES:,} devices", times_s, "s", goal=1.0, better="lower")
        yield median_of("compare: their check-ins, only read", [_timed(lambda: _read(engine)) for _ in range(5)], "s")
        engine.dispose()


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _fill(engine: Engine) -> None:
    names = [f"gw-{n:05}" for n in range(N_DEVICES)]
    slot = {"profile": "pump", "slot": "active", "bundle_id": "pump-2", "n_windows": 1000, "score_us_median": 40.0}
    counts = {"n_windows": 10, "n_alarm_candidate": 0, "n_alarm_incumbent": 0, "n_low_p_candidate": 0, "n_low_p_incumbent": 0}
    stage = {"rollout_id": "r1", "stage": "wave 1", **counts, "n_faulty": 0}
    with engine.begin() as connection:
        connection.execute(insert(devices), [_device(n, name) for n, name in enumerate(names)])
        connection.execute(insert(device_slots), [{"device_id": name, **slot} for name in names])
        connection.execute(insert(stage_evidence), [{"device_id": name, **stage} for name in names])
        add_rollout(connection, canaries=1, waves=1, stage=2)


def _device(n: int, name: str) -> dict[str, Any]:
    said = {"site": "north", "hardware": "Pi 4", "agent_version": "bench", "public_key": b"k" * 32}
    checkin = msgspec.to_builtins(checkin_of(n, minute=1))
    return {"device_id": name, **said, "enrolled_ns": START_NS, "last_seen_ns": NOW_NS, "checkin": checkin}


def _read(engine: Engine) -> int:
    with engine.connect() as connection:
        return len(connection.execute(select(devices.c.device_id, devices.c.checkin)).all())


def _check(engine: Engine) -> None:
    """That it was judged at all: minimum evidence is not there yet, so it waits."""
    with engine.connect() as connection:
        assert connection.execute(select(rollouts.c.state)).scalar_one() == "running"
        events = connection.execute(select(rollout_events)).all()
    assert [event.event for event in events] == ["wait"], events
