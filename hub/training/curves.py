"""What an evaluation's pictures are drawn from: bounded curves instead of every score. They stay in the run's record; cards,
which travel to the devices, hold the figures only.

- `detected`: of each detector and kind of fault, the share of faulty windows that score above a threshold which at most
  `false_alarm_share` of the normal windows exceed: its ROC curve, from below.
- `quantiles`: of all scores, by the float model and by int8: where they lie on one line, quantization has changed nothing.
- `alarm_rate`: the share of held-out normal windows with a p-value at or below what is asked for; calibrated, it is the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float64]
FALSE_ALARM_SHARES: Final = (
    0.0, 0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0,
)  # fmt: skip
ASKED: Final = (0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001)
_QUANTILES: Final = np.concatenate([np.linspace(0, 0.9, 19), [0.95, 0.98, 0.99, 1.0]])


def detected(normal: Scores, faulty: Scores) -> list[float]:
    """For each of FALSE_ALARM_SHARES: the share of faulty windows above the threshold that no more normal ones exceed."""
    falling = np.sort(normal)[::-1]
    allowed = np.floor(np.array(FALSE_ALARM_SHARES) * len(falling) + 1e-9).astype(int)
    thresholds = np.append(falling, -np.inf)[allowed]
    return [round(float((faulty > threshold).mean()), 5) for threshold in thresholds]


def quantiles(by_float: Scores, by_int8: Scores) -> dict[str, list[float]]:
    """The same quantiles of both detectors' scores."""
    return {
        name: [float(f"{value:.6g}") for value in np.quantile(scores, _QUANTILES).tolist()]
        for name, scores in (("float", by_float), ("int8", by_int8))
    }


def alarm_rate(p_values: Sequence[float]) -> list[float] | None:
    """For each of ASKED, the share of p-values that are no larger; None where there are none."""
    if not len(p_values):
        return None
    p = np.asarray(p_values)
    return [round(float((p <= asked).mean()), 5) for asked in ASKED]


def curves(graded: Mapping[str, tuple[Scores, Mapping[str, Scores]]], rates: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """JSON-able. `graded`: by detector, scores of normal windows and of faulty ones by kind; int8 and float are among them.
    `rates`: by detector, p-values of held-out normal windows."""
    by_detector = {
        name: {"all": detected(normal, np.concatenate(list(faulty.values())))}
        | {kind: detected(normal, scores) for kind, scores in faulty.items()}
        for name, (normal, faulty) in graded.items()
    }
    pooled = {name: np.concatenate([graded[name][0], *graded[name][1].values()]) for name in ("float", "int8")}
    return {
        "false_alarm_share": list(FALSE_ALARM_SHARES),
        "detected": by_detector,
        "quantiles": quantiles(pooled["float"], pooled["int8"]),
        "alarm_rate": {"asked": list(ASKED), "got": {name: alarm_rate(p) for name, p in rates.items()}},
    }
