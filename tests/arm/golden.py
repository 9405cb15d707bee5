"""A golden case: a recording, the model that decides on it, and what an agent stored when it was played to it.

The recording is of a pump: it commissions, runs well, wears out (an alert that opens and closes), and has a flow sensor
that sticks. The model is trained by the hub's own job. Both are made anew from seeds: what is compared is two machines.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.status.control import ask
from agent.uplink.slots import Held, ProfileSlots, SlotStore
from firmware_sim.firmware.catalog import make_encoder
from firmware_sim.links.pty import PtyLink
from firmware_sim.replay import replay, samples_of
from hub.lake.lake import open_lake
from hub.registry.registry import Registry
from hub.settings import init_hub
from hub.state.database import open_state
from hub.training.dataset import Rules
from hub.training.job import TrainingJob
from hub.training.keras_dense import KerasDense
from models.bundle.archive import read_bundle
from models.contract.clock import NS_PER_S
from models.contract.items import Aggregate, Alert, Body, SensorFault, decode_body, unpack_floats
from models.contract.table import read_table
from tests.agent.outboxes import stored_items
from tests.learning.pumps import N_COMMISSIONING, PUMP, T0_NS, PumpFleet, pump_window
from tests.waiting import wait_until

ASSET = "pump-1"
_RATE_HZ = PUMP.windowing.rate_hz
_GOOD, _WORN, _STUCK = 20, 12, 6  # windows
_CONFIG = """
[device]
id = "pi-1"
state_dir = "state"

[[assets]]
id = "pump-1"
profile = "pump"

[[assets]]
id = "here"
profile = "host"

[[serial]]
name = "line"
port = "{port}"
format = "jsonl"
asset = "pump-1"

[[host]]
asset = "here"
"""


@dataclass(frozen=True)
class Case:
    """`folder`: recording.csv and pump.bundle. `until_ns`: when the last window of the recording ends."""

    folder: Path
    until_ns: int


@dataclass(frozen=True)
class Played:
    """What the agent stored of the recorded pump, in order; and how it was at the end, as `tocsin agent status` says it."""

    alerts: list[Alert]
    faults: list[SensorFault]
    windows: list[Aggregate]
    status: dict[str, Any]

    def features(self) -> NDArray[np.float32]:
        return np.array([unpack_floats(window.features) for window in self.windows])

    def scores(self, at: int) -> NDArray[np.float64]:
        """Of the windows after commissioning. `at`: 0 = by the model, which decides; 1 = by the baseline, beside it."""
        return np.array([window.scores[at].score for window in self.windows if not window.commissioning])


def make_case(folder: Path) -> Case:
    values = _recording()
    times_ms = T0_NS // 10**6 + np.round(np.arange(1, len(values) + 1) / _RATE_HZ * 1000).astype(np.int64)
    lines = [f"{t},{','.join(f'{v:.4f}' for v in row)}" for t, row in zip(times_ms.tolist(), values.tolist(), strict=True)]
    header = ",".join(("time", *PUMP.channel_names))
    (folder / "recording.csv").write_text("\n".join([header, *lines]) + "\n")
    (folder / "pump.bundle").write_bytes(_trained_bundle(folder / "hub"))
    return Case(folder, T0_NS + round(len(values) / _RATE_HZ) * NS_PER_S)


def _recording() -> NDArray[np.float64]:
    rng = np.random.default_rng(11)
    worn = np.array([1.0, 1.0, 1.05, 1.2, 1.8])
    windows = [pump_window(rng) for _ in range(N_COMMISSIONING + _GOOD)]
    windows += [pump_window(rng) * worn for _ in range(_WORN)]
    windows += [pump_window(rng) for _ in range(_GOOD)]
    stuck = [pump_window(rng) for _ in range(_STUCK)]
    for window in stuck:
        window[:, 0] = stuck[0][0, 0]
    return np.concatenate([*windows, *stuck, *(pump_window(rng) for _ in range(_GOOD // 2))])


def _trained_bundle(folder: Path) -> bytes:
    hub = init_hub(folder)
    engine, lake = open_state(hub.state_url), open_lake(hub.lake_url)
    registry = Registry(engine, hub.paths.bundles, hub.repository())
    PumpFleet().fill(engine, lake)
    job = TrainingJob(engine, lake, registry, KerasDense(max_epochs=25), lambda: T0_NS)
    outcome = job.run(PUMP.name, seed=1, rules=Rules(min_windows=200), progress=lambda _: None)
    engine.dispose()
    return registry.read(outcome.bundle_id)


def play(case: Case, folder: Path, tocsin: Callable[..., Sequence[str]], seen_as: Path) -> Played:
    """Run `tocsin agent run` on the case in `folder`, which the agent sees as `seen_as`, with the model in its slot.

    `tocsin`: makes the command line there of its arguments.
    """
    folder.mkdir(parents=True)
    (folder / "tocsin.toml").write_text(_CONFIG.format(port=seen_as / "port"))
    _fill_slot(folder / "state", (case.folder / "pump.bundle").read_bytes())
    with (folder / "agent.log").open("wb") as log, closing(PtyLink(folder / "port")) as port:
        command = tocsin("agent", "run", "--config", str(seen_as / "tocsin.toml"))
        agent = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            wait_until(lambda: agent.poll() is not None or _line_is_up(folder), 120, "the agent to open the port")
            table = read_table(case.folder / "recording.csv", None, [])
            replay(samples_of(table, ASSET), make_encoder("jsonl", len(table.columns)), port, speed=None)
            windows = wait_until(lambda: _windows(folder, case), 120, f"the last window, see {folder}/agent.log")
            status = ask(folder / "state") or {}
            agent.send_signal(signal.SIGTERM)
            assert agent.wait(60) == 0
        finally:
            agent.kill()
            agent.wait()
    assert "Traceback" not in (folder / "agent.log").read_text()
    stored = _stored(folder)
    alerts = [body for body in stored if isinstance(body, Alert) and body.asset == ASSET]
    faults = [body for body in stored if isinstance(body, SensorFault) and body.opened_ns < case.until_ns]
    return Played(alerts, faults, windows, status)


def _line_is_up(folder: Path) -> bool:
    """Opened, and rid of what was in its buffer: opening a port throws that away."""
    status = ask(folder / "state")
    return status is not None and status["sources"]["line"]["link"] == "up"


def _fill_slot(state: Path, archive: bytes) -> None:
    """As an update leaves it. The agent tests the bundle itself before it lets it decide."""
    bundle = read_bundle(archive)
    state.mkdir()
    slots = SlotStore(state)
    slots.store(bundle.sha256, archive)
    slots.put(PUMP.name, ProfileSlots(active=Held(bundle.manifest.bundle_id, bundle.sha256, 0.0)))


def _windows(folder: Path, case: Case) -> list[Aggregate] | None:
    """Those of the recording, once the last is there."""
    with suppress(AssertionError):  # the files were copied in the middle of a commit: once more
        windows = [body for body in _stored(folder) if isinstance(body, Aggregate) and body.asset == ASSET]
        return windows if windows and windows[-1].end_ns >= case.until_ns else None
    return None


def _stored(folder: Path) -> list[Body]:
    return [decode_body(item.kind, item.body) for item in stored_items(folder / "state" / "outbox.db")]


def unpacked(wheel: Path, folder: Path) -> Path:
    """The wheel's content, importable."""
    shutil.unpack_archive(str(wheel), folder, "zip")
    return folder
