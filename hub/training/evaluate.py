"""Judging a candidate before anyone gets to see it: the int8 model that devices will run, on what it was not trained on.

A model is refused when
- quantizing it cost more than 0.01 of AUC on injected faults, all kinds together, or
- on shifts or on variance faults its AUC is below 0.6: a coin toss has 0.5, and a detector that is hardly better than one
  only costs attention, or
- it floods one site, one kind of hardware or one age of assets with false alarms (`hub.training.slices`).

The champion, what the fleet runs now, is graded on the same windows and the same injected faults. It does not refuse a
challenger: it may have been trained on windows that are held out here, which flatters it. Rollouts compare the two on windows
that neither has seen.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hub.training.curves import curves
from hub.training.dataset import DEVICE, TIME, Dataset, asset_slices
from hub.training.injection import FAULTS, Fault, FeatureMap, inject
from hub.training.labels import LOW_P, graded_on_labels
from hub.training.slices import Asset, Groups, bias_report, flood_reasons
from hub.training.trainer import DenseWeights, Floats, float_scores
from models.bundle.manifest import Tail
from models.detectors.autoencoder import TfliteAutoencoder
from models.detectors.calibration import MIN_SCORES, cross_scores, fit_tail, own_scores, p_value
from models.detectors.commissioning import learn_in_order
from models.detectors.detector import Detector
from models.detectors.robust import RobustDetector
from models.errors import TrainingError
from models.features.drift import DriftModel

MAX_AUC_LOSS: Final = 0.01
MIN_AUC: Final = 0.6
_MAX_WINDOWS: Final = 1500  # to grade on; more would only take longer
Scores = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Champion:
    """What the fleet runs now."""

    bundle_id: str
    detector: Detector


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
    groups: Groups,
    seed: int,
    champion: Champion | None = None,
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
    alarms = false_alarms(dataset, detector)
    record: dict[str, Any] = {
        "held_out_windows": len(held),
        "auc": {"int8": by_int8.auc, "float": by_float.auc, "baseline": by_robust.auc},
        "auc_loss": round(by_float.auc["all"] - by_int8.auc["all"], 5),
        "score_correlation": _correlation(by_float.scores, by_int8.scores),
        "false_alarms": alarms.record,
        "bias": bias_report(alarms.low, groups),
        "labelled": graded_on_labels(dataset.labelled, detector, alarms.tails),
        "latency_us_median": _latency_us(detector, normal),
    }
    graded = {"int8": by_int8, "float": by_float, "baseline": by_robust}
    p_values = {"int8": alarms.p_values}
    if champion is not None:
        record["champion"], graded["champion"], p_values["champion"] = _graded_champion(champion, dataset, normal, injected)
    record["curves"] = curves({name: (grade.normal, grade.faulty) for name, grade in graded.items()}, p_values)
    return Evaluation(record, normal, injected)


def _graded_champion(
    champion: Champion, dataset: Dataset, normal: Floats, injected: dict[Fault, Floats]
) -> tuple[dict[str, Any], _Grade, list[float]]:
    detector = champion.detector
    grade = _graded(detector_scores(detector, normal), {f: detector_scores(detector, z) for f, z in injected.items()})
    alarms = false_alarms(dataset, detector)
    record = {
        "bundle_id": champion.bundle_id,
        "auc": grade.auc,
        "false_alarm_share": alarms.record["share"],
        "latency_us_median": _latency_us(detector, normal),
        "labelled": graded_on_labels(dataset.labelled, detector, alarms.tails),
    }
    return record, grade, alarms.p_values


@dataclass(frozen=True, slots=True, eq=False)
class _Grade:
    auc: dict[str, float]  # by fault, and "all"
    normal: Scores
    faulty: dict[str, Scores]  # by fault

    @property
    def scores(self) -> Scores:
        """Of everything, normal windows first."""
        return np.concatenate([self.normal, *self.faulty.values()])


def _graded(normal: Scores, faulty: dict[Any, Scores]) -> _Grade:
    aucs = {str(fault): round(auc(normal, scores), 5) for fault, scores in faulty.items()}
    everything = np.concatenate(list(faulty.values()))
    by_fault = {str(fault): scores for fault, scores in faulty.items()}
    return _Grade(aucs | {"all": round(auc(normal, everything), 5)}, normal, by_fault)


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
    reasons = flood_reasons(record["bias"])
    if reasons:
        raise TrainingError(f"it floods a group with false alarms: {'; '.join(reasons)}")


@dataclass(frozen=True, slots=True, eq=False)
class FalseAlarms:
    """`low`: by (device_id, asset), 1 for each held-out normal window with p <= 0.01, else 0; `p_values`: of all of these.
    `tails`: their calibration."""

    low: dict[Asset, list[int]]
    p_values: list[float]
    tails: dict[Asset, Tail]
    record: dict[str, Any]


def false_alarms(dataset: Dataset, detector: Detector) -> FalseAlarms:
    """Share of held-out normal windows with p <= 0.01, each asset calibrated on its own commissioning windows as its device
    does it; by device, with their spread. Assets with too few commissioning windows in the lake are counted only.
    """
    windows = dataset.windows
    held, commissioning = dataset.part(TIME, DEVICE), windows.commissioning
    low: dict[Asset, list[int]] = {}
    p_values: list[float] = []
    tails: dict[Asset, Tail] = {}
    uncalibrated = 0
    for pair, rows in asset_slices(windows):
        learned = windows.features[rows][commissioning[rows]]
        judged = dataset.z[rows][held[rows] & ~commissioning[rows]]
        if len(learned) < MIN_SCORES or not len(judged):
            uncalibrated += 1
            continue
        tails[pair] = fit_tail(_commissioning_scores(dataset, detector, learned))
        own = [p_value(tails[pair], s) for s in detector_scores(detector, judged)]
        low[pair] = [int(p <= LOW_P) for p in own]
        p_values += own
    by_device: dict[str, list[int]] = {}
    for (device_id, _), flags in low.items():
        by_device.setdefault(device_id, []).extend(flags)
    record = {
        "share": _share([flag for flags in low.values() for flag in flags]),
        "windows": sum(map(len, low.values())),
        "assets_not_calibrated": uncalibrated,
        "by_device": _slices(by_device),
    }
    return FalseAlarms(low, p_values, tails, record)


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
