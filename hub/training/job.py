"""One training run, from the lake to a published bundle.

    dataset (pinned) -> weights -> int8 -> evaluation, which may refuse -> golden vectors, card -> bundle -> registry

Invariants:
1. Each run has a row from its beginning, and the row says how it ended, also when it failed or was interrupted.
2. The same dataset and seed give the same model, byte for byte, on the same libraries.
3. Nothing reaches the registry that has not passed its evaluation; nothing reaches a device without a rollout.
4. A run's record holds what it takes to do it again: lake version, rules, seed, the digest of the dataset, versions of the
   code. `repeat` does, and says whether the same model came out; it publishes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from sqlalchemy import Engine, insert, update

from hub.audit.log import JsonValue
from hub.audit.log import record as audit
from hub.lake.lake import Lake
from hub.registry.registry import Registry
from hub.state.database import reading
from hub.state.schema import training_runs
from hub.training.card import library_versions, model_card
from hub.training.champion import champion_of
from hub.training.dataset import TRAIN, VALIDATION, Dataset, Rules
from hub.training.evaluate import Evaluation, detector_scores, evaluate, refuse_bad
from hub.training.exporter import export_int8
from hub.training.framework import native_silence
from hub.training.injection import FeatureMap
from hub.training.keras_conv import KerasConv
from hub.training.loading import load_groups
from hub.training.pin import Pin, pinned_dataset, pinned_run, refuse_other
from hub.training.runs import end_dead_runs, mark_of_this_process
from hub.training.trainer import DenseWeights, Floats, Progress, RegimeWeights, Trainer, detector_of
from hub.training.window_job import train_on_windows
from models.bundle.archive import Golden, pack_bundle
from models.bundle.manifest import Manifest
from models.contract.config import load_profile
from models.contract.profile import Profile
from models.detectors.autoencoder import TfliteAutoencoder
from models.detectors.detector import DEFAULT_CLIP
from models.errors import TrainingError
from models.features.drift import FleetDrift
from models.features.spec import FeatureSpec

_N_GOLDEN_NORMAL: Final = 12
_N_GOLDEN_FAULTY: Final = 4  # of each kind
_STRETCH: Final = 3.0
_TOLERANCE: Final = 0.1  # LiteRT and tflite-runtime 2.14 were seen 2.3 % apart; a model that is wrong is off by far more


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run brought. `record`: as in `training_runs`. `bundle_id`: "" where the run repeated another."""

    run_id: str
    bundle_id: str
    record: dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class _Fitted:
    """A model and what it was made from."""

    spec: FeatureSpec
    dataset: Dataset
    weights: DenseWeights
    model: bytes
    sha256: str


