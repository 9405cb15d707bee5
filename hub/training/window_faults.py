"""Judging a window model: faults injected into whole windows, the int8 export against the float network.

Each window gets one fault on one channel, in units of the asset's own spread:
- shift: the channel's level moves by 2-4 (not where windows are centered: there levels say nothing);
- variance: noise of 1-2 is added;
- correlation: the channel's course is that of another window, so it is normal by itself, but belongs to another moment.
"""

from __future__ import annotations

import time
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from hub.training.conv import ConvWeights, float_window_scores
from hub.training.evaluate import MAX_AUC_LOSS, MIN_AUC, auc
from hub.training.trainer import Floats
from models.detectors.detector import Detector
from models.errors import TrainingError

WindowFault = Literal["shift", "variance", "correlation"]
_JUDGED: Final[tuple[WindowFault, ...]] = ("shift", "variance")  # the third is told, for channels need not be related


def window_faults(*, centered: bool) -> tuple[WindowFault, ...]:
    """Those that a model can be judged by."""
    return ("variance", "correlation") if centered else ("shift", "variance", "correlation")


def inject_into_windows(z: Floats, fault: WindowFault, rng: np.random.Generator, *, centered: bool) -> Floats:
    """A copy of (n, n_samples, n_channels) windows with a fault in each; the channel is drawn anew for each window."""
    faulty = z.copy()
    n, n_samples, n_channels = z.shape
    channel, others, rows = rng.integers(0, n_channels, n), rng.permutation(n), np.arange(n)
    course = np.array(z[rows, :, channel], dtype=np.float64)
    if fault == "shift":
        course += np.outer(rng.uniform(2, 4, n) * rng.choice([-1.0, 1.0], n), np.ones(n_samples))
    elif fault == "variance":
        course += np.outer(rng.uniform(1, 2, n), np.ones(n_samples)) * rng.standard_normal((n, n_samples))
    else:
        course = np.asarray(z[others, :, channel], dtype=np.float64)
    faulty[rows, :, channel] = course - course.mean(axis=1, keepdims=True) * centered
    return faulty.astype(np.float32)


def window_scores(detector: Detector, z: Floats) -> NDArray[np.float64]:
    """(n,) scores of (n, n_samples, n_channels) windows."""
    return np.array([detector.score(window.ravel()).score for window in z])


def evaluate_windows(
    held: Floats, weights: ConvWeights, detector: Detector, seed: int, *, share: float, centered: bool
) -> tuple[dict[str, Any], dict[WindowFault, Floats]]:
    """(record, faulty windows by fault) of `detector`, the int8 export of `weights`, on `held` windows that trained nothing."""
    rng = np.random.default_rng(seed)
    injected = {fault: inject_into_windows(held, fault, rng, centered=centered) for fault in window_faults(centered=centered)}
    normal = window_scores(detector, held)
    by_int8 = {fault: window_scores(detector, z) for fault, z in injected.items()}
    by_float = {fault: float_window_scores(weights, z, share) for fault, z in injected.items()}
    aucs = {"int8": _areas(normal, by_int8), "float": _areas(float_window_scores(weights, held, share), by_float)}
    record = {
        "held_out_windows": len(held),
        "auc": aucs,
        "auc_loss": round(aucs["float"]["all"] - aucs["int8"]["all"], 5),
        "latency_us_median": _latency_us(detector, held),
    }
    return record, injected


def refuse_bad_windows(record: dict[str, Any]) -> None:
    """Raises TrainingError where int8 costs more than 0.01 of AUC, or a plain fault is hardly told from chance."""
    if record["auc_loss"] > MAX_AUC_LOSS:
        raise TrainingError(f"int8 loses {record['auc_loss']:.3f} of AUC against float; at most {MAX_AUC_LOSS}")
    judged = {fault: area for fault, area in record["auc"]["int8"].items() if fault in _JUDGED}
    if min(judged.values()) < MIN_AUC:
        told = ", ".join(f"{fault} {area:.2f}" for fault, area in judged.items())
        raise TrainingError(f"AUC on injected faults: {told}; at least {MIN_AUC} is needed")


def _areas(normal: NDArray[np.float64], faulty: dict[WindowFault, NDArray[np.float64]]) -> dict[str, float]:
    each = {str(fault): round(auc(normal, scores), 5) for fault, scores in faulty.items()}
    return each | {"all": round(auc(normal, np.concatenate(list(faulty.values()))), 5)}


def _latency_us(detector: Detector, z: Floats) -> float:
    """Median time to score a window on this machine, µs."""
    took = []
    for window in z[:300]:
        flat = window.ravel()
        started = time.perf_counter_ns()
        detector.score(flat)
        took.append((time.perf_counter_ns() - started) / 1000)
    return round(float(np.median(took)), 1)
