"""Judging a candidate before anyone gets to see it: the int8 model that devices will run, on what it was not trained on.

A model is refused when
- quantizing it cost more than 0.01 of AUC on injected faults, all kinds together, or
- on shifts or on variance faults its AUC is below 0.6: a coin toss has 0.5, and a detector that is hardly better than one
  only costs attention.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hub.training.dataset import DEVICE, TIME, Dataset
from hub.training.injection import FAULTS, Fault, FeatureMap, inject
from hub.training.trainer import DenseWeights, Floats, float_scores
from models.detectors.autoencoder import TfliteAutoencoder
from models.detectors.calibration import MIN_SCORES, cross_scores, fit_tail, own_scores, p_value
from models.detectors.commissioning import learn_in_order
from models.detectors.detector import Detector
from models.detectors.robust import RobustDetector
from models.errors import TrainingError
from models.features.drift import DriftModel

MAX_AUC_LOSS: Final = 0.01
MIN_AUC: Final = 0.6
LOW_P: Final = 0.01
_MAX_WINDOWS: Final = 1500  # to grade on; more would only take longer
Scores = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """`record`: JSON-able figures. `normal`, `injected`: the windows that it was graded on, normalized, for golden vectors."""

    record: dict[str, Any]
    normal: Floats
    injected: dict[Fault, Floats]


def auc(normal: Scores, faulty: Scores) -> float:
    """The chance that a faulty window scores above a normal one, ties counted half (Mann and Whitney, 1947)."""
    ordered = np.sort(normal)
    below = np.searchsorted(ordered, faulty, side="left") + np.searchsorted(ordered, faulty, side="right")
    return float(below.mean() / (2 * len(ordered)))


def detector_scores(detector: Detector, z: Floats) -> Scores:
    """(n,) scores of (n, n_features) windows."""
    return np.array([detector.score(row).score for row in z])


def evaluate(
    dataset: Dataset,
    weights: DenseWeights,
    detector: TfliteAutoencoder,
    features: FeatureMap,
    sites: dict[str, str],
    seed: int,
) -> Evaluation:
    """Grade `detector`, the int8 export of `weights`, on held-out devices and times; `refuse_bad` judges the figures."""
    rng = np.random.default_rng(seed)
    held = np.flatnonzero(dataset.part(TIME, DEVICE))
    held = np.sort(rng.permutation(held)[:_MAX_WINDOWS])
    normal = dataset.z[held]
    injected = {fault: inject(normal, fault, features, rng) for fault in FAULTS}
    by_float = _graded(float_scores(weights, normal), {f: float_scores(weights, z) for f, z in injected.items()})
    by_int8 = _graded(detector_scores(detector, normal), {f: detector_scores(detector, z) for f, z in injected.items()})
    robust = RobustDetector()
    by_robust = _graded(detector_scores(robust, normal), {f: detector_scores(robust, z) for f, z in injected.items()})
    record = {
        "held_out_windows": len(held),
        "auc": {"int8": by_int8.auc, "float": by_float.auc, "baseline": by_robust.auc},
        "auc_loss": round(by_float.auc["all"] - by_int8.auc["all"], 5),
        "score_correlation": _correlation(by_float.scores, by_int8.scores),
        "false_alarms": false_alarms(dataset, detector, sites),
        "latency_us_median": _latency_us(detector, normal),
    }
    return Evaluation(record, normal, injected)


@dataclass(frozen=True, slots=True, eq=False)
class _Grade:
    auc: dict[str, float]  # by fault, and "all"
    scores: Scores  # of everything, normal windows first


def _graded(normal: Scores, faulty: dict[Any, Scores]) -> _Grade:
    aucs = {str(fault): round(auc(normal, scores), 5) for fault, scores in faulty.items()}
    everything = np.concatenate(list(faulty.values()))
    return _Grade(aucs | {"all": round(auc(normal, everything), 5)}, np.concatenate([normal, everything]))


def _correlation(a: Scores, b: Scores) -> float:
    """Pearson's; 0 where one of them does not vary."""
    return round(float(np.corrcoef(a, b)[0, 1]), 5) if a.std() > 0 and b.std() > 0 else 0.0


def refuse_bad(record: dict[str, Any]) -> None:
    """Raises TrainingError where an evaluation's record meets one of the module's criteria."""
    if record["auc_loss"] > MAX_AUC_LOSS:
        raise TrainingError(f"int8 loses {record['auc_loss']:.3f} of AUC against float; at most {MAX_AUC_LOSS}")
    seen = record["auc"]["int8"]
    if min(seen["shift"], seen["variance"]) < MIN_AUC:
        raise TrainingError(
            f"AUC on injected faults: shift {seen['shift']:.2f}, variance {seen['variance']:.2f}; at least {MIN_AUC} is needed"
        )


def false_alarms(dataset: Dataset, detector: Detector, sites: dict[str, str]) -> dict[str, Any]:
    """Share of held-out normal windows with p <= 0.01, each asset calibrated on its own commissioning windows as its device
    does it; by device and site, with their spread. Assets with too few commissioning windows in the lake are counted only.
    """
    windows = dataset.windows
    held, commissioning = dataset.part(TIME, DEVICE), windows.commissioning
    low: dict[str, list[int]] = {}
    uncalibrated = 0
    for device_id, asset in sorted(set(zip(windows.device_id.tolist(), windows.asset.tolist(), strict=True))):
        own = (windows.device_id == device_id) & (windows.asset == asset)
        learned, judged = windows.features[own & commissioning], dataset.z[own & held & ~commissioning]
        if len(learned) < MIN_SCORES or not len(judged):
            uncalibrated += 1
            continue
        tail = fit_tail(_commissioning_scores(dataset, detector, learned))
        low.setdefault(device_id, []).extend(int(p_value(tail, s) <= LOW_P) for s in detector_scores(detector, judged))
    by_site: dict[str, list[int]] = {}
    for device_id, flags in low.items():
        by_site.setdefault(sites.get(device_id, "unknown"), []).extend(flags)
    return {
        "share": _share([flag for flags in low.values() for flag in flags]),
        "windows": sum(map(len, low.values())),
        "assets_not_calibrated": uncalibrated,
        "by_device": _slices(low),
        "by_site": _slices(by_site),
    }


def _commissioning_scores(dataset: Dataset, detector: Detector, learned: Floats) -> Scores:
    """As the device calibrates itself on (n, n_features) commissioning vectors."""
    if dataset.pace is None:
        return cross_scores(detector, learned)
    reference = learn_in_order(learned).reference
    return own_scores(detector, DriftModel.learn(reference, dataset.pace, dataset.fleet_drift), reference)


def _share(flags: list[int]) -> float | None:
    return round(sum(flags) / len(flags), 5) if flags else None


def _slices(groups: dict[str, list[int]]) -> dict[str, Any]:
    """Each group's share, and how far apart the groups lie."""
    shares = {name: sum(flags) / len(flags) for name, flags in groups.items()}
    spread = (
        {"min": min(shares.values()), "max": max(shares.values()), "std": float(np.std(list(shares.values())))}
        if shares
        else {}
    )
    rounded = {name: {"share": round(share, 5), "windows": len(groups[name])} for name, share in shares.items()}
    return {"slices": rounded, "spread": {name: round(value, 5) for name, value in spread.items()}}


def _latency_us(detector: Detector, z: Floats) -> float:
    """Median time to score a window on this machine, µs."""
    took = []
    for row in z[:300]:
        started = time.perf_counter_ns()
        detector.score(row)
        took.append((time.perf_counter_ns() - started) / 1000)
    return round(float(np.median(took)), 1)