class TrainingJob:
    """Trains profiles from one lake into one registry. `clock_ns`: Unix ns."""

    def __init__(
        self,
        engine: Engine,
        lake: Lake,
        registry: Registry,
        trainer: Trainer | KerasConv,
        clock_ns: Callable[[], int],
        profiles_dir: Path | None = None,
    ) -> None:
        self._engine = engine
        self._lake = lake
        self._registry = registry
        self._trainer = trainer
        self._clock_ns = clock_ns
        self._profiles_dir = profiles_dir

    def run(self, profile_name: str, *, seed: int, rules: Rules, progress: Progress, actor: str | None = "hub") -> Outcome:
        """Train, judge and publish. Raises TrainingError: too little data, or the model is refused; ConfigError: profile."""
        profile = load_profile(profile_name, self._profiles_dir)
        record: dict[str, Any] = {"seed": seed}

        def work(run_id: str) -> str:
            if isinstance(self._trainer, KerasConv):
                return self._train_on_windows(self._trainer, profile, run_id, rules, record, progress)
            pin = Pin(self._lake.version("aggregates"), self._clock_ns(), rules, seed)
            fitted = self._fit(profile, pin, record, progress)
            return self._judge_and_publish(profile, run_id, fitted, record, progress)

        return self._recorded(profile, record, actor, work)

    def repeat(self, run_id: str, *, progress: Progress, actor: str | None = "hub") -> Outcome:
        """Do a run again from its record, and compare; nothing is published. `record["repeats"]` says which run.

        Raises TrainingError: no such run, one that never came to its model, a dataset that is not what it was (the lake's
        version is gone, or what an asset learned has changed), other versions of the code, or another model.
        """
        first = pinned_run(self._engine, run_id)
        profile = load_profile(first.profile, self._profiles_dir)
        pin = Pin.of(first.record)
        record: dict[str, Any] = {"seed": pin.seed, "repeats": run_id}

        def work(_: str) -> None:
            fitted = self._fit(profile, pin, record, progress, first.record)
            if fitted.sha256 != first.record["model_sha256"]:
                raise TrainingError(f"{run_id}: another model came out, {fitted.sha256}, not {first.record['model_sha256']}")
            progress(f"the same dataset and the same model, {fitted.sha256}")

        return self._recorded(profile, record, actor, work)

    def _recorded(
        self, profile: Profile, record: dict[str, Any], actor: str | None, work: Callable[[str], str | None]
    ) -> Outcome:
        """Do `work(run_id)` between a run's beginning and its end, which the audit log is told unless `actor` is None.

        It gives the bundle's id, and fills `record` as it goes, so that a failed run tells how far it came.
        """
        end_dead_runs(self._engine, self._clock_ns())
        run_id = f"{profile.name}-{self._clock_ns():x}"
        record.update(mark_of_this_process())
        started_ns = self._clock_ns()
        row = {"run_id": run_id, "profile": profile.name, "state": "running", "started_ns": started_ns, "record": record}
        with self._engine.begin() as connection:
            connection.execute(insert(training_runs).values(row))
            if actor is not None:
                details: dict[str, JsonValue] = {name: record[name] for name in ("seed", "repeats") if name in record}
                audit(connection, at_ns=started_ns, actor=actor, action="training.start", subject=run_id, details=details)
        try:
            bundle_id = work(run_id)
        except BaseException as error:  # also Ctrl-C: a run that ended must not look as if it were running
            told_to_end = isinstance(error, KeyboardInterrupt | SystemExit)
            self._end(run_id, "failed", record, error="interrupted" if told_to_end else str(error) or type(error).__name__)
            raise
        self._end(run_id, "done", record, bundle_id=bundle_id)
        return Outcome(run_id, bundle_id or "", record)

    def _fit(
        self, profile: Profile, pin: Pin, record: dict[str, Any], progress: Progress, same_as: dict[str, Any] | None = None
    ) -> _Fitted:
        """Dataset, weights, int8. `same_as`: the record of a run whose dataset and code these must be."""
        spec = FeatureSpec(profile)
        dataset = pinned_dataset(self._engine, self._lake, profile, pin)
        record["dataset"] = dataset.record
        record["trainer"] = self._trainer.describe()
        record["versions"] = library_versions()
        if same_as is not None:
            refuse_other(record, same_as)
        progress(_told(dataset))
        assert not isinstance(self._trainer, KerasConv)  # it takes windows, not features
        train, validation = dataset.z[dataset.part(TRAIN)], dataset.z[dataset.part(VALIDATION)]
        weights = self._trainer.fit(train, validation, pin.seed, progress)
        model = export_int8(weights, representative(train))
        progress(f"int8 model of {len(model)} bytes")
        record["model_sha256"] = hashlib.sha256(model).hexdigest()
        return _Fitted(spec, dataset, weights, model, record["model_sha256"])

    def _judge_and_publish(
        self, profile: Profile, run_id: str, fitted: _Fitted, record: dict[str, Any], progress: Progress
    ) -> str:
        dataset = fitted.dataset
        with reading(self._engine).begin() as connection:
            groups = load_groups(connection, profile.name, profile.spec_hash, dataset.record["end_ns"])
        with native_silence():
            detector = detector_of(fitted.model, fitted.weights)
        champion = champion_of(self._engine, self._registry, profile)
        judged = evaluate(dataset, fitted.weights, detector, FeatureMap(fitted.spec.names), groups, record["seed"], champion)
        record["evaluation"] = judged.record
        progress(_graded(judged))
        refuse_bad(judged.record)
        golden = golden_vectors(judged, detector)
        changes = {"regime_centres": fitted.weights.centres} if isinstance(fitted.weights, RegimeWeights) else {}
        return self._publish(profile, fitted.spec, run_id, fitted.model, golden, record, dataset.fleet_drift, changes)

    def _train_on_windows(
        self, trainer: KerasConv, profile: Profile, run_id: str, rules: Rules, record: dict[str, Any], progress: Progress
    ) -> str:
        with reading(self._engine).begin() as connection:
            made = train_on_windows(
                trainer, profile, self._lake, connection, seed=record["seed"], rules=rules, record=record, progress=progress
            )
        record["model_sha256"] = hashlib.sha256(made.model).hexdigest()
        return self._publish(profile, FeatureSpec(profile), run_id, made.model, made.golden, record, None, made.manifest)

    def _publish(
        self,
        profile: Profile,
        spec: FeatureSpec,
        run_id: str,
        model: bytes,
        golden: Golden,
        record: dict[str, Any],
        drift: FleetDrift | None,
        changes: Mapping[str, Any] = {},
    ) -> str:
        """`changes`: to the manifest, where the model takes something else than features."""
        version = self._registry.next_version(profile.name)
        now_ns = self._clock_ns()
        digest = hashlib.sha256(model).hexdigest()
        lineage = {"run_id": run_id, "seed": record["seed"], "versions": record["versions"]}
        lineage |= {
            name: record["dataset"][name] for name in ("lake_version", "sha256", "spec_hash") if name in record["dataset"]
        }
        card = model_card(
            profile,
            architecture=self._trainer.architecture,
            dataset=record["dataset"],
            evaluation={name: found for name, found in record["evaluation"].items() if name != "curves"},
            trainer=record["trainer"],
            lineage=lineage,
            model_bytes=len(model),
            n_features=changes.get("n_features", spec.n_features),
        )
        manifest = Manifest(
            bundle_id=f"{profile.name}-v{version}-{digest[:8]}",
            profile=profile.name,
            version=version,
            created_ns=now_ns,
            spec_hash=profile.spec_hash,
            n_features=spec.n_features,
            architecture=self._trainer.architecture,
            fleet_drift=drift,
            clip=DEFAULT_CLIP,
            score_tolerance=_TOLERANCE,
            model_sha256=digest,
            golden_sha256=hashlib.sha256(golden.encode()).hexdigest(),
            description=f"trained on {record['dataset']['usable']} windows of {len(record['dataset']['devices'])} devices",
        )
        manifest = msgspec.structs.replace(manifest, **changes)
        return self._registry.publish(pack_bundle(manifest, model, golden, card), run_id, now_ns=now_ns)

    def _end(
        self, run_id: str, state: str, record: dict[str, Any], error: str | None = None, bundle_id: str | None = None
    ) -> None:
        values = {"state": state, "ended_ns": self._clock_ns(), "record": record, "error": error, "bundle_id": bundle_id}
        with self._engine.begin() as connection:
            connection.execute(update(training_runs).where(training_runs.c.run_id == run_id).values(values))


