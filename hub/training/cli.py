"""`tocsin hub train`: one training run, in a process of its own."""

from __future__ import annotations

import json
import signal
import sys
import time
from pathlib import Path
from typing import Final, Literal, get_args

import click

from hub.audit.log import cli_actor
from hub.lake.lake import open_lake
from hub.registry.registry import Registry
from hub.settings import load_hub
from hub.state.database import open_state
from hub.terminal import data_option, json_option
from hub.training.dataset import Rules
from hub.training.job import TrainingJob
from hub.training.keras_conv import KerasConv
from hub.training.keras_dense import KerasDense
from hub.training.linear import CrossChannel, Whitening
from hub.training.pin import pinned_run
from hub.training.principal import PrincipalComponents
from hub.training.regimes import Regimes
from hub.training.trainer import Trainer
from models.contract.config import load_profile
from models.contract.profile import Profile
from models.features.spec import FeatureSpec

Choice = Literal["dense-autoencoder", "cross-channel", "whitening", "pca", "regimes", "conv-autoencoder"]
_MODELS: Final[dict[str, Choice]] = {  # by the name in a run's record
    "keras-dense": "dense-autoencoder",
    "cross-channel-ridge": "cross-channel",
    "whitening": "whitening",
    "sklearn-pca": "pca",
    "regimes": "regimes",
}


@click.command()
@data_option
@click.option("--profile", help="Which profile's windows to learn from.")
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
    type=click.Choice(get_args(Choice)),
    default="dense-autoencoder",
    show_default=True,
    help="What kind of model to fit.",
)
@click.option("--repeat", metavar="RUN_ID", help="Do that run again from its record, and compare. Publishes nothing.")
@click.option("--for-the-hub", is_flag=True, hidden=True, help="The hub has noted who asked for this run.")
@json_option
def train(
    data: Path,
    profile: str | None,
    seed: int,
    min_windows: int,
    model: Choice,
    repeat: str | None,
    for_the_hub: bool,
    as_json: bool,
) -> None:
    """Train a model from the lake, evaluate it, and publish it as a bundle. Roll it out with `tocsin hub rollout start`."""
    if (profile is None) == (repeat is None):
        raise click.UsageError("say --profile, or --repeat with the id of a run")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that a run that is told to end says so in its row
    hub = load_hub(data)
    engine = open_state(hub.state_url)
    actor = None if for_the_hub else cli_actor()
    registry = Registry(engine, hub.paths.bundles, hub.repository())
    try:
        if repeat is not None:
            row = pinned_run(engine, repeat)
            profile, model = row.profile, _MODELS[row.record["trainer"]["trainer"]]
        assert profile is not None
        trainer = trainer_of(model, load_profile(profile, hub.profiles_dir))
        job = TrainingJob(engine, open_lake(hub.lake_url), registry, trainer, time.time_ns, hub.profiles_dir)
        if repeat is not None:
            outcome = job.repeat(repeat, progress=_to_stderr, actor=actor)
        else:
            rules = Rules(min_windows=min_windows)
            outcome = job.run(profile, seed=seed, rules=rules, progress=_to_stderr, actor=actor)
    finally:
        engine.dispose()
    found = {"run_id": outcome.run_id, "bundle_id": outcome.bundle_id, "evaluation": outcome.record.get("evaluation")}
    found |= {"model_sha256": outcome.record["model_sha256"]}
    click.echo(json.dumps(found) if as_json else outcome.bundle_id or outcome.record["model_sha256"])


def _to_stderr(line: str) -> None:
    click.echo(line, err=True)


def trainer_of(model: Choice, profile: Profile) -> Trainer | KerasConv:
    """What fits that kind of model for windows of `profile`."""
    if model == "conv-autoencoder":
        return KerasConv()
    if model == "cross-channel":
        return CrossChannel(FeatureSpec(profile).related)
    if model == "pca":
        return PrincipalComponents()
    if model == "regimes":
        return Regimes()
    return Whitening() if model == "whitening" else KerasDense()
