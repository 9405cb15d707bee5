"""What pins a dataset, so that it can be built again: lake version, rules, seed, and the time up to which feedback counts.

Filters and splits follow from these and the profile's spec alone. The digest in the record covers the result: identities,
features as computed, features in the assets' own units, and who is in which split. What an asset learned when it was
commissioned is not versioned; if that has changed since, the digest says so.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import Engine, Row, select

from hub.lake.lake import Lake
from hub.state.database import reading
from hub.state.schema import training_runs
from hub.training.dataset import Dataset, Rules, build_dataset
from hub.training.feedback import labelled_spans
from hub.training.loading import choose_blocks, load_normals, load_windows
from models.contract.profile import Profile
from models.errors import StorageError, TrainingError
from models.features.drift import pace_of
from models.features.spec import FeatureSpec


@dataclass(frozen=True, slots=True)
class Pin:
    """`lake_version`: of the table `aggregates`. `labels_until_ns`: feedback given later does not count."""

    lake_version: int
    labels_until_ns: int
    rules: Rules
    seed: int

    @classmethod
    def of(cls, record: dict[str, Any]) -> Pin:
        """From a run's record, which has come to its dataset."""
        data = record["dataset"]
        return cls(data["lake_version"], data["labels_until_ns"], msgspec.convert(data["rules"], Rules), data["seed"])


def pinned_dataset(engine: Engine, lake: Lake, profile: Profile, pin: Pin) -> Dataset:
    """Raises TrainingError: too little in it, or this version of the lake is gone, which vacuuming does to old ones."""
    n_features = FeatureSpec(profile).n_features
    with reading(engine).begin() as connection:
        normals = load_normals(connection, profile.spec_hash, n_features)
        spans = labelled_spans(connection, profile.name, pin.labels_until_ns)
    blocks = None
    try:
        if pace_of(profile) is None:  # where normal follows drift, every window since the commissioning moves it
            blocks = choose_blocks(lake, profile.name, profile.spec_hash, pin.lake_version, pin.rules.max_windows)
        windows = load_windows(lake, profile.name, profile.spec_hash, n_features, pin.lake_version, spans, blocks)
    except (StorageError, OSError) as error:
        raise TrainingError(
            f"version {pin.lake_version} of the lake's aggregates cannot be read, perhaps because it was vacuumed: {error}"
        ) from error
    if not len(windows):
        _refuse_another_spec(lake, profile, pin.lake_version)
    dataset = build_dataset(profile.name, windows, normals, pin.rules, pin.seed, pace_of(profile))
    pinned = {"lake_version": pin.lake_version, "labels_until_ns": pin.labels_until_ns, "spec_hash": profile.spec_hash}
    dataset.record.update(pinned | ({"in_lake": blocks.record} if blocks is not None else {}))
    return dataset


def _refuse_another_spec(lake: Lake, profile: Profile, lake_version: int) -> None:
    """Raises TrainingError where devices do send windows of a profile of this name, by another feature spec than the hub's."""
    told = lake.aggregates(profile.name, columns=["spec_hash"], version=lake_version).column("spec_hash")
    others = Counter(spec for spec in told.to_pylist() if spec != profile.spec_hash)
    if others:
        [(spec, count)] = others.most_common(1)
        raise TrainingError(
            f"{profile.name}: no windows of the hub's own feature spec, {profile.spec_hash}; {count} are of {spec}: "
            f"{profile.name}.toml of those devices belongs into the hub's profiles_dir, too"
        )


def pinned_run(engine: Engine, run_id: str) -> Row[Any]:
    """The run's row. Raises TrainingError: no such run, or it never came to a model."""
    with reading(engine).begin() as connection:
        row = connection.execute(select(training_runs).where(training_runs.c.run_id == run_id)).first()
    if row is None:
        raise TrainingError(f"no training run {run_id!r}")
    if "model_sha256" not in row.record or "labels_until_ns" not in row.record["dataset"]:
        raise TrainingError(f"{run_id} has no model and pinned dataset in its record: nothing to repeat")
    return row


def refuse_other(record: dict[str, Any], first: dict[str, Any]) -> None:
    """Raises TrainingError where dataset, trainer or code are not those of the run that is to be repeated."""
    if record["dataset"]["sha256"] != first["dataset"]["sha256"]:
        raise TrainingError(
            f"the dataset is another: SHA-256 {record['dataset']['sha256']}, then {first['dataset']['sha256']}; an asset was "
            f"commissioned anew, or its device's data erased"
        )
    for name in ("trainer", "versions"):
        if record[name] != first[name]:
            changed = sorted(key for key in {*record[name], *first[name]} if record[name].get(key) != first[name].get(key))
            then, now = ({key: found[name].get(key) for key in changed} for found in (first, record))
            raise TrainingError(f"{name}: now {now}, then {then}; the same are needed")
