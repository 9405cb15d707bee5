"""The detectors that score one asset's windows, each calibrated for this very asset.

The first decides: the active model, else the baseline. The others are scored beside it on the same windows, so that the
hub can compare a candidate with what it would replace.

Each judge measures by its own yardstick: the asset's normal as commissioned, or, where the profile lets normal follow drift,
levels of its own, because what a level follows depends on what its judge takes for an alarm. A model over whole windows
measures each channel by its commissioned spread, and where too few windows were kept to calibrate it by, it is not scored.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.bundle.archive import Bundle
from models.bundle.manifest import Input, Scaling, Tail
from models.contract.items import BASELINE, SlotScore
from models.contract.profile import Profile
from models.detectors.calibration import cross_scores, cross_window_scores, fit_tail, own_scores, p_value, without_odd
from models.detectors.commissioning import Learned
from models.detectors.decision import Hysteresis, windows_per_false_alarm
from models.detectors.detector import Detector, Scored
from models.detectors.robust import RobustDetector
from models.features.drift import Drift, DriftModel, FleetDrift, pace_of
from models.features.normal import LocalNormal
from models.features.window_normal import WindowNormal, as_measured


@dataclass(frozen=True, slots=True)
class Serving:
    """A detector in a slot. `fleet_tail`: where the bundle brings its own calibration instead of the asset's.
    `fleet_drift`: what the fleet knows of drift, where it does. `input`, `scaling`, `centered`: what the detector takes, as in
    the manifest."""

    detector: Detector
    fleet_tail: Tail | None = None
    fleet_drift: FleetDrift | None = None
    input: Input = "features"
    scaling: Scaling = "local"
    centered: bool = False


def serving_of(bundle: Bundle, detector: Detector) -> Serving:
    """The detector of a bundle, with what the bundle brings of the fleet."""
    manifest = bundle.manifest
    tail = manifest.fleet_tail if manifest.calibration == "fleet" else None
    return Serving(detector, tail, manifest.fleet_drift, manifest.input, manifest.scaling, manifest.centered)


@dataclass(frozen=True, slots=True, eq=False)
class _Judge:
    """A detector calibrated for this asset, with its own yardstick and hysteresis."""

    detector: Detector
    tail: Tail
    hysteresis: Hysteresis
    normal: LocalNormal
    drift: Drift | None
    window: WindowNormal | None = None  # where the detector takes whole windows

    def judge(self, vector: NDArray[np.float32], matrix: NDArray[np.float64], stopping: bool) -> tuple[SlotScore, Scored]:
        if self.window is not None:
            z = self.window.apply(matrix)
        else:
            z = self.drift.apply(vector) if self.drift else self.normal.apply(vector)
        scored = self.detector.score(z)
        p = p_value(self.tail, scored.score)
        if self.drift is None:
            alarm = self.hysteresis.update(p, stopping=stopping)
        else:
            alarm = self._follow(self.drift, vector, z, p, scored, stopping)
        return SlotScore(detector=self.detector.detector_id, score=scored.score, p_value=p, alarm=alarm), scored

    def _follow(
        self, drift: Drift, vector: NDArray[np.float32], z: NDArray[np.float32], p: float, scored: Scored, stopping: bool
    ) -> bool:
        """The alarm after this window, and where normal lies after it."""
        before = self.hysteresis.alarm
        alarm = before if drift.settling else self.hysteresis.update(p, scored.contributions, stopping)
        drift.follow(vector, z, self.hysteresis.rests_on)
        if before and not alarm:
            drift.settle()
        return alarm


class Judges:
    """Silent until `calibrate` has been told what the asset has learned; after that a change of slots calibrates anew."""

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self._serving = [Serving(RobustDetector())]
        self._judges: list[_Judge] = []
        self._pace = pace_of(profile)
        self.bound = windows_per_false_alarm(profile)

    def serve(self, active: Serving | None, shadow: Serving | None) -> None:
        """Let `active` decide (None = the baseline does) and `shadow` be scored beside it, from the next `calibrate` on."""
        self._serving = [serving for serving in (active, Serving(RobustDetector()), shadow) if serving is not None]

    def forget(self) -> None:
        """Silent again: the asset is to be learned anew."""
        self._judges = []

    def calibrate(self, learned: Learned, alert_open: bool, level: NDArray[np.float32] | None = None) -> None:
        """Fit each detector's score distribution to the asset. An open alert is for whoever decides from now on to close.

        `level`: (n_features,) where normal lay before a restart; None = where it lies now, or lay at the end of commissioning.
        """
        kept = {judge.detector.detector_id: judge for judge in self._judges}
        level = self.level if level is None else level
        judges = [self._judge_of(serving, learned, kept, level) for serving in self._serving]
        self._judges = [judge for judge in judges if judge is not None]
        if alert_open:
            self._judges[0].hysteresis.take_over()

    def _judge_of(
        self, serving: Serving, learned: Learned, kept: dict[str, _Judge], level: NDArray[np.float32] | None
    ) -> _Judge | None:
        """A detector that moves from slot to slot keeps its calibration and its hysteresis. None: too few windows were kept."""
        known = kept.get(serving.detector.detector_id)
        if known is not None and serving.detector.detector_id != BASELINE:
            return known
        hysteresis = known.hysteresis if known else Hysteresis(self._profile)
        if serving.input == "window":
            return None if learned.windows is None else _window_judge(serving, learned.windows, learned.normal, hysteresis)
        if serving.scaling == "none":
            return _measured_judge(serving, learned.reference, hysteresis)
        if self._pace is None:
            tail = serving.fleet_tail or fit_tail(cross_scores(serving.detector, learned.reference))
            return _Judge(serving.detector, tail, hysteresis, learned.normal, None)
        model = DriftModel.learn(learned.reference, self._pace, serving.fleet_drift)
        tail = serving.fleet_tail or fit_tail(own_scores(serving.detector, model, learned.reference))
        return _Judge(serving.detector, tail, hysteresis, learned.normal, Drift(model, level))

    @property
    def takes_windows(self) -> bool:
        """Whether the deciding judge's contributions are of a window's values, not of features."""
        return bool(self._judges) and self._judges[0].window is not None

    @property
    def level(self) -> NDArray[np.float32] | None:
        """(n_features,) where the deciding judge's normal lies; None while it is fixed, or nothing is calibrated."""
        judges = self._judges  # at once: another thread may ask
        drift = judges[0].drift if judges else None
        return None if drift is None else drift.level.astype(np.float32)

    def moved(self) -> NDArray[np.float32] | None:
        """(n_features,) how far normal has drifted since commissioning, in units of the spread then; None while it is fixed."""
        judges = self._judges
        return judges[0].drift.moved(judges[0].normal) if judges and judges[0].drift else None

    def score(
        self, vector: NDArray[np.float32], matrix: NDArray[np.float64], stopping: bool = False
    ) -> tuple[list[SlotScore], Scored]:
        """Every detector's verdict on (n_features,) raw features of (n_samples, n_channels), the deciding one first; what that
        one looked at. `stopping`: the machine may be about to stop."""
        scores, looked_at = zip(*[judge.judge(vector, matrix, stopping) for judge in self._judges], strict=True)
        return list(scores), looked_at[0]

    def rest(self) -> None:
        """The machine is at rest; an alarm that is on stays on."""
        for judge in self._judges:
            judge.hysteresis.rest()


def _window_judge(serving: Serving, windows: NDArray[np.float32], normal: LocalNormal, hysteresis: Hysteresis) -> _Judge:
    measured = serving.scaling == "none"
    window = WindowNormal.none(windows.shape[-1], serving.centered) if measured else WindowNormal.fit(windows, serving.centered)
    if serving.fleet_tail is not None:
        tail = serving.fleet_tail
    elif measured:
        tail = fit_tail(without_odd(np.array([serving.detector.score(z).score for z in window.apply(windows)])))
    else:
        tail = fit_tail(without_odd(cross_window_scores(serving.detector, windows, serving.centered)))
    return _Judge(serving.detector, tail, hysteresis, normal, None, window)


def _measured_judge(serving: Serving, reference: NDArray[np.float32], hysteresis: Hysteresis) -> _Judge:
    tail = serving.fleet_tail or fit_tail(np.array([serving.detector.score(vector).score for vector in reference]))
    return _Judge(serving.detector, tail, hysteresis, as_measured(reference.shape[1]), None)
