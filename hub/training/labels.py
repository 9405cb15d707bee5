"""How a model does on the windows that operators spoke of: does it see what was confirmed, is it quiet where nothing was."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from hub.training.dataset import Labelled
from models.detectors.calibration import p_value
from models.detectors.detector import Detector

LOW_P: Final = 0.01
MIN_LABELLED: Final = 5  # windows: below that, shares are told but named as too few


def graded_on_labels(labelled: Labelled | None, detector: Detector, tails: Mapping[tuple[str, str], Any]) -> dict[str, Any]:
    """By label: windows, and the share of them with p <= 0.01. `tails`: each asset's calibration; others are left out."""
    found: dict[str, Any] = {}
    if labelled is None:
        return found
    pairs = zip(labelled.windows.device_id.tolist(), labelled.windows.asset.tolist(), strict=True)
    calibrated = np.array([pair in tails for pair in pairs], dtype=bool)
    for label in np.unique(labelled.windows.label[calibrated]).tolist():
        rows = np.flatnonzero(calibrated & (labelled.windows.label == label))
        flags = [_low(labelled, detector, tails, int(row)) for row in rows]
        found[label] = {
            "windows": len(flags),
            "share_low_p": round(sum(flags) / len(flags), 5),
            "enough": len(flags) >= MIN_LABELLED,
        }
    return found


def _low(labelled: Labelled, detector: Detector, tails: Mapping[tuple[str, str], Any], row: int) -> bool:
    tail = tails[str(labelled.windows.device_id[row]), str(labelled.windows.asset[row])]
    return p_value(tail, detector.score(labelled.z[row]).score) <= LOW_P
