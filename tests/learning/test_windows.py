"""Learning from whole windows: what devices sampled becomes a convolutional model that serves on a device, or is refused."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from sqlalchemy import Engine, insert, select

from hub.ingest.log import LogRecord
from hub.lake.lake import DeltaLake, open_lake
from hub.lake.rows import rows_of
from hub.registry.registry import Registry
from hub.settings import Hub, init_hub
from hub.state.database import open_state
from hub.state.schema import commissionings, training_runs
from hub.training.conv import ConvLayer, export_conv_int8, float_window_scores, forward_windows
from hub.training.dataset import Rules
from hub.training.job import TrainingJob
from hub.training.keras_conv import KerasConv, first_layers
from hub.training.window_faults import inject_into_windows, refuse_bad_windows, window_faults, window_scores
from models.bundle.archive import read_bundle
from models.bundle.operators import operators
from models.bundle.selftest import Sizes, load_detector, self_test
from models.contract.items import SAMPLE, Evidence, encode_body, pack_floats
from models.contract.profile import Profile
from models.detectors.window_model import WindowAutoencoder
from models.errors import TrainingError
from tests.agent.windows_model import with_windows
from tests.learning.pumps import PUMP, STAMP, T0_NS, WINDOW_NS, pump_window

KEEPING = with_windows(PUMP, reference=60, sample_share=0.1)
QUICK = KerasConv(max_epochs=12, learning_rate=4e-3)


def sampled(device_id: str, i: int, values: np.ndarray, sample: bool = True) -> LogRecord:
    start_ns = T0_NS + i * WINDOW_NS
    evidence = Evidence(
        alert_id=SAMPLE if sample else "a-1", asset="pump-1", start_ns=start_ns, rate_hz=PUMP.windowing.rate_hz,
        channels=PUMP.channel_names, values=pack_floats(values), sample=sample,
    )  # fmt: skip
    return LogRecord(
        position=0, device_id=device_id, epoch="e1", lane="evidence", seq=i + 1, first_seq=i + 1, kind="evidence", at=STAMP,
        body=encode_body(evidence), received_ns=start_ns + WINDOW_NS,
    )  # fmt: skip


class WindowHub:
    """A hub with some pumps' sampled windows. `profiles_dir` has a pump whose devices keep windows, or do not."""

    def __init__(self, root: Path) -> None:
        self.hub: Hub = init_hub(root)
        self.engine: Engine = open_state(self.hub.state_url)
        self.lake: DeltaLake = open_lake(self.hub.lake_url)
        self.registry = Registry(self.engine, self.hub.paths.bundles, self.hub.repository())
        self._clock = itertools.count(T0_NS)
        self._positions = itertools.count(1)
        self.profile: Profile = KEEPING

    def fill(self, n_devices: int, n_windows: int, *extra: LogRecord) -> None:
        records = list(extra)
        for number in range(n_devices):
            rng = np.random.default_rng(number)
            records += [sampled(f"gw-{number}", i, pump_window(rng, 0.1 * number)) for i in range(n_windows)]
            row = {
                "device_id": f"gw-{number}", "asset": "pump-1", "spec_hash": PUMP.spec_hash, "profile": "pump", "n_windows": 60,
                "start_ns": T0_NS, "end_ns": T0_NS, "location": b"", "scale": b"",
            }  # fmt: skip
            with self.engine.begin() as connection:
                connection.execute(insert(commissionings).values(row))
        records = [msgspec.structs.replace(record, position=next(self._positions)) for record in records]
        self.lake.append("evidence", rows_of("evidence", records), "log", len(records))

    def train(self, monkeypatch: pytest.MonkeyPatch, trainer: KerasConv = QUICK) -> str:
        monkeypatch.setattr("hub.training.job.load_profile", lambda name, folder: self.profile)
        job = TrainingJob(self.engine, self.lake, self.registry, trainer, lambda: next(self._clock))
        return job.run("pump", seed=1, rules=Rules(), progress=lambda line: None).bundle_id

    def run(self) -> tuple[str, str | None, dict[str, object]]:
        """State, error and record of the one run."""
        with self.engine.connect() as connection:
            row = connection.execute(select(training_runs)).one()
        return row.state, row.error, row.record


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[WindowHub]:
    made = WindowHub(tmp_path / "hub")
    yield made
    made.engine.dispose()


