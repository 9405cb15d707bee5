"""`tocsin hub dataset`: what it writes for other tools is what a training sees; what cannot be says what is the matter."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from hub.cli import hub as hub_command
from hub.lake.lake import open_lake
from hub.settings import Hub, init_hub
from hub.state.database import open_state
from models.detectors.detector import DEFAULT_CLIP
from tests.learning.pumps import PUMP, SPEC, PumpFleet


@pytest.fixture
def filled(tmp_path: Path) -> Hub:
    hub = init_hub(tmp_path / "hub")
    engine = open_state(hub.state_url)
    PumpFleet(n_devices=2, n_windows=150).fill(engine, open_lake(hub.lake_url))
    engine.dispose()
    return hub


def dataset(hub: Hub, *arguments: str) -> Result:
    return CliRunner().invoke(hub_command, ["dataset", "pump", *arguments, "--data", str(hub.paths.root)])


def test_what_is_written_for_other_tools_is_what_a_training_sees(filled: Hub, tmp_path: Path) -> None:
    done = dataset(filled, "--out", str(tmp_path / "pump.npz"))
    assert done.exit_code == 0, done.output
    told = np.load(tmp_path / "pump.npz", allow_pickle=False)
    n = len(told["split"])
    assert done.stdout.startswith(f"{n} of 300 windows, 2 assets")
    assert told["names"].tolist() == SPEC.names
    assert {name: told[name].shape for name in ("features", "x")} == dict.fromkeys(("features", "x"), (n, SPEC.n_features))
    assert {len(told[name]) for name in ("device_id", "asset", "start_ns")} == {n}
    assert set(told["split"].tolist()) == {"train", "validation", "time", "trimmed"}
    assert np.isfinite(told["x"]).all(), "a model takes numbers only"
    assert np.abs(told["x"]).max() <= DEFAULT_CLIP
    assert np.abs(np.median(told["x"][told["device_id"] == "gw-1"], axis=0)).max() < 1.5, "by the machine's own yardstick"


def test_a_profile_that_the_hub_has_otherwise_than_its_devices_is_called_so(filled: Hub) -> None:
    profiles = filled.paths.root / "profiles"
    profiles.mkdir()
    text = (Path(__file__).parents[2] / "models/profiles/pump.toml").read_text()
    (profiles / "pump.toml").write_text(text.replace("window_s = 10.0", "window_s = 20.0"))
    (filled.paths.root / "hub.toml").write_text('profiles_dir = "profiles"\n')
    done = dataset(filled)
    assert done.exit_code == 1
    assert f"300 are of {PUMP.spec_hash}: pump.toml of those devices belongs into the hub's profiles_dir" in done.output + str(
        done.exception
    )
