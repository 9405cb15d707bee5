"""From scores to p-values: how often would this asset, in its normal state, score as high as this?

The body of the score distribution is told by its quantiles; beyond them the tail is a power law fitted to the largest
commissioning scores (Hill, 1975; Weissman, 1978), because an alarm rate of one a month asks for probabilities that
sixty windows never show. The fit leans to the careful side: the tail index is taken at its upper one-sigma bound.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.bundle.manifest import Tail
from models.contract.profile import MIN_REFERENCE
from models.detectors.detector import Detector
from models.detectors.recurrence import recurring
from models.features.drift import DriftModel
from models.features.normal import LocalNormal
from models.features.window_normal import WindowNormal

MIN_SCORES: Final = MIN_REFERENCE
_TAIL_SHARE: Final = 0.2
_MIN_INDEX: Final = 0.05  # a tail thinner than this is an artefact of few scores
_MAX_INDEX: Final = 0.5
_N_QUANTILES: Final = 33
P_FLOOR: Final = 1e-12
_FOLDS: Final = 4
_ODD: Final = 5.0  # times the median score


def fit_tail(scores: NDArray[np.floating]) -> Tail:
    """Fit the distribution of (n,) scores of normal windows, n >= 20. Raises ValueError on fewer."""
    s = np.sort(np.asarray(scores, dtype=np.float64))
    if len(s) < MIN_SCORES or not np.isfinite(s).all():
        raise ValueError(f"{len(s)} scores; at least {MIN_SCORES} finite ones")
    n_tail = max(8, round(_TAIL_SHARE * len(s)))
    threshold = max(float(s[-n_tail - 1]), 1e-9)
    index = float(np.mean(np.log(np.maximum(s[-n_tail:], threshold) / threshold)) * (1 + 1 / np.sqrt(n_tail)))
    index = min(max(index, _MIN_INDEX), _MAX_INDEX)
    quantiles = np.quantile(s[:-n_tail], np.linspace(0, 1, _N_QUANTILES))
    return Tail(
        quantiles=[float(q) for q in quantiles],
        threshold=threshold,
        p_threshold=n_tail / len(s),
        scale=index * threshold,  # a generalized Pareto law with this scale is exactly (score / threshold) ** (-1 / index)
        shape=index,
        n=len(s),
    )


def p_value(tail: Tail, score: float) -> float:
    """The chance of a score of at least this, in (0, 1]; never below `P_FLOOR`, for no sixty windows can know less."""
    if score > tail.threshold:
        excess = 1 + tail.shape * (score - tail.threshold) / tail.scale
        return float(max(tail.p_threshold * excess ** (-1 / tail.shape), P_FLOOR))
    below = np.interp(score, tail.quantiles, np.linspace(0, 1, len(tail.quantiles)))
    return float(1 - (1 - tail.p_threshold) * below)


def cross_scores(detector: Detector, vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """Scores of (n, n_features) commissioning vectors, each under a normal learned from the *other* blocks of them.

    Scoring windows with the location and scale that they themselves gave flatters them; thresholds would come out too
    low. Blocks are contiguous in time, so that what drifts within commissioning counts as spread.
    """
    scores = np.empty(len(vectors))
    for fold in np.array_split(np.arange(len(vectors)), _FOLDS):
        normal = LocalNormal.fit(np.delete(vectors, fold, axis=0))
        for i, z in zip(fold, normal.apply(vectors[fold]), strict=True):
            scores[i] = detector.score(z).score
    return scores


def cross_window_scores(detector: Detector, windows: NDArray[np.float32], centered: bool) -> NDArray[np.float64]:
    """As `cross_scores`, of (n, n_samples, n_channels) commissioning windows under a detector that takes them whole."""
    scores = np.empty(len(windows))
    for fold in np.array_split(np.arange(len(windows)), _FOLDS):
        normal = WindowNormal.fit(np.delete(windows, fold, axis=0), centered)
        for i, z in zip(fold, normal.apply(windows[fold]), strict=True):
            scores[i] = detector.score(z).score
    return scores


def without_odd(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n,) scores, in the order of time, without those that stand far out of the rest and do not come back (`recurrence.py`),
    at most a fifth, so that a disturbance while commissioning does not raise the thresholds; `learn` does that by features,
    which a detector of windows has not got. Windows that are kept whole are thinned out: one of them makes an episode."""
    odd = scores > _ODD * max(float(np.median(scores)), 1e-9)
    asked = np.flatnonzero(odd)
    once = asked[~recurring(scores[:, None], odd, asked, shortest=1)]
    may_drop = max(0, min(int(0.2 * len(scores)), len(scores) - MIN_SCORES))
    return np.delete(scores, once[np.argsort(-scores[once], kind="stable")[:may_drop]])


def own_scores(detector: Detector, model: DriftModel, reference: NDArray[np.float32]) -> NDArray[np.float64]:
    """Scores of (n, n_features) commissioning vectors where normal follows drift, each from the level of shortly before."""
    return np.array([detector.score(z).score for z in model.own_z(reference)])
