"""Whole training runs with the real TensorFlow: lake in, signed bundle out."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import msgspec
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from click.testing import CliRunner
from sqlalchemy import Engine, insert, select
from tuf.api.metadata import Metadata, Targets

from hub.cli import hub as hub_command
from hub.distribution.keys import role_of
from hub.distribution.metadata import load
from hub.lake.lake import DeltaLake, open_lake
from hub.lake.rows import rows_of
from hub.registry.registry import Registry
from hub.settings import Hub, init_hub
from hub.state.database import open_state
from hub.state.schema import alerts, bundles, fleet_bundles, training_runs
from hub.training.dataset import Rules
from hub.training.exporter import export_int8
from hub.training.feedback import give_feedback
from hub.training.job import Outcome, TrainingJob
from hub.training.keras_dense import KerasDense, hidden_widths
from hub.training.linear import CrossChannel, Whitening
from hub.training.principal import PrincipalComponents
from hub.training.regimes import Regimes
from hub.training.trainer import DenseWeights, Floats, Progress, Trainer, forward
from models.bundle.archive import Golden, pack_bundle, read_bundle
from models.bundle.selftest import load_detector, self_test
from models.detectors.autoencoder import TfliteAutoencoder
from models.detectors.detector import DEFAULT_CLIP
from models.errors import BundleCorrupt, BundleError, SelfTestFailed, TrainingError
from tests.learning.pumps import N_COMMISSIONING, PUMP, SPEC, T0_NS, WINDOW_NS, PumpFleet

pytestmark = pytest.mark.slow
QUICK = KerasDense(max_epochs=25)


@dataclass
class LearningHub:
    """A hub's directory, opened."""

    hub: Hub
    engine: Engine
    lake: DeltaLake
    registry: Registry
    clock: Iterator[int] = field(default_factory=lambda: count(T0_NS))

    def train(self, seed: int = 1, trainer: Trainer = QUICK, min_windows: int = 200) -> Outcome:
        lines: list[str] = []
        return self.job(trainer).run("pump", seed=seed, rules=Rules(min_windows=min_windows), progress=lines.append)

    def job(self, trainer: Trainer) -> TrainingJob:
        return TrainingJob(self.engine, self.lake, self.registry, trainer, lambda: next(self.clock))

    def runs(self) -> list[dict[str, object]]:
        with self.engine.begin() as connection:
            return [dict(row._mapping) for row in connection.execute(select(training_runs))]


def _open(root: Path) -> LearningHub:
    hub = init_hub(root)
    engine = open_state(hub.state_url)
    return LearningHub(hub, engine, open_lake(hub.lake_url), Registry(engine, hub.paths.bundles, hub.repository()))


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[LearningHub]:
    opened = _open(tmp_path / "hub")
    yield opened
    opened.engine.dispose()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LearningHub, Outcome]]:
    """A hub with 1,500 windows and one bundle."""
    opened = _open(tmp_path_factory.mktemp("learning") / "hub")
    PumpFleet().fill(opened.engine, opened.lake)
    yield opened, opened.train(trainer=KerasDense())
    opened.engine.dispose()


def test_a_bundle_comes_out_that_passes_its_self_test_and_is_signed(trained: tuple[LearningHub, Outcome]) -> None:
    opened, outcome = trained
    archive = opened.registry.read(outcome.bundle_id)
    bundle = read_bundle(archive)
    assert outcome.bundle_id == f"pump-v1-{bundle.manifest.model_sha256[:8]}"
    assert bundle.manifest.spec_hash == PUMP.spec_hash
    assert self_test(bundle, load_detector(bundle, PUMP.spec_hash)).worst < 1e-6
    with opened.engine.begin() as connection:
        row = connection.execute(select(bundles).where(bundles.c.bundle_id == outcome.bundle_id)).one()
        role = load(connection, role_of("pump"))
    assert row.signed_ns is not None
    assert role is not None
    listed = Metadata[Targets].from_bytes(role[1]).signed.targets[f"pump/{outcome.bundle_id}.bundle"]
    assert (listed.hashes["sha256"], listed.length) == (bundle.sha256, len(archive))


