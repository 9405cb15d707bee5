"""The detectors that score one asset's windows, each calibrated for this very asset.

The first decides: the active model, else the baseline. The others are scored beside it on the same windows, so that the
hub can compare a candidate with what it would replace.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.bundle.manifest import Tail
from models.contract.items import BASELINE, SlotScore
from models.contract.profile import Profile
from models.detectors.calibration import cross_scores, fit_tail, p_value
from models.detectors.commissioning import Learned
from models.detectors.decision import Hysteresis, windows_per_false_alarm
from models.detectors.detector import Detector, Scored
from models.detectors.robust import RobustDetector


@dataclass(frozen=True, slots=True)
class Serving:
    """A detector in a slot. `fleet_tail`: where the bundle brings its own calibration instead of the asset's."""

    detector: Detector
    fleet_tail: Tail | None = None


@dataclass(frozen=True, slots=True)
class _Judge:
    """A detector calibrated for this asset, with its own hysteresis."""

    detector: Detector
    tail: Tail
    hysteresis: Hysteresis


class Judges:
    """Silent until `calibrate` has been told what the asset has learned; after that a change of slots calibrates anew."""

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self._serving = [Serving(RobustDetector())]
        self._judges: list[_Judge] = []
        self.bound = windows_per_false_alarm(profile)

    def serve(self, active: Serving | None, shadow: Serving | None) -> None:
        """Let `active` decide (None = the baseline does) and `shadow` be scored beside it, from the next `calibrate` on."""
        self._serving = [serving for serving in (active, Serving(RobustDetector()), shadow) if serving is not None]

    def calibrate(self, learned: Learned, alert_open: bool) -> None:
        """Fit each detector's score distribution to the asset. An open alert is for whoever decides from now on to close."""
        kept = {judge.detector.detector_id: judge for judge in self._judges}
        self._judges = [self._judge_of(serving, learned, kept) for serving in self._serving]
        if alert_open:
            self._judges[0].hysteresis.take_over()

    def _judge_of(self, serving: Serving, learned: Learned, kept: dict[str, _Judge]) -> _Judge:
        """A detector that moves from slot to slot keeps its calibration and its hysteresis."""
        known = kept.get(serving.detector.detector_id)
        if known is not None and serving.detector.detector_id != BASELINE:
            return known
        tail = serving.fleet_tail or fit_tail(cross_scores(serving.detector, learned.reference))
        return _Judge(serving.detector, tail, known.hysteresis if known else Hysteresis(self._profile))

    def score(self, z: NDArray[np.float32]) -> tuple[list[SlotScore], Scored]:
        """Every detector's verdict on (n_features,) normalized features, the deciding one first; what that one looked at."""
        scores, looked_at = [], []
        for judge in self._judges:
            scored = judge.detector.score(z)
            p = p_value(judge.tail, scored.score)
            alarm = judge.hysteresis.update(p)
            scores.append(SlotScore(detector=judge.detector.detector_id, score=scored.score, p_value=p, alarm=alarm))
            looked_at.append(scored)
        return scores, looked_at[0]
