"""A dataset of whole windows: the sampled share that devices sent, each channel measured by its asset's own spread, and split.

Invariants:
1. Only windows that their device sampled are here: without a sensor fault, and outside of any alarm. What lies just before an
   alert is left out too, as what led to it is no longer normal.
2. An asset's spread is told by its own sampled windows, those that are held out left aside. The device uses its commissioning
   windows; both are robust, so a model sees much the same.
3. Splits are by device and by time, as those of features (`dataset.py`).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import pyarrow.dataset as ds
from numpy.typing import NDArray
from sqlalchemy import Connection, select

from hub.lake.lake import Lake
from hub.state.schema import commissionings
from hub.training.dataset import DEVICE, TIME, TRAIN, VALIDATION, Rules
from hub.training.trainer import Floats
from models.contract.clock import NS_PER_S
from models.contract.profile import MIN_REFERENCE, Profile
from models.errors import TrainingError
from models.features.window_normal import WindowNormal

_COLUMNS: Final = ("device_id", "asset", "start_ns", "rate_hz", "channels", "values", "sample")
Pair = tuple[str, str]  # device_id, asset


@dataclass(frozen=True, slots=True, eq=False)
class WindowSet:
    """Columns of equal length n, sorted by asset and time. `values`: (n, n_samples, n_channels) as measured, NaN = absent."""

    pairs: list[Pair]
    start_ns: NDArray[np.int64]
    values: Floats


@dataclass(frozen=True, slots=True, eq=False)
class WindowDataset:
    """`z`: (n, n_samples, n_channels) in units of each asset's own spread. `split`: (n,). `record`: JSON-able."""

    z: Floats
    split: NDArray[np.str_]
    record: dict[str, Any]

    def part(self, *names: str) -> Floats:
        """The windows in any of the splits `names`."""
        return self.z[np.isin(self.split, names)]


def load_sampled(lake: Lake, connection: Connection, profile: Profile, version: int) -> tuple[WindowSet, dict[str, int]]:
    """The sampled windows of a profile's assets at one version of the lake, and how many were left out, by reason."""
    rows = connection.execute(
        select(commissionings.c.device_id, commissionings.c.asset).where(commissionings.c.spec_hash == profile.spec_hash)
    )
    known = {(row.device_id, row.asset) for row in rows}
    table = lake.dataset("evidence", version).to_table(
        columns=list(_COLUMNS), filter=ds.field("rate_hz") == profile.windowing.rate_hz
    )
    n_values = profile.windowing.n_samples * len(profile.channels)
    found: list[tuple[Pair, int, Any]] = []
    alerts: dict[Pair, list[tuple[int, int]]] = {}
    left_out = {"asset not commissioned": 0, "other channels or size": 0, "without any value": 0, "next to an alert": 0}
    for row in table.to_pylist():
        pair = (row["device_id"], row["asset"])
        if not row["sample"]:
            length_ns = round(len(row["values"]) / max(1, len(row["channels"])) / row["rate_hz"] * NS_PER_S)
            alerts.setdefault(pair, []).append((row["start_ns"], row["start_ns"] + length_ns))
        elif pair not in known:
            left_out["asset not commissioned"] += 1
        elif row["channels"] != profile.channel_names or len(row["values"]) != n_values:
            left_out["other channels or size"] += 1
        elif not np.isfinite(np.array(row["values"], dtype=np.float32)).any():
            left_out["without any value"] += 1
        else:
            found.append((pair, row["start_ns"], row["values"]))
    window_ns = round(profile.windowing.window_s * NS_PER_S)
    kept = [one for one in found if not _touches(one[1], one[1] + window_ns, alerts.get(one[0], []))]
    left_out["next to an alert"] = len(found) - len(kept)
    kept.sort(key=lambda one: one[:2])
    values = np.array([one[2] for one in kept], dtype=np.float32)
    shaped = values.reshape(len(kept), profile.windowing.n_samples, len(profile.channels))
    return WindowSet([one[0] for one in kept], np.array([one[1] for one in kept], dtype=np.int64), shaped), left_out


def _touches(start_ns: int, end_ns: int, spans: list[tuple[int, int]]) -> bool:
    return any(start_ns < to and since < end_ns for since, to in spans)


def build_window_dataset(
    profile: Profile, windows: WindowSet, left_out: dict[str, int], rules: Rules, seed: int, *, centered: bool
) -> WindowDataset:
    """Normalize and split. Raises TrainingError saying how much there is, how much is needed, and what brings more."""
    counts = Counter(windows.pairs)
    keep = np.array([counts[pair] >= MIN_REFERENCE for pair in windows.pairs], dtype=bool)
    left_out = {**left_out, "too few of the asset": int((~keep).sum())}
    pairs = [pair for pair, kept in zip(windows.pairs, keep, strict=True) if kept]
    values, start_ns = windows.values[keep], windows.start_ns[keep]
    if len(pairs) < rules.min_windows:
        reasons = ", ".join(f"{count} {reason}" for reason, count in left_out.items() if count)
        raise TrainingError(
            f"{profile.name}: {len(pairs)} whole windows{f' (left out: {reasons})' if reasons else ''}; at least "
            f"{rules.min_windows} are needed: set sample_share in [windows] of the profile on the devices, and wait"
        )
    device_ids = sorted({device_id for device_id, _ in pairs})
    held_out = [str(np.random.default_rng(seed).choice(device_ids))] if len(device_ids) >= rules.holdout_devices_from else []
    split = np.full(len(pairs), TRAIN, dtype="<U10")
    z = np.empty_like(values)
    for pair in sorted(set(pairs)):
        own = np.flatnonzero([each == pair for each in pairs])  # in the order of time
        n_time = round(len(own) * rules.time_share)
        n_validation = round((len(own) - n_time) * rules.validation_share)
        learned = own[: len(own) - n_time]
        split[own[len(learned) :]] = TIME
        split[learned[len(learned) - n_validation :]] = VALIDATION
        if pair[0] in held_out:
            split[own] = DEVICE
        z[own] = WindowNormal.fit(values[learned], centered).apply(values[own]).reshape(len(own), *values.shape[1:])
    record = {
        "profile": profile.name,
        "windows_found": len(windows.pairs) + sum(n for name, n in left_out.items() if name != "too few of the asset"),
        "left_out": left_out,
        "usable": len(pairs),
        "devices": device_ids,
        "assets": len(set(pairs)),
        "start_ns": int(start_ns.min()),
        "end_ns": int(start_ns.max()),
        "held_out_devices": held_out,
        "splits": {name: int((split == name).sum()) for name in (TRAIN, VALIDATION, TIME, DEVICE)},
        "rules": asdict(rules),
        "seed": seed,
        "sha256": hashlib.sha256(values.tobytes() + split.tobytes()).hexdigest(),
    }
    return WindowDataset(z, split, record)