def test_it_sees_faults_and_int8_costs_almost_nothing(trained: tuple[LearningHub, Outcome]) -> None:
    _, outcome = trained
    evaluation = outcome.record["evaluation"]
    assert evaluation["auc"]["int8"]["shift"] > 0.95
    assert evaluation["auc"]["int8"]["correlation"] > evaluation["auc"]["baseline"]["correlation"] + 0.1
    assert abs(evaluation["auc_loss"]) <= 0.01
    assert evaluation["score_correlation"] > 0.99
    assert evaluation["false_alarms"]["share"] < 0.03
    assert set(evaluation["bias"]["axes"]["site"]["slices"]) == {"site-0", "site-1"}
    kept = evaluation["curves"]
    at_1_percent = kept["false_alarm_share"].index(0.01)
    assert kept["detected"]["int8"]["shift"][at_1_percent] > 0.6
    assert kept["alarm_rate"]["got"]["int8"][kept["alarm_rate"]["asked"].index(0.01)] == evaluation["false_alarms"]["share"]


def test_the_run_and_the_card_say_where_it_came_from(trained: tuple[LearningHub, Outcome]) -> None:
    opened, outcome = trained
    row = next(run for run in opened.runs() if run["run_id"] == outcome.run_id)
    assert (row["state"], row["bundle_id"], row["error"]) == ("done", outcome.bundle_id, None)
    card = opened.registry.get(outcome.bundle_id)["card"]
    assert card["lineage"]["lake_version"] == opened.lake.version("aggregates")
    assert card["lineage"]["sha256"] == outcome.record["dataset"]["sha256"]
    assert sum(card["data"]["splits"].values()) == card["data"]["usable"] == 1500
    assert json.loads(json.dumps(card, allow_nan=False)) == card
    assert "curves" not in card["evaluation"], "cards travel to the devices"


def test_the_model_speaks_only_basic_int8_and_small(trained: tuple[LearningHub, Outcome]) -> None:
    opened, outcome = trained
    model = read_bundle(opened.registry.read(outcome.bundle_id)).model
    interpreter = Interpreter(model_content=model)
    operators = {op["op_name"] for op in interpreter._get_ops_details()} - {"DELEGATE"}
    assert operators == {"FULLY_CONNECTED"}
    assert len(model) < 32 * 1024


def test_the_same_seed_and_lake_give_the_same_model_another_seed_another(trained: tuple[LearningHub, Outcome]) -> None:
    opened, first = trained
    again = opened.train(trainer=KerasDense())
    other = opened.train(seed=2)
    models = [read_bundle(opened.registry.read(o.bundle_id)).manifest.model_sha256 for o in (first, again, other)]
    assert models[0] == models[1] != models[2]
    assert again.record["dataset"]["sha256"] == first.record["dataset"]["sha256"]
    assert [opened.registry.get(o.bundle_id)["version"] for o in (first, again, other)] == [1, 2, 3]


def test_too_little_data_makes_no_bundle_and_the_run_says_why(empty: LearningHub) -> None:
    PumpFleet(n_devices=1, n_windows=80).fill(empty.engine, empty.lake)
    with pytest.raises(TrainingError, match="80 usable windows of 80; at least 200 are needed"):
        empty.train()
    (run,) = empty.runs()
    assert run["state"] == "failed"
    assert "80 usable windows" in str(run["error"])
    assert empty.registry.list() == []
    assert list(empty.hub.paths.bundles.iterdir()) == []


def test_a_constant_channel_and_missing_features_do_not_disturb_training(empty: LearningHub) -> None:
    fleet = PumpFleet(n_devices=1, n_windows=300)
    vectors = fleet.vectors["gw-0"]
    vectors[:, :5] = np.array([50, 0, 0, 0, 0], np.float32)  # flow stands still
    vectors[N_COMMISSIONING + 20 : N_COMMISSIONING + 60, 20:25] = np.nan  # vibration was away for a while
    fleet.fill(empty.engine, empty.lake)
    outcome = empty.train()
    assert outcome.record["dataset"]["usable"] == 300
    bundle = read_bundle(empty.registry.read(outcome.bundle_id))
    detector = load_detector(bundle, PUMP.spec_hash)
    assert np.isfinite(detector.score(np.zeros(SPEC.n_features, np.float32)).score)


