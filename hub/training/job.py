"""One training run, from the lake to a published bundle.

    dataset (pinned) -> weights -> int8 -> evaluation, which may refuse -> golden vectors, card -> bundle -> registry

Invariants:
1. Each run has a row from its beginning, and the row says how it ended, also when it failed or was interrupted.
2. The same dataset and seed give the same model, byte for byte, on the same libraries.
3. Nothing reaches the registry that has not passed its evaluation; nothing reaches a device without a rollout.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from sqlalchemy import Engine, insert, update

from hub.lake.lake import Lake
from hub.registry.registry import Registry
from hub.state.database import reading
from hub.state.schema import training_runs
from hub.training.card import library_versions, model_card
from hub.training.dataset import TRAIN, VALIDATION, Dataset, Rules, build_dataset
from hub.training.evaluate import Evaluation, detector_scores, evaluate, refuse_bad
from hub.training.exporter import export_int8
from hub.training.framework import native_silence
from hub.training.injection import FeatureMap
from hub.training.loading import load_normals, load_sites, load_windows
from hub.training.runs import end_dead_runs, mark_of_this_process
from hub.training.trainer import DenseWeights, Floats, Progress, RegimeWeights, Trainer, detector_of
from models.bundle.archive import Golden, pack_bundle
from models.bundle.manifest import Manifest
from models.contract.config import load_profile
from models.contract.profile import Profile
from models.detectors.autoencoder import TfliteAutoencoder
from models.detectors.detector import DEFAULT_CLIP
from models.features.drift import FleetDrift, pace_of
from models.features.spec import FeatureSpec

_N_GOLDEN_NORMAL: Final = 12
_N_GOLDEN_FAULTY: Final = 4  # of each kind
_STRETCH: Final = 3.0
_TOLERANCE: Final = 0.1  # LiteRT and tflite-runtime 2.14 were seen 2.3 % apart; a model that is wrong is off by far more


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run brought. `record`: as in `training_runs`."""

    run_id: str
    bundle_id: str
    record: dict[str, Any]


class TrainingJob:
    """Trains profiles from one lake into one registry. `clock_ns`: Unix ns."""

    def __init__(
        self,
        engine: Engine,
        lake: Lake,
        registry: Registry,
        trainer: Trainer,
        clock_ns: Callable[[], int],
        profiles_dir: Path | None = None,
    ) -> None:
        self._engine = engine
        self._lake = lake
        self._registry = registry
        self._trainer = trainer
        self._clock_ns = clock_ns
        self._profiles_dir = profiles_dir

    def run(self, profile_name: str, *, seed: int, rules: Rules, progress: Progress) -> Outcome:
        """Train, judge and publish. Raises TrainingError: too little data, or the model is refused; ConfigError: profile."""
        profile = load_profile(profile_name, self._profiles_dir)
        end_dead_runs(self._engine, self._clock_ns())
        run_id = f"{profile.name}-{self._clock_ns():x}"
        record: dict[str, Any] = {"seed": seed, **mark_of_this_process()}
        row = {"run_id": run_id, "profile": profile.name, "state": "running", "started_ns": self._clock_ns(), "record": record}
        with self._engine.begin() as connection:
            connection.execute(insert(training_runs).values(row))
        try:
            bundle_id = self._train(profile, run_id, seed, rules, record, progress)
        except BaseException as error:  # also Ctrl-C: a run that ended must not look as if it were running
            told_to_end = isinstance(error, KeyboardInterrupt | SystemExit)
            self._end(run_id, "failed", record, error="interrupted" if told_to_end else str(error) or type(error).__name__)
            raise
        self._end(run_id, "done", record, bundle_id=bundle_id)
        return Outcome(run_id, bundle_id, record)

    def _train(self, profile: Profile, run_id: str, seed: int, rules: Rules, record: dict[str, Any], progress: Progress) -> str:
        """The run itself; fills `record` as it goes, so that a failed run tells how far it came."""
        spec = FeatureSpec(profile)
        dataset, sites = self._dataset(profile, spec, rules, seed)
        record["dataset"] = dataset.record
        progress(_told(dataset))
        train, validation = dataset.z[dataset.part(TRAIN)], dataset.z[dataset.part(VALIDATION)]
        record["trainer"] = self._trainer.describe()
        record["versions"] = library_versions()
        weights = self._trainer.fit(train, validation, seed, progress)
        model = export_int8(weights, representative(train))
        progress(f"int8 model of {len(model)} bytes")
        with native_silence():
            detector = detector_of(model, weights)
        judged = evaluate(dataset, weights, detector, FeatureMap(spec.names), sites, seed)
        record["evaluation"] = judged.record
        progress(_graded(judged))
        refuse_bad(judged.record)
        golden = golden_vectors(judged, detector)
        return self._publish(profile, spec, run_id, model, golden, record, dataset.fleet_drift, weights)

    def _dataset(self, profile: Profile, spec: FeatureSpec, rules: Rules, seed: int) -> tuple[Dataset, dict[str, str]]:
        version = self._lake.version("aggregates")
        windows = load_windows(self._lake, profile.name, profile.spec_hash, spec.n_features, version)
        with reading(self._engine).begin() as connection:
            normals = load_normals(connection, profile.spec_hash, spec.n_features)
            sites = load_sites(connection)
        dataset = build_dataset(profile.name, windows, normals, rules, seed, pace_of(profile))
        dataset.record.update(lake_version=version, spec_hash=profile.spec_hash)
        return dataset, sites

    def _publish(
        self,
        profile: Profile,
        spec: FeatureSpec,
        run_id: str,
        model: bytes,
        golden: Golden,
        record: dict[str, Any],
        drift: FleetDrift | None,
        weights: DenseWeights,
    ) -> str:
        version = self._registry.next_version(profile.name)
        now_ns = self._clock_ns()
        digest = hashlib.sha256(model).hexdigest()
        lineage = {"run_id": run_id, "seed": record["seed"], "versions": record["versions"]}
        lineage |= {name: record["dataset"][name] for name in ("lake_version", "sha256", "spec_hash")}
        card = model_card(
            profile,
            architecture=self._trainer.architecture,
            dataset=record["dataset"],
            evaluation=record["evaluation"],
            trainer=record["trainer"],
            lineage=lineage,
            model_bytes=len(model),
            n_features=spec.n_features,
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
            regime_centres=weights.centres if isinstance(weights, RegimeWeights) else [],
            clip=DEFAULT_CLIP,
            score_tolerance=_TOLERANCE,
            model_sha256=digest,
            golden_sha256=hashlib.sha256(golden.encode()).hexdigest(),
            description=f"trained on {record['dataset']['usable']} windows of {len(record['dataset']['devices'])} devices",
        )
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