def representative(train: Floats) -> Floats:
    """What quantization ranges are taken from: the training windows, and a quarter of them stretched threefold, so that
    faults too are told apart before int8 saturates."""
    return np.concatenate([train, train[::4] * np.float32(_STRETCH)])


def golden_vectors(judged: Evaluation, detector: TfliteAutoencoder) -> Golden:
    """Normal windows from the most ordinary to the oddest, some of each fault, and one with features missing."""
    by_score = np.argsort(detector_scores(detector, judged.normal), kind="stable")
    chosen = judged.normal[by_score[np.linspace(0, len(by_score) - 1, _N_GOLDEN_NORMAL).astype(int)]]
    gap = chosen[-1:].copy()
    gap[0, : max(1, gap.shape[1] // 8)] = np.nan
    faulty = [z[:_N_GOLDEN_FAULTY] for z in judged.injected.values()]
    inputs = np.concatenate([chosen, *faulty, gap]).astype(np.float32)
    return Golden(inputs, detector_scores(detector, inputs))


def _told(dataset: Dataset) -> str:
    record = dataset.record
    splits = ", ".join(f"{name} {count}" for name, count in record["splits"].items())
    return f"{record['usable']} usable windows of {len(record['devices'])} devices: {splits}"


def _graded(judged: Evaluation) -> str:
    record = judged.record
    aucs = record["auc"]
    return (
        f"AUC on injected faults {aucs['int8']['all']:.3f} (float {aucs['float']['all']:.3f}, "
        f"baseline {aucs['baseline']['all']:.3f}), {record['latency_us_median']:.0f} µs a window"
    )
