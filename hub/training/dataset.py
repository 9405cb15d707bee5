"""A dataset: a pinned selection of the lake, each machine's windows measured by its own yardstick, and split.

Invariants:
1. Only normal running trains: windows with a sensor fault, in an alert that an operator confirmed or during maintenance, in
   alarm or next to one, or with too many missing features are left out, and each reason is counted in the record. An alarm
   that an operator called false is normal running: it trains.
2. Splits are by device and by time, never by chance among neighbours: windows that touch each other look alike, and a
   random split would grade the model on what it has nearly seen.
3. Trimming touches what is learned from, never what is graded on.
4. Where a profile's normal follows drift, windows are measured as the device measured them: from levels learned from its
   commissioning windows, moved along by every window since.
5. The same windows, rules and seed give the same dataset, in whatever order the lake returns its rows.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.detectors.calibration import MIN_SCORES
from models.detectors.commissioning import learn_in_order
from models.detectors.detector import DEFAULT_CLIP
from models.errors import TrainingError
from models.features.drift import Drift, DriftModel, FleetDrift, Pace, fleet_drift
from models.features.normal import LocalNormal

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]
Normals = dict[tuple[str, str], LocalNormal]  # by (device_id, asset)
TRAIN, VALIDATION, TIME, DEVICE, TRIMMED = "train", "validation", "time", "device", "trimmed"
_MIN_TRAIN: Final = 30


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """Columns of equal length n, one entry a window. `features`: (n, n_features) float32 as computed, NaN = absent."""

    device_id: NDArray[np.str_]
    asset: NDArray[np.str_]
    epoch: NDArray[np.str_]
    seq: NDArray[np.int64]
    start_ns: NDArray[np.int64]
    features: Floats
    faulty: Mask
    commissioning: Mask
    alarm: Mask
    label: NDArray[np.str_]  # of the alert that it is within, by operators' feedback; "" = none

    @property
    def abnormal(self) -> Mask:
        """In alarm or in a fault that was confirmed, and nobody called it a false alarm."""
        found: Mask = (self.alarm & (self.label != "false-alarm")) | (self.label == "confirm")
        return found

    def __len__(self) -> int:
        return len(self.seq)

    def take(self, chosen: NDArray[Any]) -> Windows:
        """The windows at `chosen`, an index or a mask."""
        return Windows(*(getattr(self, name)[chosen] for name in self.__slots__))

    def sorted(self) -> Windows:
        """By device, asset, time and identity."""
        return self.take(np.lexsort((self.seq, self.epoch, self.start_ns, self.asset, self.device_id)))


@dataclass(frozen=True, slots=True)
class Rules:
    """`min_windows`: usable windows without which nothing is trained. `guard_windows`: left out on each side of an alarm,
    as what led to it is no longer normal. `trim_share`: of the training windows, the farthest from normal, for the odd
    unnoticed fault. `holdout_devices_from`: with so many devices, one is held out as a whole. `max_windows`: of a profile that
    has more, about so many are read, in blocks of time spread evenly over all of it (`loading.py`)."""

    min_windows: int = 200
    max_missing_share: float = 0.25
    guard_windows: int = 2
    trim_share: float = 0.01
    time_share: float = 0.2
    validation_share: float = 0.15
    holdout_devices_from: int = 4
    max_windows: int = 1_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """Windows that operators spoke of, kept apart to grade on. `z`: (n, n_features) normalized. `label`: (n,) their word."""

    windows: Windows
    z: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """`windows`: usable ones, sorted. `z`: (n, n_features) locally normalized. `split`: (n,) of the names above.

    `record`: JSON-able; says what was left out and why, how it was split, and the dataset's hash. `fleet_drift`: what the
    assets' drift has in common, where the profile's normal follows it, at `pace`.
    """

    windows: Windows
    z: Floats
    split: NDArray[np.str_]
    record: dict[str, Any]
    fleet_drift: FleetDrift | None = None
    pace: Pace | None = None
    labelled: Labelled | None = None

    def part(self, *names: str) -> Mask:
        """(n,) mask of the windows in any of the splits `names`."""
        return np.isin(self.split, names)


def build_dataset(
    profile: str, windows: Windows, normals: Normals, rules: Rules, seed: int, pace: Pace | None = None
) -> Dataset:
    """Filter, normalize, split. `pace`: where the profile's normal follows drift. Raises TrainingError saying how much there is
    and how much is needed."""
    windows = windows.sorted()
    n_found = len(windows)
    z, common = (_normalize(windows, normals), None) if pace is None else _follow(windows, normals, pace)
    keep, dropped = _filter(windows, z, normals, rules)
    spoken_of = (windows.label != "") & np.isfinite(z).any(axis=1) & ~windows.faulty
    labelled = Labelled(windows.take(spoken_of), z[spoken_of])
    windows, z = windows.take(keep), z[keep]
    if len(windows) < rules.min_windows:
        reasons = ", ".join(f"{count} {reason}" for reason, count in dropped.items() if count)
        raise TrainingError(
            f"{profile}: {len(windows)} usable windows of {n_found}{f' (left out: {reasons})' if reasons else ''}; "
            f"at least {rules.min_windows} are needed"
        )
    split, held_out = _split(windows, rules, seed)
    split = _trim(z, split, rules)
    n_train = int((split == TRAIN).sum())
    if n_train < _MIN_TRAIN:
        raise TrainingError(f"{profile}: {n_train} windows left to train on after the split; at least {_MIN_TRAIN} are needed")
    record = {
        "profile": profile,
        "windows_found": n_found,
        "left_out": dropped,
        "usable": len(windows),
        "devices": np.unique(windows.device_id).tolist(),
        "assets": len(np.unique(np.char.add(np.char.add(windows.device_id, "/"), windows.asset))),
        "start_ns": int(windows.start_ns.min()),
        "end_ns": int(windows.start_ns.max()),
        "held_out_devices": held_out,
        "held_out_time": _time_span(windows, split),
        "labels": {str(label): int((labelled.windows.label == label).sum()) for label in np.unique(labelled.windows.label)},
        "splits": {name: int((split == name).sum()) for name in (TRAIN, VALIDATION, TIME, DEVICE, TRIMMED)},
        "rules": asdict(rules),
        "seed": seed,
        "sha256": _hash(windows, z, split),
    }
    return Dataset(windows, z, split, record, common, pace, labelled)


def _filter(windows: Windows, z: Floats, normals: Normals, rules: Rules) -> tuple[Mask, dict[str, int]]:
    """Which windows to keep, and how many fell to each reason; a window counts under the first that applies."""
    pairs = zip(windows.device_id.tolist(), windows.asset.tolist(), strict=True)
    reasons = {
        "sensor fault": windows.faulty,
        "confirmed alert": windows.label == "confirm",
        "maintenance": windows.label == "maintenance",
        "alarm": windows.abnormal,
        "next to an alarm": _near_alarm(windows, rules.guard_windows),
        "asset not commissioned": np.array([pair not in normals for pair in pairs], dtype=bool),
        "too many missing features": np.isnan(z).mean(axis=1) > rules.max_missing_share,
    }
    keep = np.ones(len(windows), dtype=bool)
    dropped = {}
    for reason, applies in reasons.items():
        dropped[reason] = int((keep & applies).sum())
        keep &= ~applies
    return keep, dropped


def _near_alarm(windows: Windows, guard: int) -> Mask:
    """Windows within `guard` places of an alarm window of the same asset; `windows` are sorted."""
    abnormal = windows.abnormal
    near = abnormal.copy()
    for offset in range(1, guard + 1):
        same = (windows.device_id[offset:] == windows.device_id[:-offset]) & (windows.asset[offset:] == windows.asset[:-offset])
        near[offset:] |= abnormal[:-offset] & same
        near[:-offset] |= abnormal[offset:] & same
    return near


def asset_slices(windows: Windows) -> list[tuple[tuple[str, str], slice]]:
    """((device_id, asset), its rows) in order; `windows` are sorted."""
    changes = (windows.device_id[1:] != windows.device_id[:-1]) | (windows.asset[1:] != windows.asset[:-1])
    edges = [0, *(np.flatnonzero(changes) + 1).tolist(), len(windows)]
    return [((str(windows.device_id[a]), str(windows.asset[a])), slice(a, b)) for a, b in pairwise(edges) if a < b]


def _normalize(windows: Windows, normals: Normals) -> Floats:
    """(n, n_features); NaN where a feature is absent, was never seen while commissioning, or the asset was not commissioned."""
    z = np.full_like(windows.features, np.nan)
    for pair, rows in asset_slices(windows):
        if pair in normals:
            z[rows] = normals[pair].apply(windows.features[rows])
    return np.where(np.isfinite(z), z, np.float32(np.nan))


def _follow(windows: Windows, normals: Normals, pace: Pace) -> tuple[Floats, FleetDrift | None]:
    """(n, n_features) as `_normalize`, from levels that follow; and what the assets' drift has in common."""
    z = np.full_like(windows.features, np.nan)
    learned = {}
    for pair, rows in asset_slices(windows):
        own = windows.features[rows][windows.commissioning[rows] & ~windows.faulty[rows]]
        if pair in normals and len(own) >= MIN_SCORES:
            learned[pair] = learn_in_order(own).reference
    if not learned:
        return z, None
    common = fleet_drift([DriftModel.learn(vectors, pace) for vectors in learned.values()])
    for pair, rows in asset_slices(windows):
        if pair in learned:
            drift = Drift(DriftModel.learn(learned[pair], pace, common))
            for i in range(rows.start, rows.stop):
                z[i] = drift.apply(windows.features[i])
                if not windows.commissioning[i]:
                    drift.follow(windows.features[i], z[i], None)
    return np.where(np.isfinite(z), z, np.float32(np.nan)), common


