"""Whole windows instead of features: a convolutional autoencoder on the runs of SKAB, in the agent's own pipeline.

    python -m benchmarks.detection.windows --data DIR [--seed 1]

DIR is SKAB's folder (`skab.py`). Two models are trained, one from the commissioning windows of every other run and one from
those of the rest; each serves the runs that it has not seen, calibrated on their own commissioning windows. `centered` takes
each window less its own mean, so that the drift of levels does not matter, nor their shifts. Windows, dial and counting are
those of `skab.py`; labels are read for counting alone. Beside it stands the shipped kind of model, and an ensemble of model and
baseline, by their p-values: twice the smaller, and the mean of their logits; all by the same rule for opening and closing,
which goes by p-values alone.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from agent.asset import AssetWatch
from agent.backtest.run import ASSET
from agent.judges import Serving
from agent.pipeline import Pipeline
from benchmarks.detection.learning import load, train_bundle
from benchmarks.detection.skab import COMMISSIONING_ROWS, Case, cases, commissioning_vectors, profile_for
from benchmarks.detection.three import f1_and_far, labels
from hub.training.conv import export_conv_int8
from hub.training.framework import native_silence
from hub.training.keras_conv import KerasConv
from hub.training.window_job import representative_windows
from models.contract.items import Aggregate, Evidence, unpack_floats
from models.contract.profile import Profile, WindowsPlan
from models.contract.reading import Reading
from models.contract.table import channel_names
from models.detectors.decision import Hysteresis
from models.detectors.detector import DEFAULT_CLIP
from models.detectors.window_model import WindowAutoencoder
from models.features.window_normal import WindowNormal

_REFERENCE: Final = 200
_VALIDATION_SHARE: Final = 0.15


@dataclass(frozen=True, slots=True)
class Played:
    """One run through the pipeline: whether an alert was open at each row after commissioning, and the p-values there."""

    alert: NDArray[np.bool_]
    p_values: NDArray[np.float64]


def keeping(profile: Profile, sample_share: float = 0.0) -> Profile:
    return msgspec.structs.replace(profile, windows=WindowsPlan(reference=_REFERENCE, sample_share=sample_share))


def play(case: Case, profile: Profile, rows: int, serving: Serving | None) -> tuple[AssetWatch, Iterable[list[object]]]:
    """The pipeline's bodies, row by row."""
    watch = AssetWatch(ASSET, profile)
    watch.serve(serving, None)
    pipeline = Pipeline([watch])
    names = list(enumerate(channel_names(case.table.columns)))

    def bodies() -> Iterable[list[object]]:
        for row, t_ns in enumerate(case.table.time_ns[:rows].tolist()):
            if row == case.commissioning_rows:
                watch.commission_now(t_ns)
            readings = [Reading(ASSET, name, t_ns, float(case.table.values[row][i])) for i, name in names]
            yield list(pipeline.handle(readings, t_ns).bodies)

    return watch, bodies()


def commissioning_windows(case: Case, profile: Profile) -> NDArray[np.float32]:
    """(n, n_samples, n_channels), as a device would send them if all were sampled."""
    _, bodies = play(case, keeping(profile, sample_share=1.0), case.commissioning_rows, None)
    samples = [body for row in bodies for body in row if isinstance(body, Evidence) and body.sample]
    return np.array([unpack_floats(sample.values, len(profile.channels)) for sample in samples])


def train(members: Iterable[NDArray[np.float32]], seed: int, *, centered: bool) -> Serving:
    """A model of the members' windows, each in units of its own spread, as a slot would hold it."""
    z = [np.reshape(WindowNormal.fit(each, centered).apply(each), each.shape) for each in members]
    cut = [round(len(each) * (1 - _VALIDATION_SHARE)) for each in z]
    learned = np.concatenate([each[:n] for each, n in zip(z, cut, strict=True)])
    held = np.concatenate([each[n:] for each, n in zip(z, cut, strict=True)])
    weights = KerasConv(centered=centered, max_epochs=40).fit(learned, held, seed, lambda _line: None)
    with native_silence():
        model = export_conv_int8(weights, representative_windows(learned))
        detector = WindowAutoencoder(model, DEFAULT_CLIP, n_channels=learned.shape[-1])
    return Serving(detector, input="window", centered=centered)


def played(case: Case, profile: Profile, serving: Serving) -> Played:
    watch, bodies = play(case, keeping(profile), len(case.table.time_ns), serving)
    alert, p_values = [], []
    for row in bodies:
        scores = [body.scores for body in row if isinstance(body, Aggregate) and body.scores]
        p_values.append([score.p_value or np.nan for score in scores[-1][:2]] if scores else [np.nan, np.nan])
        alert.append(watch.alert is not None)
    return Played(np.array(alert)[case.commissioning_rows :], np.array(p_values)[case.commissioning_rows :])


def by_p_alone(p_values: NDArray[np.float64], profile: Profile) -> NDArray[np.bool_]:
    """(n_rows,) whether an alarm is on, by the decision's rules without a look at contributions."""
    hysteresis = Hysteresis(profile)
    return np.array([hysteresis.alarm if np.isnan(p) else hysteresis.update(float(p)) for p in p_values])


def together(p: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """(n_rows, 2) p-values as one, by name."""
    clipped = np.clip(p, 1e-12, 1 - 1e-6)
    logit = np.log(clipped / (1 - clipped)).mean(axis=1)
    return {
        "model": p[:, 0],
        "baseline": p[:, 1],
        "twice the smaller": np.minimum(2 * p.min(axis=1), 1.0),
        "mean of logits": 1 / (1 + np.exp(-logit)),
    }


def told(name: str, alarms: dict[str, NDArray[np.bool_]], truth: dict[str, NDArray[np.bool_]]) -> None:
    f1, far = f1_and_far(alarms, truth)
    print(f"{name:<44}{f1:>7.3f}{far:>7.1f}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.detection.windows", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds valve1, valve2, other")
    parser.add_argument("--seed", type=int, default=1, help="of training")
    args = parser.parse_args()
    runs = list(cases(args.data, None))
    if not runs:
        parser.error(f"{args.data} holds no runs: valve1/*.csv, valve2/*.csv, other/*.csv")
    truth = {case.name: labels(args.data, case) for case in runs}
    profile = profile_for(runs[0].table, COMMISSIONING_ROWS)
    halves = [(runs[i::2], runs[1 - i :: 2]) for i in (0, 1)]
    print(f"{'':<44}{'F1':>7}{'FAR %':>7}", flush=True)
    for centered in (False, True):
        alarms: dict[str, NDArray[np.bool_]] = {}
        for served, seen in halves:
            serving = train([commissioning_windows(case, profile) for case in seen], args.seed, centered=centered)
            alarms |= {case.name: played(case, profile, serving).alert for case in served}
        told(f"convolutional, {'centered' if centered else 'with levels'}", alarms, truth)
    results: dict[str, Played] = {}
    for served, seen in halves:
        members = {case.name: commissioning_vectors(case, profile) for case in seen}
        serving = load(train_bundle(profile, members, args.seed, fleet=True)[0], profile)
        results |= {case.name: played(case, profile, serving) for case in served}
    told("cross-channel, as shipped", {name: result.alert for name, result in results.items()}, truth)
    for name in ("model", "baseline", "twice the smaller", "mean of logits"):
        one = {run: by_p_alone(together(result.p_values)[name], profile) for run, result in results.items()}
        told(f"by p-values alone: {name}", one, truth)
    return 0


if __name__ == "__main__":
    sys.exit(main())