def test_sampled_windows_become_a_bundle_that_a_device_takes(hub: WindowHub, monkeypatch: pytest.MonkeyPatch) -> None:
    around_an_alert = sampled("gw-0", 10, np.zeros((50, 5)), sample=False)
    other_channels = sampled("gw-1", 200, np.zeros((49, 5)))
    nobody = sampled("gw-9", 0, np.zeros((50, 5)))
    hub.fill(2, 120, around_an_alert, other_channels, nobody)
    bundle_id = hub.train(monkeypatch)
    state, error, record = hub.run()
    assert (state, error) == ("done", None)
    left_out = record["dataset"]["left_out"]  # type: ignore[index]
    assert {reason for reason, count in left_out.items() if count == 1} == {
        "asset not commissioned", "other channels or size", "next to an alert",
    }  # fmt: skip
    assert sum(left_out.values()) == 3
    evaluation = record["evaluation"]
    assert abs(evaluation["auc_loss"]) <= 0.01  # type: ignore[index]
    assert evaluation["auc"]["int8"]["shift"] > 0.8  # type: ignore[index]
    bundle = read_bundle(hub.registry.read(bundle_id))
    assert (bundle.manifest.input, bundle.manifest.n_features, bundle.manifest.n_channels) == ("window", 250, 5)
    assert bundle.manifest.architecture == bundle.card["model"]["architecture"] == "conv-autoencoder"
    detector = load_detector(bundle, PUMP.spec_hash, Sizes.of(KEEPING))
    assert self_test(bundle, detector).worst < 1e-6


