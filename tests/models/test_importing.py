"""`tocsin models import`: a foreign model becomes a bundle that serves, or is refused with what to do and leaves nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from agent.asset import AssetWatch
from agent.judges import serving_of
from agent.pipeline import Pipeline
from models.bundle.archive import read_bundle
from models.bundle.selftest import Sizes, load_detector, self_test
from models.contract.clock import NS_PER_S
from models.contract.config import load_profile
from models.contract.items import Aggregate, Alert, Body
from models.contract.profile import Profile
from models.contract.reading import Block
from models.errors import BundleIncompatible, ConfigError
from models.importing.cli import models as command
from models.importing.convert import Plan, import_model
from models.runtime import FloatModel, Int8Model
from tests.builders import DATA, T0_NS, rig, tiny_model
from tests.recorded import recorded

FEATURES = Plan("features", "reconstruction", "local")
RIG_TOML = """
name = "rig"
[windowing]
rate_hz = 5.0
window_s = 10.0
[features]
cross = ["correlation"]
[[channels]]
name = "flow"
[[channels]]
name = "pressure"
[[channels]]
name = "temperature"
"""
# MLPerf Tiny's anomaly detection model takes five frames of 128 log-mel bins: here the samples of one channel.
LOGMEL_TOML = """
name = "logmel"
[windowing]
rate_hz = 4000.0
window_s = 0.16
hop_s = 0.032
[features]
per_channel = ["mean", "std"]
[windows]
reference = 60
[[channels]]
name = "logmel"
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with two profiles."""
    (tmp_path / "rig.toml").write_text(RIG_TOML)
    (tmp_path / "logmel.toml").write_text(LOGMEL_TOML)
    return tmp_path


def run(place: Path, model: Path, *options: str) -> tuple[str, BaseException | None]:
    arguments = ["import", str(model), "--profiles-dir", str(place), "--out", str(place / "out.zip"), *options]
    result = CliRunner().invoke(command, arguments)
    return result.output, result.exception


def test_an_imported_model_passes_its_self_test_and_scores_as_the_interpreter_says(place: Path) -> None:
    output, error = run(place, DATA / "tiny_int8.tflite", "--profile", "rig")
    assert error is None, output
    bundle = read_bundle((place / "out.zip").read_bytes())
    profile = load_profile("rig", place)
    detector = load_detector(bundle, profile.spec_hash, Sizes.of(profile))
    assert self_test(bundle, detector).worst == 0.0
    assert (bundle.manifest.architecture, bundle.manifest.input, bundle.manifest.n_features) == ("imported", "features", 18)
    z = np.random.default_rng(0).normal(size=18).astype(np.float32)
    left = np.sort((z - Int8Model(tiny_model()).run(z)) ** 2)
    assert detector.score(z).score == pytest.approx(left[-2:].mean(), rel=1e-5)


def test_the_same_model_and_plan_give_the_same_bytes() -> None:
    archives = {import_model(tiny_model(), rig(), FEATURES, name="m") for _ in range(2)}
    assert len(archives) == 1


def test_unsigned_codes_are_taken_too() -> None:
    archive = import_model(tiny_model("uint8"), rig(), FEATURES, name="m")
    assert read_bundle(archive).card["model"]["dtype"] == "uint8"


def test_given_samples_are_the_golden_vectors() -> None:
    samples = np.random.default_rng(5).normal(size=(10, 18)).astype(np.float32)
    golden = read_bundle(import_model(tiny_model(), rig(), FEATURES, name="m", samples=samples)).golden
    assert golden.inputs.tobytes() == samples.tobytes()


def test_a_float_model_that_says_the_same_costs_nothing_and_one_that_says_otherwise_refuses() -> None:
    evaluation = read_bundle(import_model(tiny_model(), rig(), FEATURES, name="m", float_model=tiny_model("float"))).card[
        "evaluation"
    ]
    assert abs(evaluation["auc_loss"]) <= 0.01
    assert evaluation["score_correlation"] > 0.99


# --- refused ------------------------------------------------------------------------------------------------------

BAD: dict[str, tuple[str, list[str], str]] = {
    "float input": ("tiny_float.tflite", ["--profile", "rig"], "inference_input_type = inference_output_type = tf.int8"),
    "unsupported operator": ("tiny_custom.tflite", ["--profile", "rig"], "operator Erf is not one of TFLite's own"),
    "no model": ("make_tiny_model.py", ["--profile", "rig"], "not a TFLite model"),
    "another size": ("tiny_int8.tflite", ["--profile", "pump"], "the model takes 18 values .* profile pump has 35 features"),
    "window of another size": (
        "tiny_int8.tflite", ["--profile", "logmel", "--input", "window"], "has 640 samples of 1 channels: choose --input",
    ),
    "no score": ("tiny_int8.tflite", ["--profile", "rig", "--output", "score"], "gives 18 values; a score has one"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_model_that_devices_could_not_run_is_refused_and_nothing_is_written(name: str, place: Path) -> None:
    file, options, says = BAD[name]
    _, error = run(place, DATA / file, *options)
    assert isinstance(error, BundleIncompatible)
    with pytest.raises(BundleIncompatible, match=says):
        raise error
    assert sorted(path.name for path in place.iterdir()) == ["logmel.toml", "rig.toml"]


def test_an_unknown_profile_is_named_and_nothing_is_written(place: Path) -> None:
    _, error = run(place, DATA / "tiny_int8.tflite", "--profile", "mixer")
    assert isinstance(error, ConfigError)
    assert "logmel, motor, pump, rig" in str(error)
    assert not (place / "out.zip").exists()


@pytest.mark.parametrize("samples", [np.zeros((3, 17)), np.zeros((0, 18)), np.full((3, 18), np.nan)], ids=["17", "none", "nan"])
def test_samples_that_do_not_fit_are_refused(samples: np.ndarray) -> None:
    with pytest.raises(BundleIncompatible, match=r"samples of shape .* \(n, 18\) finite numbers are expected"):
        import_model(tiny_model(), rig(), FEATURES, name="m", samples=samples.astype(np.float32))


def test_a_file_of_samples_that_is_no_array_is_refused(place: Path) -> None:
    _, error = run(place, DATA / "tiny_int8.tflite", "--profile", "rig", "--samples", str(place / "rig.toml"))
    assert isinstance(error, BundleIncompatible)
    assert "not an array in numpy's .npy format" in str(error)
    assert not (place / "out.zip").exists()


# --- MLPerf Tiny --------------------------------------------------------------------------------------------------

RATE_HZ, FRAME = 4000, 128


def log_mel(n_frames: int, seed: int, tone_db: float = 0.0) -> np.ndarray:
    """(n_frames * 128,) dB like a machine's: a smooth spectrum that flickers a little; `tone_db` louder in eight bins."""
    rng = np.random.default_rng(seed)
    bins = np.arange(FRAME)
    spectrum = -25 - 12 * np.log1p(bins / 16) + 3 * np.sin(bins / 7)
    spectrum[60:68] += tone_db
    loudness = np.cumsum(rng.normal(0, 0.1, n_frames))
    return (spectrum + (loudness - loudness.mean())[:, np.newaxis] + rng.normal(0, 1.5, (n_frames, FRAME))).ravel()


