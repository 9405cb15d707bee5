"""Windows of simulated pumps as devices would send them: real features of simple physics, into a real lake."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray
from sqlalchemy import Engine, insert

from hub.ingest.log import LogRecord
from hub.lake.lake import DeltaLake
from hub.lake.rows import rows_of
from hub.state.schema import commissionings, devices
from models.contract.clock import Stamp
from models.contract.config import load_profile
from models.contract.items import Aggregate, encode_body, pack_floats
from models.features.normal import LocalNormal
from models.features.spec import FeatureSpec

PUMP = load_profile("pump")
SPEC = FeatureSpec(PUMP)
T0_NS = 1_700_000_000_000_000_000
WINDOW_NS = 10_000_000_000
STAMP = Stamp(T0_NS, 0, "boot", True)
N_COMMISSIONING = 60


def pump_vectors(n: int, seed: int, offset: float = 0.0) -> NDArray[np.float32]:
    """(n, n_features): a load that wanders from window to window and moves every channel, plus each sensor's noise."""
    rng = np.random.default_rng(seed)
    vectors = np.empty((n, SPEC.n_features), dtype=np.float32)
    for row in range(n):
        vectors[row] = SPEC.compute(pump_window(rng, offset))
    return vectors


def pump_window(rng: np.random.Generator, offset: float = 0.0) -> NDArray[np.float64]:
    """(50, 5) values of one window, the channels in the profile's order."""
    load = 0.8 + 0.1 * rng.standard_normal() + 0.03 * np.cumsum(rng.standard_normal(50)) / 7
    noise = rng.standard_normal((50, 5))
    columns = [50 * load, 6 - 2 * load**2, 10 + 12 * load, 40 + 10 * load.mean() + 0 * load, 2 + load]
    spread = np.array([0.4, 0.05, 0.2, 0.1, 0.15])
    return np.stack(columns, axis=1) * (1 + offset) + spread * noise


@dataclass
class PumpFleet:
    """Aggregates of `n_devices` pumps. `edit` changes single ones before they are sent."""

    n_devices: int = 5
    n_windows: int = 300
    seed: int = 7
    site_of: Callable[[int], str] = lambda number: f"site-{number % 2}"
    vectors: dict[str, NDArray[np.float32]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for number in range(self.n_devices):
            self.vectors[f"gw-{number}"] = pump_vectors(self.n_windows, self.seed * 100 + number, offset=0.1 * number)

    def aggregate(self, device_id: str, i: int) -> Aggregate:
        start_ns = T0_NS + i * WINDOW_NS
        return Aggregate(
            asset="pump-1",
            profile=PUMP.name,
            spec_hash=PUMP.spec_hash,
            start_ns=start_ns,
            end_ns=start_ns + WINDOW_NS,
            features=pack_floats(self.vectors[device_id][i]),
            n_readings=250,
            commissioning=i < N_COMMISSIONING,
        )

    def records(self) -> list[LogRecord]:
        found = [
            record_of(device_id, i + 1, self.aggregate(device_id, i))
            for device_id, vectors in self.vectors.items()
            for i in range(len(vectors))
        ]
        return [replace(record, position=at) for at, record in enumerate(found, start=1)]

    def fill(self, engine: Engine, lake: DeltaLake) -> None:
        """Into the lake, with what the devices learned while commissioning."""
        records = self.records()
        lake.append("aggregates", rows_of("aggregates", records), "log", len(records))
        with engine.begin() as connection:
            for number, (device_id, vectors) in enumerate(self.vectors.items()):
                connection.execute(insert(devices).values(device_row(device_id, self.site_of(number))))
                connection.execute(insert(commissionings).values(_commissioning_row(device_id, vectors)))


def record_of(device_id: str, seq: int, aggregate: Aggregate) -> LogRecord:
    return LogRecord(
        position=0,
        device_id=device_id,
        epoch="e1",
        lane="aggregates",
        seq=seq,
        first_seq=seq,
        kind="aggregate",
        at=STAMP,
        body=encode_body(aggregate),
        received_ns=aggregate.end_ns,
    )


def device_row(device_id: str, site: str, hardware: str = "rpi", last_seen_ns: int = T0_NS) -> dict[str, object]:
    return {
        "device_id": device_id,
        "public_key": b"k" * 32,
        "site": site,
        "hardware": hardware,
        "agent_version": "0.1.0",
        "enrolled_ns": T0_NS,
        "last_seen_ns": last_seen_ns,
    }


def _commissioning_row(device_id: str, vectors: NDArray[np.float32]) -> dict[str, object]:
    normal = LocalNormal.fit(vectors[:N_COMMISSIONING])
    return {
        "device_id": device_id,
        "asset": "pump-1",
        "spec_hash": PUMP.spec_hash,
        "profile": PUMP.name,
        "n_windows": N_COMMISSIONING,
        "start_ns": T0_NS,
        "end_ns": T0_NS + N_COMMISSIONING * WINDOW_NS,
        "location": pack_floats(normal.location),
        "scale": pack_floats(normal.scale),
    }
