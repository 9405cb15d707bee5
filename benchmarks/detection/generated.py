"""Do faulty windows from a generative model help? Measured on SKAB's runs: a head trained with them, and models judged by them.

    python -m benchmarks.detection.generated --data DIR [--out DIR]

Windows of ten rows, four features a channel, in units of the run's own first 400 rows. For each seed eleven runs, drawn anew,
are the fleet, twelve the test. Of the fleet's runs are known: the windows of their first 400 rows, as normal, and of three of
them a few windows that their labels call faulty, drawn anew. Of the test's runs: their first 400 rows, without labels, to set
the threshold by, where 99 % of their windows are below it. No label of a test run is read but for the figures.

Faulty windows to train with are made in these ways, 500 each: the few alone, over and over; the few with noise of 0.3 of the
asset's own sigma; plain faults injected into normal windows (`hub.training.injection`); drawn from `FaultGenerator`, learned
from the few; half of the latter and half injected. Three heads learn to tell them from normal ones: logistic regression, the
same with whitening's score as one more feature, and one hidden layer. Beside them stands whitening alone
(`hub.training.linear`), which sees no faulty window.

The second question: whether they tell beforehand how models will do. Six models learn from two thirds of the fleet's normal
windows; for each way, the area under the curve between the last third and its faulty windows is an estimate of what the model
reaches on the test's runs. `off`: mean distance of estimate and truth; `order`: Spearman's correlation over the models.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.detection.baselines import all_baselines
from benchmarks.detection.figures import f1, percent, spread
from benchmarks.detection.report import Report, Table, run_one
from benchmarks.detection.skab import COMMISSIONING_ROWS, cases
from benchmarks.detection.skab_spread import labels
from hub.training.evaluate import auc
from hub.training.generated.generator import FaultGenerator
from hub.training.injection import FAULTS, FeatureMap, inject
from hub.training.linear import Whitening
from hub.training.regimes import Regimes
from hub.training.trainer import DenseWeights, as_input, float_scores
from models.contract.profile import Channel, Features, Profile, Windowing
from models.detectors.robust import RobustDetector
from models.features.normal import LocalNormal
from models.features.spec import FeatureSpec

SEEDS: Final = (1, 2, 3, 4, 5)
FEW: Final = (6, 30)
_WINDOW: Final = 10
_N_FLEET: Final = 11
_N_KNOWN: Final = 3
_N_MADE: Final = 500
_JITTER: Final = 0.3
_QUANTILE: Final = 0.99
Floats = NDArray[np.float32]
Scorer = Callable[[Floats], NDArray[np.float64]]
Inputs = Callable[[Floats], NDArray[np.float64]]


class Run(NamedTuple):
    """Windows in units of their own normal. `first`: of the first 400 rows. `rest`: later ones; `faulty`: which of those are,
    by more than half of their rows."""

    first: Floats
    rest: Floats
    faulty: NDArray[np.bool_]


class Split(NamedTuple):
    """`normal`: of the fleet. `few`: faulty ones of it, with `kinds`. `test`: runs that were not seen."""

    normal: Floats
    few: Floats
    kinds: NDArray[np.int64]
    test: list[Run]


def profile_of(columns: Iterable[str]) -> Profile:
    return Profile(
        name="skab",
        channels=tuple(Channel(name=f"c{i}") for i, _ in enumerate(columns)),
        windowing=Windowing(rate_hz=1.0, window_s=float(_WINDOW)),
        features=Features(per_channel=("mean", "std", "slope", "roughness")),
    )


def read(data: Path) -> tuple[list[Run], FeatureMap]:
    """All runs, and whose features are whose."""
    found = []
    for case in cases(data, None):
        spec = FeatureSpec(profile_of(case.table.columns))
        vectors = [_vectors(spec, rows) for rows in np.split(case.table.values, [COMMISSIONING_ROWS])]
        normal = LocalNormal.fit(vectors[0])
        first, rest = (as_input(normal.apply(each)) for each in vectors)
        told = labels(data, case, "anomaly")[: len(rest) * _WINDOW].reshape(-1, _WINDOW)
        found.append(Run(first, rest, told.mean(axis=1) > 0.5))
    return found, FeatureMap(spec.names)


def _vectors(spec: FeatureSpec, rows: NDArray[np.float64]) -> Floats:
    whole = rows[: len(rows) // _WINDOW * _WINDOW].reshape(-1, _WINDOW, rows.shape[1])
    return np.array([spec.compute(window) for window in whole], dtype=np.float32)


def split(runs: list[Run], n_few: int, seed: int) -> Split:
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(runs))
    fleet = [runs[i] for i in order[:_N_FLEET]]
    few = [rng.permutation(run.rest[run.faulty])[: n_few // _N_KNOWN] for run in fleet[:_N_KNOWN]]
    kinds = np.repeat(np.arange(_N_KNOWN), [len(each) for each in few])
    test = [runs[i] for i in order[_N_FLEET:]]
    return Split(np.concatenate([run.first for run in fleet]), np.concatenate(few), kinds, test)


def made(known: Split, features: FeatureMap, seed: int) -> dict[str, Floats]:
    """Faulty windows by how they were made."""
    rng = np.random.default_rng(seed)
    again = known.few[np.arange(_N_MADE) % len(known.few)]
    onto = known.normal[rng.integers(0, len(known.normal), _N_MADE)]
    parts = np.array_split(onto, len(FAULTS))
    generator = FaultGenerator().fit(known.normal, known.few, known.kinds, seed)
    injected = np.concatenate([as_input(inject(z, kind, features, rng)) for z, kind in zip(parts, FAULTS, strict=True)])
    drawn, _ = generator.draw(_N_MADE, rng)
    return {
        "the few alone": again,
        "the few, jittered": as_input(again + _JITTER * rng.standard_normal(again.shape)),
        "injected": injected,
        "generated": drawn,
        "generated and injected": np.concatenate([drawn[::2], injected[::2]]),
    }


def heads(whitening: Scorer, seed: int) -> dict[str, tuple[Any, Inputs]]:
    """Each with what it is given of a window."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier

    def with_score(z: Floats) -> NDArray[np.float64]:
        return np.column_stack([z, np.log(whitening(z) + 1e-3)])

    return {
        "logistic": (LogisticRegression(C=0.1, class_weight="balanced", max_iter=2000), _alone),
        "logistic, whitening's score": (LogisticRegression(C=0.1, class_weight="balanced", max_iter=2000), with_score),
        "hidden layer": (MLPClassifier((32,), alpha=1e-2, max_iter=300, early_stopping=True, random_state=seed), _alone),
    }