def test_too_few_windows_make_no_bundle_and_the_run_says_what_brings_more(
    hub: WindowHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.fill(2, 50)
    with pytest.raises(TrainingError, match="pump: 100 whole windows; at least 200 are needed: set sample_share"):
        hub.train(monkeypatch)
    state, error, _ = hub.run()
    assert state == "failed"
    assert "100 whole windows" in str(error)
    assert hub.registry.list() == []
    assert list(hub.hub.paths.bundles.iterdir()) == []


@pytest.mark.parametrize("reference", [0, 60])
def test_a_profile_without_data_or_whose_devices_keep_no_windows_makes_no_bundle(
    reference: int, hub: WindowHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.profile = with_windows(PUMP, reference=reference)
    with pytest.raises(TrainingError, match="0 whole windows" if reference else r"keep no whole windows .* set reference = 60"):
        hub.train(monkeypatch)
    assert hub.run()[0] == "failed"
    assert hub.registry.list() == []


def test_a_channel_that_stands_still_and_one_that_is_never_there_do_not_disturb_training(
    hub: WindowHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    windows = np.array([pump_window(rng) for _ in range(220)])
    windows[:, :, 0], windows[:, :, 4] = 50.0, np.nan
    hub.fill(1, 0, *(sampled("gw-0", i, window) for i, window in enumerate(windows)))
    bundle = read_bundle(hub.registry.read(hub.train(monkeypatch)))
    detector = load_detector(bundle, PUMP.spec_hash)
    z = np.zeros((50, 5), dtype=np.float32)
    z[:, 4] = np.nan
    assert np.isfinite(detector.score(z.ravel()).score)


def test_windows_that_are_all_absent_are_refused(hub: WindowHub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.fill(1, 0, *(sampled("gw-0", i, np.full((50, 5), np.nan)) for i in range(250)))
    with pytest.raises(TrainingError, match=r"0 whole windows \(left out: 250 without any value"):
        hub.train(monkeypatch)
    assert hub.run()[0] == "failed"
    assert hub.registry.list() == []


# --- the network --------------------------------------------------------------------------------------------------


def waves(n: int, seed: int, n_samples: int = 30) -> np.ndarray:
    """(n, n_samples, 3): two channels that swing together, and one of noise."""
    rng = np.random.default_rng(seed)
    phase = rng.uniform(0, 2 * np.pi, (n, 1))
    swing = 1.4 * np.sin(phase + np.arange(n_samples) / 3)
    noise = rng.standard_normal((3, n, n_samples))
    return np.stack([swing + 0.1 * noise[0], -swing + 0.1 * noise[1], 0.5 * noise[2]], axis=2).astype(np.float32)


def layers(n_samples: int) -> list[ConvLayer]:
    """A network of random weights, biases among them."""
    rng = np.random.default_rng(2)
    made = first_layers(n_samples, 3, 8, rng)
    return [replace(layer, bias=rng.normal(0, 0.1, layer.bias.shape).astype(np.float32)) for layer in made]


@pytest.mark.parametrize("n_samples", [15, 30, 67])
def test_the_exported_network_computes_what_its_weights_say(n_samples: int) -> None:
    z = waves(60, 1, n_samples)
    weights = layers(n_samples)
    detector = WindowAutoencoder(export_conv_int8(weights, z), 8.0, n_channels=3)
    exact = forward_windows(weights, z)
    rebuilt = np.array([detector.reconstruct(window.ravel()) for window in z]).reshape(z.shape)
    assert np.abs(rebuilt - exact).max() < 0.06 * np.abs(exact).max()
    assert np.corrcoef(window_scores(detector, z), float_window_scores(weights, z, 1 / 8))[0, 1] > 0.99


def test_its_operators_are_few_and_its_weights_have_a_scale_for_each_channel() -> None:
    model = export_conv_int8(layers(30), waves(50, 1))
    assert [(op.name, op.version) for op in operators(model)] == [("CONV_2D", 3), ("TRANSPOSE_CONV", 4)]
    tensors = Interpreter(model_content=model).get_tensor_details()
    kernels = [tensor for tensor in tensors if len(tensor["shape"]) == 4 and tensor["shape"][1] > 1 and tensor["shape"][2] == 1]
    scales = [len(kernel["quantization_parameters"]["scales"]) for kernel in kernels]
    assert sorted(scales)[-4:] == [1, 3, 8, 8]  # of 8, 1, 8 and 3 output channels


def test_the_same_seed_and_windows_give_the_same_weights_and_another_seed_others() -> None:
    z = waves(120, 1)
    fits = [KerasConv(max_epochs=3).fit(z[:100], z[100:], seed, lambda line: None) for seed in (1, 1, 2)]
    kernels = [b"".join(layer.kernel.tobytes() for layer in fit) for fit in fits]
    assert kernels[0] == kernels[1] != kernels[2]


def test_nothing_to_stop_by_is_an_error_that_says_so() -> None:
    with pytest.raises(TrainingError, match="0 to stop by"):
        KerasConv().fit(waves(50, 1), waves(0, 1), 1, lambda line: None)


def test_an_operator_that_devices_have_not_got_refuses_the_export(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("models.bundle.operators", fromlist=["_KNOWN"])._KNOWN, 67, ("TRANSPOSE_CONV", 3))
    with pytest.raises(TrainingError, match=r"the converter refuses the network: operator TRANSPOSE_CONV of version 4"):
        export_conv_int8(layers(30), waves(50, 1))


def test_a_padded_layer_is_the_sum_that_its_kernel_says() -> None:
    kernel = np.arange(1, 5, dtype=np.float32).reshape(4, 1, 1)
    x = np.array([[1, 0, 0, 0, 2, 0]], dtype=np.float32).reshape(1, 6, 1)
    shorten = ConvLayer("shorten", kernel, np.zeros(1, np.float32), 2, 3, "linear")
    assert forward_windows([shorten], x).ravel().tolist() == [2.0, 8.0, 4.0]
    lengthen = ConvLayer("lengthen", kernel, np.zeros(1, np.float32), 2, 6, "linear")
    y = np.array([[1, 0, 1]], dtype=np.float32).reshape(1, 3, 1)
    assert forward_windows([lengthen], y).ravel().tolist() == [2.0, 3.0, 4.0, 1.0, 2.0, 3.0]


# --- the judgement ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("centered", [False, True])
def test_an_injected_fault_touches_one_channel_and_not_its_source(centered: bool) -> None:
    z = waves(40, 1)
    z -= z.mean(axis=1, keepdims=True) * centered
    before = z.copy()
    for fault in window_faults(centered=centered):
        faulty = inject_into_windows(z, fault, np.random.default_rng(0), centered=centered)
        assert np.array_equal(z, before)
        assert ((faulty != z).any(axis=1).sum(axis=1) <= 1).all()
        if centered:
            assert np.abs(faulty.mean(axis=1)).max() < 1e-4


@pytest.mark.parametrize(
    ("changed", "message"),
    [({"auc_loss": 0.02}, "int8 loses 0.020 of AUC"), ({"auc": {"int8": {"variance": 0.5}}}, "variance 0.50; at least 0.6")],
)
def test_a_bad_model_is_refused_with_its_figures(changed: dict[str, object], message: str) -> None:
    good = {"auc_loss": 0.0, "auc": {"int8": {"shift": 0.9, "variance": 0.9, "correlation": 0.5}}}
    refuse_bad_windows(good)
    with pytest.raises(TrainingError, match=message):
        refuse_bad_windows({**good, **changed})
