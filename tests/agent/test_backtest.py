"""Backtest: the agent's own pipeline over a file, where no row ever knows of a later one."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.backtest.cli import backtest
from agent.backtest.run import Verdict, profile_of, run
from models.contract.clock import NS_PER_S
from models.contract.config import load_profile
from models.contract.table import Table
from models.errors import ConfigError
from tests.builders import RATE_HZ, T0_NS, BundleParts, bundle, running

COMMISSIONING, ROWS, STEP_AT = 300, 700, 500


def table(values: np.ndarray) -> Table:
    times = T0_NS + np.round(np.arange(1, len(values) + 1) / RATE_HZ * 1e9).astype(np.int64)
    columns = ("flow", "pressure", "temperature")
    return Table(times, columns, values, [str(i) for i in range(len(values))], "time")


def recording(step: float = -2.0) -> np.ndarray:
    values = running(ROWS / RATE_HZ, seed=6)
    values[STEP_AT:, 1] += step
    return values


def verdicts(values: np.ndarray, commissioning: int = COMMISSIONING) -> list[Verdict]:
    made = table(values)
    return list(run(made, profile_of(made, commissioning, None, None, 1.0), commissioning))


@pytest.fixture(scope="module")
def whole() -> list[Verdict]:
    return verdicts(recording())


@settings(max_examples=6)
@given(st.integers(COMMISSIONING + 1, ROWS - 1), st.sampled_from(["other values", "cut off", "other times", "absent"]))
def test_changing_later_rows_changes_no_earlier_verdict(whole: list[Verdict], row: int, how: str) -> None:
    values = recording()
    if how == "cut off":
        values = values[:row]
    elif how != "other times":
        values[row:] = 1e6 if how == "other values" else np.nan
    made = table(values)
    if how == "other times":
        made.time_ns[row:] += np.arange(1, ROWS - row + 1) * 10**10
    profile = profile_of(made, COMMISSIONING, None, None, 1.0)
    assert list(run(made, profile, COMMISSIONING))[:row] == whole[:row]


def test_a_step_is_detected_soon_and_not_before(whole: list[Verdict]) -> None:
    alerts = [verdict.alert for verdict in whole]
    assert len(whole) == ROWS
    assert not any(alerts[:STEP_AT])
    assert alerts.index(True) - STEP_AT <= 60  # three windows
    assert all(alerts[STEP_AT + 60 :])
    assert whole[STEP_AT + 60].top_channel == "pressure"


def test_commissioning_rows_have_no_verdict_and_later_ones_do(whole: list[Verdict]) -> None:
    assert all(verdict.score is None and not verdict.alert for verdict in whole[:COMMISSIONING])
    assert all(0 < verdict.p_value <= 1 and verdict.score >= 0 for verdict in whole[COMMISSIONING + 1 :])


def test_a_broken_sensor_is_named_and_is_no_alert() -> None:
    values = recording(step=0.0)
    values[STEP_AT:, 0] = np.nan
    told = verdicts(values)
    assert told[-1].sensor_fault == "flow"
    assert not any(verdict.alert for verdict in told)


@pytest.mark.parametrize(
    ("commissioning", "says"),
    [(1, "rows whose times mostly go forward"), (30, "--commissioning 30: more rows or shorter windows: "),
     (ROWS, f"--commissioning {ROWS}: fewer than the file's {ROWS} rows"), (10**6, "fewer than the file's")],
)  # fmt: skip
def test_commissioning_rows_that_are_too_few_or_all_are_refused(commissioning: int, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        verdicts(recording(), commissioning)


# --- the command --------------------------------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "rig.csv"
    rows = [f"{T0_NS // 10**6 + 200 * i};{';'.join(f'{v:.4f}' for v in row)}" for i, row in enumerate(recording().tolist())]
    path.write_text("time;flow;pressure;temperature\n" + "\n".join(rows) + "\n")
    return path


def test_a_line_for_each_row_and_a_summary(file: Path, tmp_path: Path, whole: list[Verdict]) -> None:
    out = tmp_path / "scores.csv"
    done = CliRunner().invoke(backtest, [str(file), "--commissioning", str(COMMISSIONING), "--out", str(out), "--json"])
    assert done.exit_code == 0, done.output
    rows = list(csv.DictReader(out.open(encoding="utf-8")))
    assert list(rows[0]) == ["time", "score", "p_value", "alert", "sensor_fault", "top_channel"]
    assert [row["time"] for row in rows] == [str(T0_NS // 10**6 + 200 * i) for i in range(ROWS)]
    assert rows[COMMISSIONING - 1]["score"] == ""
    alerts = [int(row["alert"]) for row in rows]
    assert abs(alerts.index(1) - [v.alert for v in whole].index(True)) <= 1
    summary = json.loads(done.stderr)
    assert summary == {
        "rows": ROWS,
        "judged": ROWS - COMMISSIONING,
        "alert_rows": sum(alerts),
        "alerts": 1,
        "sensor_fault_rows": 0,
    }


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--commissioning", "30"], "--commissioning 30: more rows or shorter windows"),
        (["--commissioning", "300", "--profile", "hots"], "profile 'hots': one of"),
        (["--commissioning", "300", "--profile", "fan"], "columns flow, pressure, temperature: some of the profile's speed"),
        (["--commissioning", "300", "--time-column", "tiem"], "column 'tiem': one of time, flow, pressure, temperature"),
        (["--commissioning", "300", "--bundle", "nowhere.bundle"], "nowhere.bundle: cannot be read"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(file: Path, arguments: list[str], says: str) -> None:
    done = CliRunner().invoke(backtest, [str(file), *arguments])
    assert isinstance(done.exception, ConfigError)
    assert says in str(done.exception)


def test_a_bundle_decides_where_it_fits_and_is_refused_where_it_does_not(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(file.parent)
    Path("rig.toml").write_text(
        "name = 'rig'\nchannels = [{ name = 'flow' }, { name = 'pressure' }, { name = 'temperature' }]\n"
        "[windowing]\nrate_hz = 5.0\nwindow_s = 2.0\n[features]\ncross = ['correlation']\n[commissioning]\nwindows = 20\n"
    )
    Path("rig.bundle").write_bytes(bundle())
    command = [str(file), "--commissioning", "300", "--profile", "rig", "--bundle", "rig.bundle"]
    assert "needs feature spec" in str(CliRunner().invoke(backtest, command).exception)
    Path("rig.bundle").write_bytes(BundleParts(profile=load_profile("rig", file.parent)).pack())
    served, alone = CliRunner().invoke(backtest, command), CliRunner().invoke(backtest, command[:-2])
    assert (served.exit_code, alone.exit_code) == (0, 0)
    assert served.stdout.splitlines()[0] == alone.stdout.splitlines()[0]
    assert served.stdout.splitlines()[-1] != alone.stdout.splitlines()[-1]


# --- reading by reading -------------------------------------------------------------------------------------------

HOURLY = [3.0 + 2.0 * (n * 0.618034 % 1.0) for n in range(400)]


@pytest.fixture
def hourly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A temperature each hour, one of them odd."""
    monkeypatch.chdir(tmp_path)
    values = [*HOURLY[:300], 17.5, *HOURLY[300:]]
    lines = [f"{T0_NS // NS_PER_S + 3600 * n},{value:.4f}" for n, value in enumerate(values)]
    Path("store.csv").write_text("time,temperature\n" + "\n".join(lines) + "\n")
    Path("store.toml").write_text(
        'name = "store"\n[windowing]\nrate_hz = 1.0\nwindow_s = 10.0\n[streaming]\nchannels = ["temperature"]\n'
        '[[channels]]\nname = "temperature"\nrate_hz = 0.0002777777777777778\n'
    )
    return tmp_path / "store.csv"


