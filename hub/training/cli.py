"""`tocsin hub train`: one training run, in a process of its own."""

from __future__ import annotations

import json
import signal
import sys
import time
from pathlib import Path

import click

from hub.lake.lake import open_lake
from hub.registry.registry import Registry
from hub.settings import load_hub
from hub.state.database import open_state
from hub.terminal import data_option, json_option
from hub.training.dataset import Rules
from hub.training.job import TrainingJob
from hub.training.keras_dense import KerasDense
from hub.training.linear import CrossChannel, Whitening
from hub.training.regimes import Regimes
from hub.training.trainer import Trainer
from models.bundle.manifest import Architecture
from models.contract.config import load_profile
from models.contract.profile import Profile
from models.features.spec import FeatureSpec


@click.command()
@data_option
@click.option("--profile", required=True, help="Which profile's windows to learn from.")
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed and lake give the same model.")
@click.option(
    "--min-windows",
    type=click.IntRange(min=50),
    default=Rules().min_windows,
    show_default=True,
    help="Usable windows without which nothing is trained.",
)
@click.option(
    "--model",
    type=click.Choice(["dense-autoencoder", "cross-channel", "whitening", "regimes"]),
    default="dense-autoencoder",
    show_default=True,
    help="What kind of model to fit.",
)
@json_option
def train(data: Path, profile: str, seed: int, min_windows: int, model: Architecture, as_json: bool) -> None:
    """Train a model from the lake, evaluate it, and publish it as a bundle. Roll it out with `tocsin hub rollout start`."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that a run that is told to end says so in its row
    hub = load_hub(data)
    engine = open_state(hub.state_url)
    registry = Registry(engine, hub.paths.bundles, hub.key)
    trainer = trainer_of(model, load_profile(profile, hub.profiles_dir))
    job = TrainingJob(engine, open_lake(hub.lake_url), registry, trainer, time.time_ns, hub.profiles_dir)
    try:
        outcome = job.run(
            profile, seed=seed, rules=Rules(min_windows=min_windows), progress=lambda line: click.echo(line, err=True)
        )
    finally:
        engine.dispose()
    found = {"run_id": outcome.run_id, "bundle_id": outcome.bundle_id, "evaluation": outcome.record["evaluation"]}
    click.echo(json.dumps(found) if as_json else outcome.bundle_id)


def trainer_of(model: Architecture, profile: Profile) -> Trainer:
    """What fits that kind of model for windows of `profile`."""
    if model == "cross-channel":
        return CrossChannel(FeatureSpec(profile).related)
    if model == "regimes":
        return Regimes()
    return Whitening() if model == "whitening" else KerasDense()
