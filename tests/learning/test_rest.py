"""What a device says of a machine at rest reaches the lake, and no dataset."""

from __future__ import annotations

from pathlib import Path

from hub.lake.lake import open_lake
from hub.training.loading import load_windows
from models.contract.items import Aggregate
from models.features.spec import FeatureSpec
from tests.agent.machine import only
from tests.agent.test_running import PROFILE, Shift
from tests.hub.test_lake import append_aggregates, record


def test_windows_at_rest_are_in_the_lake_and_train_nothing(tmp_path: Path) -> None:
    machine = Shift().learned()
    told = only(Aggregate, [*machine.night(), *machine.run(200)])
    lake = open_lake(str(tmp_path / "lake"))
    append_aggregates(lake, [record(window, n) for n, window in enumerate(told, 1)], "log", len(told))
    version = lake.version("aggregates")
    assert lake.aggregates(PROFILE.name, columns=["seq"]).num_rows == len(told)
    windows = load_windows(lake, PROFILE.name, PROFILE.spec_hash, FeatureSpec(PROFILE).n_features, version)
    ran = [window.start_ns for window in told if not window.partial]
    assert 0 < len(ran) < len(told)
    assert sorted(windows.start_ns.tolist()) == sorted(ran)