def test_a_channel_that_no_window_has_is_left_out_of_every_score(empty: LearningHub) -> None:
    fleet = PumpFleet(n_devices=1, n_windows=260)
    fleet.vectors["gw-0"][:, 20:25] = np.nan
    fleet.fill(empty.engine, empty.lake)
    assert empty.train().record["evaluation"]["auc"]["int8"]["shift"] > 0.6


def test_all_nan_is_refused_as_too_little_data(empty: LearningHub) -> None:
    fleet = PumpFleet(n_devices=1, n_windows=250)
    fleet.vectors["gw-0"][:] = np.nan
    fleet.fill(empty.engine, empty.lake)
    with pytest.raises(TrainingError, match="0 usable windows of 250"):
        empty.train()


def test_a_model_of_windows_where_nothing_can_be_told_is_refused(empty: LearningHub) -> None:
    fleet = PumpFleet(n_devices=1, n_windows=260)
    rng = np.random.default_rng(0)
    wild = rng.choice([-1000, 0, 1000], p=[0.04, 0.92, 0.04], size=(260, SPEC.n_features))  # its ordinary is extreme
    fleet.vectors["gw-0"] = (wild + rng.standard_normal(wild.shape)).astype(np.float32)
    fleet.fill(empty.engine, empty.lake)
    with pytest.raises(TrainingError, match="AUC"):
        empty.train()
    (run,) = empty.runs()
    assert run["state"] == "failed"
    assert "evaluation" in run["record"], "the figures of a refused model are kept"
    assert empty.registry.list() == []


def test_a_run_whose_process_was_killed_is_found_failed_by_the_next(empty: LearningHub) -> None:
    record = {"pid": 2**22 + 1, "host": platform.node()}
    row = {"run_id": "pump-dead", "profile": "pump", "state": "running", "started_ns": 1, "record": record}
    with empty.engine.begin() as connection:
        connection.execute(insert(training_runs).values(row))
    with pytest.raises(TrainingError):
        empty.train()
    states = {run["run_id"]: run["state"] for run in empty.runs()}
    assert states["pump-dead"] == "failed"


@pytest.mark.parametrize(
    "trainer", [CrossChannel(SPEC.related), Whitening(), PrincipalComponents(), Regimes()], ids=lambda t: t.architecture
)
def test_a_linear_model_passes_the_same_evaluation_and_its_bundle_says_what_it_is(empty: LearningHub, trainer: Trainer) -> None:
    PumpFleet(n_devices=4, n_windows=250).fill(empty.engine, empty.lake)
    outcome = empty.train(trainer=trainer)
    assert outcome.record["evaluation"]["auc_loss"] <= 0.01
    bundle = read_bundle(empty.registry.read(outcome.bundle_id))
    assert bundle.manifest.architecture == bundle.card["model"]["architecture"] == trainer.architecture
    self_test(bundle, load_detector(bundle, PUMP.spec_hash))


def _fleet_with_a_restless_site(drift: float) -> PumpFleet:
    """Site-1 is one pump of five; towards the end, in the time that is held out, its flow sensor wanders by `drift`."""
    fleet = PumpFleet(n_devices=5, n_windows=400, site_of=lambda number: f"site-{int(number == 4)}")
    vectors = fleet.vectors["gw-4"]
    vectors[320:, :5] += np.float32(drift) * vectors[:N_COMMISSIONING, :5].std(axis=0)
    return fleet


@pytest.mark.parametrize("drift", [0.0, 4.0])
def test_a_model_that_floods_one_site_fails_and_nothing_is_published(empty: LearningHub, drift: float) -> None:
    _fleet_with_a_restless_site(drift).fill(empty.engine, empty.lake)
    if not drift:
        bias = empty.train(trainer=Whitening()).record["evaluation"]["bias"]
        assert bias["failed"] == bias["too_small"] == []
        return
    with pytest.raises(TrainingError, match=r"floods a group with false alarms: site site-1: .* others"):
        empty.train(trainer=Whitening())
    (run,) = empty.runs()
    assert run["record"]["evaluation"]["bias"]["failed"] == ["site site-1"]  # type: ignore[index]
    assert run["record"]["evaluation"]["false_alarms"]["share"] < 0.25  # type: ignore[index]
    assert empty.registry.list() == []
    assert list(empty.hub.paths.bundles.iterdir()) == []