def imported_mlperf(place: Path) -> tuple[bytes, Profile]:
    _, error = run(
        place, recorded("mlperf-tiny-ad") / "ad01_int8.tflite", "--profile", "logmel", "--input", "window", "--scaling", "none"
    )
    assert error is None
    return (place / "out.zip").read_bytes(), load_profile("logmel", place)


def test_mlperf_tinys_model_becomes_a_bundle_that_says_what_its_interpreter_says(place: Path) -> None:
    archive, profile = imported_mlperf(place)
    bundle = read_bundle(archive)
    detector = load_detector(bundle, profile.spec_hash, Sizes.of(profile))
    assert self_test(bundle, detector).worst == 0.0
    exact = FloatModel((recorded("mlperf-tiny-ad") / "ad01_fp32.tflite").read_bytes())
    windows = [log_mel(5, seed, tone_db=seed % 30).astype(np.float32) for seed in range(60)]
    direct = Int8Model(bundle.model)
    told = np.array([detector.score(x).score for x in windows])
    assert told == pytest.approx([float(np.mean((x - direct.run(x)) ** 2)) for x in windows], rel=1e-5)
    by_float = np.array([float(np.mean((x - exact.run(x)) ** 2)) for x in windows])
    assert told.mean() == pytest.approx(by_float.mean(), rel=0.1)
    assert np.corrcoef(told, by_float)[0, 1] > 0.9


def test_mlperf_tinys_model_is_not_made_a_bundle_where_it_is_compared_with_what_it_was_made_from(place: Path) -> None:
    folder = recorded("mlperf-tiny-ad")
    options = ["--profile", "logmel", "--input", "window", "--scaling", "none", "--float", str(folder / "ad01_fp32.tflite")]
    _, error = run(place, folder / "ad01_int8.tflite", *options)
    assert isinstance(error, BundleIncompatible)
    assert "of AUC against the float model; at most 0.01: convert it with a representative dataset" in str(error)
    assert not (place / "out.zip").exists()


def test_mlperf_tinys_model_serves_on_the_device_and_rings_for_a_tone(place: Path) -> None:
    archive, profile = imported_mlperf(place)
    bundle = read_bundle(archive)
    watch = AssetWatch("toy-car", profile)
    watch.serve(serving_of(bundle, load_detector(bundle, profile.spec_hash, Sizes.of(profile))), None)
    pipeline = Pipeline([watch])
    start_ns = T0_NS
    bodies: list[Body] = []
    for signal in (log_mel(200, 1), log_mel(100, 2, tone_db=30.0)):
        times = start_ns + np.arange(1, len(signal) + 1) * (NS_PER_S // RATE_HZ)
        start_ns = int(times[-1])
        for at in range(0, len(signal), FRAME):
            block = Block("toy-car", "logmel", times[at : at + FRAME], signal[at : at + FRAME])
            bodies += pipeline.handle([block], 0).bodies
    deciding = [body.scores[0] for body in bodies if isinstance(body, Aggregate) and body.scores]
    assert {score.detector for score in deciding} == {bundle.manifest.bundle_id}
    (opened,) = [body for body in bodies if isinstance(body, Alert)]
    assert opened.opened_ns > T0_NS + 200 * FRAME * (NS_PER_S // RATE_HZ)
    assert opened.top == [("logmel", 1.0)]