def _alone(z: Floats) -> NDArray[np.float64]:
    return z.astype(np.float64)


def models(normal: Floats, seed: int) -> dict[str, Scorer]:
    """What sees no faulty window, by name."""
    held = normal[:0]
    robust = RobustDetector()
    found: dict[str, Scorer] = {
        "whitening": _by_weights(Whitening().fit(normal, held, seed, lambda _line: None)),
        "regimes": _by_weights(Regimes().fit(normal, normal, seed, lambda _line: None)),
        "no model": lambda z: np.array([robust.score(row).score for row in z]),
    }
    return found | {name: _on_doubles(scorer) for name, scorer in all_baselines(normal.astype(np.float64), seed).items()}


def _on_doubles(score: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> Scorer:
    return lambda z: score(z.astype(np.float64))


def _by_head(head: Any, given: Inputs) -> Scorer:
    return lambda z: np.asarray(head.predict_proba(given(z))[:, 1])


def _by_weights(weights: DenseWeights) -> Scorer:
    return lambda z: float_scores(weights, z)


def rated(score: Scorer, test: list[Run]) -> dict[str, float]:
    """Over all windows of the test's runs together."""
    truth = np.concatenate([run.faulty for run in test])
    scores = score(np.concatenate([run.rest for run in test]))
    called = scores > np.quantile(score(np.concatenate([run.first for run in test])), _QUANTILE)
    return {"AUC": auc(scores[~truth], scores[truth]), "F1": f1(called, truth), "FAR %": percent(called[~truth])}


def trained(known: Split, faulty: Mapping[str, Floats], seed: int) -> dict[tuple[str, str], dict[str, float]]:
    """By head and by how its faulty windows were made."""
    whitening = models(known.normal, seed)["whitening"]
    found = {("whitening", "none"): rated(whitening, known.test)}
    for how, windows in faulty.items():
        z, told = np.concatenate([known.normal, windows]), np.repeat([0, 1], [len(known.normal), len(windows)])
        for name, (head, given) in heads(whitening, seed).items():
            head.fit(given(z), told)
            found[name, how] = rated(_by_head(head, given), known.test)
    return found


def foretold(known: Split, faulty: Mapping[str, Floats], seed: int) -> dict[str, dict[str, float]]:
    """By how faulty windows were made: how far off, and in what order."""
    order = np.random.default_rng(seed).permutation(len(known.normal))
    cut = len(order) * 2 // 3
    scorers = models(known.normal[order[:cut]], seed)
    held = known.normal[order[cut:]]
    reached = np.array([rated(score, known.test)["AUC"] for score in scorers.values()])
    told = {how: np.array([auc(score(held), score(z)) for score in scorers.values()]) for how, z in faulty.items()}
    return {
        how: {"off": float(np.abs(each - reached).mean()), "order": float(np.corrcoef(_ranks(each), _ranks(reached))[0, 1])}
        for how, each in told.items()
    }


def _ranks(values: NDArray[np.float64]) -> NDArray[np.intp]:
    return np.argsort(np.argsort(values))


def _spreads(of_seeds: list[dict[str, float]]) -> list[str]:
    return [spread([each[name] for each in of_seeds], 1 if "%" in name else 3) for name in of_seeds[0]]


def measure(data: Path, seeds: Iterable[int] = SEEDS, few: Iterable[int] = FEW) -> Report:
    """See the module's text."""
    runs, features = read(data)
    rows, estimates, figures = [], [], {}
    for n_few in few:
        rates: dict[tuple[str, str], list[dict[str, float]]] = {}
        judged: dict[str, list[dict[str, float]]] = {}
        for seed in seeds:
            known = split(runs, n_few, seed)
            faulty = made(known, features, seed)
            for key, rate in trained(known, faulty, seed).items():
                rates.setdefault(key, []).append(rate)
            for how, each in foretold(known, faulty, seed).items():
                judged.setdefault(how, []).append(each)
        for (head, how), of_seeds in rates.items():
            figures[f"{n_few} {head} {how}"] = of_seeds
            rows.append([str(n_few), head, how, *_spreads(of_seeds)])
        for how, of_seeds in judged.items():
            figures[f"{n_few} estimates {how}"] = of_seeds
            estimates.append([str(n_few), how, *_spreads(of_seeds)])
    tables = [
        Table("generated", "Trained with faulty windows", ["few", "head", "faulty windows", "AUC", "F1", "FAR %"], rows),
        Table("generated_estimates", "Judged by faulty windows", ["few", "faulty windows", "off", "order"], estimates),
    ]
    return Report(tables, (), figures)


if __name__ == "__main__":
    sys.exit(run_one("generated", __doc__, "valve1", measure))