def test_a_run_is_repeated_from_its_record_after_the_lake_has_grown(empty: LearningHub) -> None:
    PumpFleet(n_devices=4, n_windows=250).fill(empty.engine, empty.lake)
    first = empty.train()
    empty.lake.append("aggregates", rows_of("aggregates", PumpFleet(n_devices=1, seed=3).records()), "other", 300)
    with empty.engine.begin() as connection:  # an operator speaks afterwards: no part of that run
        connection.execute(insert(alerts).values(_alert_row()))
        give_feedback(connection, "gw-1", "late", "confirm", actor="user:a", now_ns=T0_NS * 2)
    again = empty.job(QUICK).repeat(first.run_id, progress=lambda line: None)
    assert again.record["model_sha256"] == first.record["model_sha256"]
    assert again.record["dataset"] == first.record["dataset"]
    assert (again.bundle_id, len(empty.registry.list())) == ("", 1)
    assert empty.train(trainer=Whitening()).record["dataset"]["labels"] == {}, (
        "by the clock of the test, that word is of the future"
    )


def test_a_run_cannot_be_repeated_with_another_trainer_or_from_a_version_that_is_gone(empty: LearningHub) -> None:
    PumpFleet(n_devices=4, n_windows=250).fill(empty.engine, empty.lake)
    first = empty.train(trainer=Whitening())
    with pytest.raises(TrainingError, match=r"trainer: now .*0\.5.*, then .*0\.02"):
        empty.job(Whitening(least=0.5)).repeat(first.run_id, progress=lambda line: None)
    for file in Path(empty.hub.lake_url, "aggregates").rglob("*.parquet"):
        file.unlink()
    with pytest.raises(
        TrainingError, match=r"version 1 of the lake's aggregates cannot be read, perhaps because it was vacuumed"
    ):
        empty.job(Whitening()).repeat(first.run_id, progress=lambda line: None)
    assert [run["state"] for run in empty.runs()] == ["done", "failed", "failed"]


def test_a_challenger_is_graded_beside_the_champion_on_the_same_windows_and_on_what_operators_said(empty: LearningHub) -> None:
    PumpFleet(n_devices=4, n_windows=250).fill(empty.engine, empty.lake)
    champion = empty.train(trainer=Whitening()).bundle_id
    with empty.engine.begin() as connection:
        connection.execute(insert(fleet_bundles).values(profile="pump", bundle_id=champion, since_ns=1))
        connection.execute(insert(alerts).values(_alert_row()))
        give_feedback(connection, "gw-1", "late", "confirm", actor="user:a", now_ns=5)
    record = empty.train(trainer=Whitening()).record
    evaluation = record["evaluation"]
    assert record["dataset"]["left_out"]["confirmed alert"] == 10
    assert record["dataset"]["left_out"]["next to an alarm"] == 4
    assert evaluation["labelled"]["confirm"]["windows"] == 10
    assert evaluation["champion"]["bundle_id"] == champion
    assert abs(evaluation["champion"]["auc"]["all"] - evaluation["auc"]["int8"]["all"]) < 0.02
    assert set(evaluation["curves"]["detected"]) == {"int8", "float", "baseline", "champion"}
    assert set(evaluation["curves"]["alarm_rate"]["got"]) == {"int8", "champion"}


def _alert_row() -> dict[str, object]:
    """An alert over the ten windows from the 100th on of gw-1."""
    opened, closed = T0_NS + 100 * WINDOW_NS, T0_NS + 110 * WINDOW_NS
    row = {"device_id": "gw-1", "alert_id": "late", "asset": "pump-1", "profile": "pump", "detector": "robust"}
    row |= {"severity": "warning", "opened_ns": opened, "closed_ns": closed, "p_value": 1e-6, "score": 9.0, "top": []}
    return row | {"received_ns": 1}


class _Interrupting(KerasDense):
    """Ctrl-C in the middle of training."""

    def fit(self, train: Floats, validation: Floats, seed: int, progress: Progress) -> DenseWeights:
        raise KeyboardInterrupt