@pytest.mark.parametrize(("options", "row"), [(["--profile", "store"], 300), (["--streaming"], 301)], ids=["rare", "beside"])
def test_an_odd_reading_is_told_when_its_window_closes(hourly: Path, options: list[str], row: int) -> None:
    """Windows of seconds close with the row itself; those of hours, whose ends lie between the rows, with the next one."""
    done = CliRunner().invoke(backtest, [str(hourly), "--commissioning", "150", "--json", "--out", "out.csv", *options])
    assert done.exit_code == 0, done.output
    rows = list(csv.DictReader(Path("out.csv").read_text().splitlines()))
    assert [told["alert"] for told in rows].index("1") == row
    assert rows[row]["top_channel"] == "temperature"
    assert json.loads(done.stderr)["alerts"] >= 1


def test_rows_that_come_too_fast_for_it_are_refused(file: Path, tmp_path: Path) -> None:
    fast = tmp_path / "fast.csv"
    fast.write_text("time,x\n" + "\n".join(f"{T0_NS // 10**6 + 20 * n},{n % 7}" for n in range(200)) + "\n")
    done = CliRunner().invoke(backtest, [str(fast), "--commissioning", "100", "--streaming"])
    assert str(done.exception) == "--streaming: at most 10 rows a second, not 50"
