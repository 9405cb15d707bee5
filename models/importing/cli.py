"""`tocsin models …`: make a bundle of a TFLite model that comes from elsewhere. It needs the device's packages only."""

from __future__ import annotations

import time
from pathlib import Path

import click
import numpy as np

from models.bundle.manifest import Input, Output, Scaling
from models.contract.config import load_profile
from models.contract.names import MAX_BUNDLE_BYTES
from models.errors import BundleIncompatible
from models.files import write_durably
from models.importing.convert import Plan, import_model

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.group()
def models() -> None:
    """Models that come from elsewhere."""


@models.command("import")
@click.argument("model", type=_FILE)
@click.option("--profile", required=True, help="Whose windows it is to score.")
@click.option("--profiles-dir", type=click.Path(path_type=Path, exists=True, file_okay=False), help="Where own ones are.")
@click.option("--input", "takes", type=click.Choice(["features", "window"]), default="features", show_default=True,
              help="What it takes: the profile's features, or the window itself, sample by sample, oldest first.")  # fmt: skip
@click.option("--output", "gives", type=click.Choice(["reconstruction", "score"]), default="reconstruction", show_default=True,
              help="What it gives: its input rebuilt, or a score, high = anomalous.")  # fmt: skip
@click.option("--scaling", type=click.Choice(["local", "none"]), default="local", show_default=True,
              help="In units of the asset's own spread, or as measured.")  # fmt: skip
@click.option("--centered", is_flag=True, help="It takes windows less their own mean, channel by channel.")
@click.option("--share", type=click.FloatRange(0, 1, min_open=True),
              help="The score is the mean over this share of features, or channels. [1/8; with --scaling none: 1]")  # fmt: skip
@click.option("--samples", type=_FILE, help="Normal inputs as the model takes them, (n, inputs), .npy: for golden vectors.")
@click.option("--float", "float_file", type=_FILE, help="The float model that it was made from: refuse it if int8 costs much.")
@click.option("--version", type=click.IntRange(min=1), default=1, show_default=True, help="A version never changes: count up.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="[default: BUNDLE_ID.zip here]")
def import_command(
    model: Path,
    profile: str,
    profiles_dir: Path | None,
    takes: Input,
    gives: Output,
    scaling: Scaling,
    centered: bool,
    share: float | None,
    samples: Path | None,
    float_file: Path | None,
    version: int,
    out: Path | None,
) -> None:
    """Check MODEL, an int8 or uint8 .tflite file, and write it as a bundle; `tocsin hub bundles publish` takes that.

    A model that devices could not run is refused, and nothing is written.
    """
    if centered and takes == "features":
        raise click.UsageError("--centered goes with --input window")
    plan = Plan(takes, gives, scaling, centered, share, version)
    archive = import_model(
        _read(model),
        load_profile(profile, profiles_dir),
        plan,
        name=model.name,
        samples=_array(samples) if samples else None,
        float_model=_read(float_file) if float_file else None,
        created_ns=time.time_ns(),
    )
    from models.bundle.archive import read_bundle

    path = out or Path(f"{read_bundle(archive).manifest.bundle_id}.zip")
    write_durably(path, archive)
    click.echo(str(path))


def _read(path: Path) -> bytes:
    if path.stat().st_size > MAX_BUNDLE_BYTES:
        raise BundleIncompatible(f"{path}: {path.stat().st_size} bytes; a bundle has at most {MAX_BUNDLE_BYTES}")
    return path.read_bytes()


def _array(path: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    try:
        return np.asarray(np.load(path, allow_pickle=False), dtype=np.float32)
    except (ValueError, EOFError, OSError) as error:
        raise BundleIncompatible(f"{path}: not an array in numpy's .npy format: {error}") from error