def _split(windows: Windows, rules: Rules, seed: int) -> tuple[NDArray[np.str_], list[str]]:
    """One device as a whole where there are enough; of each other asset, the latest windows by time, and before those
    the windows that tell training when to stop."""
    device_ids = np.unique(windows.device_id)
    held_out: list[str] = []
    if len(device_ids) >= rules.holdout_devices_from:
        held_out = [str(np.random.default_rng(seed).choice(device_ids))]
    split = np.full(len(windows), TRAIN, dtype="<U10")
    for (device_id, _), rows in asset_slices(windows):
        n = rows.stop - rows.start
        n_time = round(n * rules.time_share)
        n_validation = round((n - n_time) * rules.validation_share)
        split[rows.stop - n_time : rows.stop] = TIME
        split[rows.stop - n_time - n_validation : rows.stop - n_time] = VALIDATION
        if device_id in held_out:
            split[rows] = DEVICE
    return split, held_out


def _trim(z: Floats, split: NDArray[np.str_], rules: Rules) -> NDArray[np.str_]:
    """Set the training windows that lie farthest out apart."""
    distance = np.nanmean(np.square(np.clip(z, -DEFAULT_CLIP, DEFAULT_CLIP)), axis=1)
    trained = np.isin(split, (TRAIN, VALIDATION))
    if not trained.any():
        return split
    limit = np.quantile(distance[trained], 1 - rules.trim_share)
    return np.where(trained & (distance > limit), TRIMMED, split)


def _time_span(windows: Windows, split: NDArray[np.str_]) -> dict[str, int] | None:
    """Where the held-out time begins, over the assets, and where it ends; None where there is none."""
    held = split == TIME
    if not held.any():
        return None
    begins = [int(windows.start_ns[rows][held[rows]].min()) for _, rows in asset_slices(windows) if held[rows].any()]
    return {"begins_first_ns": min(begins), "begins_last_ns": max(begins), "end_ns": int(windows.start_ns[held].max())}


def _hash(windows: Windows, z: Floats, split: NDArray[np.str_]) -> str:
    """SHA-256 over identities, features, normalized features and splits."""
    whole = hashlib.sha256()
    for column in (windows.device_id, windows.asset, windows.epoch, split):
        whole.update("\n".join(column.tolist()).encode())
    for array in (windows.seq, windows.features, z):
        whole.update(np.ascontiguousarray(array).tobytes())
    return whole.hexdigest()