def test_a_run_that_is_interrupted_says_so(empty: LearningHub) -> None:
    PumpFleet(n_devices=1, n_windows=250).fill(empty.engine, empty.lake)
    with pytest.raises(KeyboardInterrupt):
        empty.train(trainer=_Interrupting())
    (run,) = empty.runs()
    assert (run["state"], run["error"]) == ("failed", "interrupted")


def test_the_exported_network_computes_what_its_weights_say() -> None:
    rng = np.random.default_rng(3)
    z = rng.normal(size=(300, 12)).astype(np.float32)
    weights = KerasDense(max_epochs=3).fit(z, z[:50], 1, lambda line: None)
    assert [layer.kernel.shape[1] for layer in weights] == [*hidden_widths(12), 12]
    detector = TfliteAutoencoder(export_int8(weights, z), DEFAULT_CLIP)
    exact = forward(weights, z[:20])
    rebuilt = np.array([detector.reconstruct(row) for row in z[:20]])
    assert np.abs(rebuilt - exact).max() < 0.05 * np.abs(exact).max() + 0.05


def test_the_registry_takes_an_archive_once_and_a_version_never_changes(trained: tuple[LearningHub, Outcome]) -> None:
    opened, outcome = trained
    archive = opened.registry.read(outcome.bundle_id)
    before = len(opened.registry.list())
    assert opened.registry.publish(archive, now_ns=T0_NS + 1) == outcome.bundle_id
    assert len(opened.registry.list()) == before
    bundle = read_bundle(archive)
    other = pack_bundle(bundle.manifest, bundle.model, bundle.golden, {**bundle.card, "title": "changed"})
    with pytest.raises(BundleError, match="a version never changes"):
        opened.registry.publish(other, now_ns=T0_NS)
    files = len(list(opened.hub.paths.bundles.iterdir()))
    assert files == before


def test_the_registry_refuses_what_is_damaged_or_fails_its_golden_vectors(trained: tuple[LearningHub, Outcome]) -> None:
    opened, outcome = trained
    archive = opened.registry.read(outcome.bundle_id)
    bundle = read_bundle(archive)
    files = sorted(opened.hub.paths.bundles.iterdir())
    with pytest.raises(BundleCorrupt):
        opened.registry.publish(archive[:-100], now_ns=T0_NS)
    wrong = Golden(bundle.golden.inputs, bundle.golden.scores * 3)
    manifest = msgspec.structs.replace(bundle.manifest, bundle_id="pump-v99-ffffffff", version=99)
    with pytest.raises(SelfTestFailed):
        opened.registry.publish(pack_bundle(manifest, bundle.model, wrong, {}), now_ns=T0_NS)
    assert sorted(opened.hub.paths.bundles.iterdir()) == files


def test_a_damaged_file_in_the_registry_is_not_handed_out(trained: tuple[LearningHub, Outcome], tmp_path: Path) -> None:
    opened, outcome = trained
    entry = opened.registry.get(outcome.bundle_id)
    elsewhere = Registry(opened.engine, tmp_path, opened.hub.repository())
    with pytest.raises(BundleCorrupt, match="No such file"):
        elsewhere.read(outcome.bundle_id)
    elsewhere.path(entry["sha256"]).write_bytes(b"garbage")
    with pytest.raises(BundleCorrupt):
        elsewhere.read(outcome.bundle_id)


def test_the_commands_show_and_publish_and_say_what_is_wrong(trained: tuple[LearningHub, Outcome], tmp_path: Path) -> None:
    opened, outcome = trained
    data, run = str(opened.hub.paths.root), CliRunner().invoke
    listed = json.loads(run(hub_command, ["bundles", "list", "--data", data, "--json"]).stdout)
    assert outcome.bundle_id in {entry["bundle_id"] for entry in listed}
    shown = json.loads(run(hub_command, ["bundles", "show", outcome.bundle_id, "--data", data]).stdout)
    assert shown["card"]["title"].startswith("Dense autoencoder for Centrifugal pump")
    file = tmp_path / "pump.bundle"
    file.write_bytes(opened.registry.read(outcome.bundle_id))
    assert run(hub_command, ["bundles", "publish", str(file), "--data", data]).stdout.strip() == outcome.bundle_id
    failed = run(hub_command, ["train", "--data", data, "--profile", "fan"])
    assert isinstance(failed.exception, TrainingError)
    assert "fan: 0 usable windows of 0" in str(failed.exception)
