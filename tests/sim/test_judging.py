"""What alerts are judged to be worth: every rule on small truths, and the whole command on what the agent really told."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Iterable
from pathlib import Path

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner

from agent.asset import AssetWatch
from agent.pipeline import Pipeline
from firmware_sim.cli import sim
from firmware_sim.judging.judge import MONTH_S, judge
from firmware_sim.judging.picture import timeline
from firmware_sim.judging.told import Told, ToldAlert, ToldFault, read_told
from firmware_sim.scenario import load_scenario
from firmware_sim.truth import Observed, TruthEvent, read_observed, read_truth
from firmware_sim.virtual import make_nodes, play_virtual
from models.contract.clock import NS_PER_S
from models.contract.config import load_profile
from models.contract.items import Alert, SensorFault
from models.contract.reading import Block
from models.errors import ConfigError


def fault(start_s: float, end_s: float | None, what: str = "blockage", kind: str = "machine", **more: object) -> TruthEvent:
    end_ns = None if end_s is None else round(end_s * NS_PER_S)
    fields = {"asset": "p", "channel": None, "fault": what, "kind": kind, "severity": 1.0, "shows_in": ("flow",)} | more
    return msgspec.convert(fields | {"start_ns": round(start_s * NS_PER_S), "end_ns": end_ns}, TruthEvent)


def alert(at_s: float, top: str = "flow", asset: str = "p") -> ToldAlert:
    return ToldAlert(asset=asset, opened_ns=round(at_s * NS_PER_S), closed_ns=round((at_s + 60) * NS_PER_S), top=[(top, 1.0)])


def told_fault(at_s: float, what: str, channel: str = "", source: str = "", asset: str = "p") -> ToldFault:
    opened_ns = round(at_s * NS_PER_S)
    return ToldFault(fault=what, opened_ns=opened_ns, closed_ns=opened_ns, asset=asset, channel=channel, source=source)


def month(asset: str = "p") -> Observed:
    return Observed(asset=asset, profile="pump", start_ns=0, end_ns=round(MONTH_S * NS_PER_S))


def test_the_first_alert_from_onset_to_shortly_after_the_end_finds_a_fault() -> None:
    for at_s, delay_s in [(99.0, None), (100.0, 0.0), (150.0, 50.0), (320.0, 220.0), (321.0, None)]:
        judged = judge([fault(100, 200)], Told([alert(at_s)]), grace_s=120)
        assert judged.machine[0].delay_s == delay_s
        assert len(judged.false_alarms) == (delay_s is None)


def test_further_alerts_of_the_same_fault_are_neither_found_twice_nor_false() -> None:
    judged = judge([fault(100, 200)], Told([alert(110, "flow"), alert(150, "current")]))
    assert (judged.machine[0].delay_s, judged.machine[0].top_channel, len(judged.false_alarms)) == (10.0, "flow", 0)


def test_an_alert_of_another_asset_finds_nothing() -> None:
    judged = judge([fault(100, 200)], Told([alert(110, asset="q")]))
    assert (judged.recall, len(judged.false_alarms)) == (0.0, 1)


def test_a_fault_that_has_not_ended_is_found_at_any_time() -> None:
    assert judge([fault(100, None)], Told([alert(1e6)])).recall == 1.0


def test_attribution_is_right_where_the_fault_shows_in_the_first_channel() -> None:
    events = [fault(100, 200), fault(1000, 1100), fault(2000, 2100), fault(3000, 3100, shows_in=())]
    judged = judge(events, Told([alert(110, "flow"), alert(1010, "current"), alert(3010)]))
    assert [found.attributed for found in judged.machine] == [True, False, None, None]
    assert judged.attribution == 0.5


def test_what_is_said_in_maintenance_is_excused_and_the_time_is_not_watched() -> None:
    maintained = fault(100, 200, "maintenance", "maintenance", shows_in=(), severity=0.0)
    said = Told(
        [alert(90), alert(110), alert(310), alert(330)], [told_fault(120, "stuck", "flow"), told_fault(900, "stuck", "flow")]
    )
    judged = judge([fault(105, 400), maintained], said, [month()], grace_s=120)
    assert [told.opened_ns // NS_PER_S for told in judged.excused] == [110, 310]
    assert (judged.machine[0].delay_s, [false.alert.opened_ns // NS_PER_S for false in judged.false_alarms]) == (225.0, [90])
    assert [told.opened_ns // NS_PER_S for told in judged.for_nothing] == [900]
    assert judged.observed_s == {"p": MONTH_S - 100}
    assert "maintenance" in timeline([maintained], said, ["p"], 0, 10**12)


def test_an_alarm_while_a_sensor_fails_is_false_and_said_to_be_so() -> None:
    judged = judge([fault(100, 200, "stuck", "sensor", channel="flow")], Told([alert(110), alert(900)]))
    assert [false.during for false in judged.false_alarms] == [("stuck",), ()]
    assert judged.sensors[0].alarmed


def test_a_sensor_fault_is_named_by_what_is_told_of_its_place() -> None:
    events = [
        fault(100, 200, "stuck", "sensor", channel="flow"),
        fault(100, 200, "dropout", "sensor"),
        fault(100, 200, "torn_frames", "link"),
        fault(100, 200, "noise", "sensor", channel="current"),
    ]
    told = [
        told_fault(150, "stuck", "flow"),
        told_fault(150, "link", source="line-p", asset=""),
        told_fault(5000, "noise", "current"),
        told_fault(150, "spike", "flow", asset="q"),
    ]
    judged = judge(events, Told([], told))
    assert [failure.named for failure in judged.sensors] == [("stuck",), ("stuck",), ("link",), ()]
    assert [(found.asset, found.fault) for found in judged.for_nothing] == [("p", "noise"), ("q", "spike")]
    assert judged.confusion() == {
        "stuck": {"stuck": 1},
        "dropout": {"stuck": 1},
        "torn_frames": {"link": 1},
        "noise": {"none": 1},
    }


def test_a_sensor_fault_that_is_told_while_the_machine_fails_is_not_told_for_nothing() -> None:
    assert judge([fault(100, 200)], Told([], [told_fault(110, "step", "flow")])).for_nothing == []


@pytest.mark.parametrize(("n", "bound"), [(0, 3.0), (1, 4.744), (10, 16.962)])  # chi-squared(0.95, 2n + 2) / 2; rule of three
def test_false_alarms_are_told_per_asset_and_month_with_a_bound(n: int, bound: float) -> None:
    judged = judge([], Told([alert(i * 1000.0) for i in range(n)]), [month("p"), month("q")])
    assert judged.asset_months == pytest.approx(2.0)
    assert judged.false_alarms_per_month == (pytest.approx(n / 2), pytest.approx(bound / 2, rel=0.01))


def test_without_spans_there_is_no_rate_and_without_faults_no_recall() -> None:
    judged = judge([], Told([alert(1)]))
    assert (judged.false_alarms_per_month, judged.recall, judged.attribution, judged.delays_s) == (None, None, None, [])


def test_the_picture_is_xml_with_a_bar_for_each_event_and_names_as_text() -> None:
    hostile = '<script>"&'
    events = [fault(100, 200, asset=hostile), fault(300, None, "stuck", "sensor", channel="flow")]
    svg = timeline(events, Told([alert(110)], [told_fault(310, "stuck", "flow")]), ["p", hostile], 0, 1000 * NS_PER_S)
    root = ET.fromstring(svg)
    space = "{http://www.w3.org/2000/svg}"
    assert hostile in [text.text for text in root.iter(f"{space}text")]
    titles = [title.text for title in root.iter(f"{space}title")]
    assert titles[1:] == ["stuck of flow", "told: stuck flow", "alert: flow", "blockage"]


def watched(scenario: str, out: Path) -> Path:
    """The scenario through the agent's own pipeline, machine by machine; what it told, as the hub lists it."""
    plan = load_scenario(scenario)
    alerts: dict[str, Alert] = {}
    faults: dict[str, SensorFault] = {}
    for asset in plan.assets:
        node = make_nodes(plan, plan.virtual_start_ns)[asset.name]
        pipeline = Pipeline([AssetWatch(asset.name, load_profile(asset.profile))])
        assert plan.duration_s is not None
        for _ in range(int(plan.duration_s / 10)):
            samples = node.take(round(10 * asset.sampled_hz))
            columns = zip(samples.channels, samples.values.T, strict=True)
            blocks = [Block(asset.name, name, samples.time_ns, values) for name, values in columns if np.isfinite(values).all()]
            for body in pipeline.handle(blocks, 0).bodies:
                if isinstance(body, Alert):
                    alerts[body.alert_id] = body
                elif isinstance(body, SensorFault):
                    faults[body.fault_id] = body
    path = out / "told.jsonl"
    path.write_bytes(b"".join(msgspec.json.encode(body) + b"\n" for body in [*alerts.values(), *faults.values()]))
    return path


def test_the_command_judges_a_scenario_that_the_agent_has_watched(tmp_path: Path) -> None:
    play_virtual(load_scenario("commissioning"), tmp_path)
    told = watched("commissioning", tmp_path)
    command = ["judge", str(tmp_path / "truth.jsonl"), str(told), "--out", str(tmp_path / "judged")]
    result = CliRunner().invoke(sim, [*command, "--json"])
    assert result.exit_code == 0, result.output
    figures = json.loads(result.output)
    assert (figures["recall"], figures["attribution"], figures["false_alarms"]) == (1.0, 1.0, [])
    assert figures["delay_s"]["worst"] < 60
    assert figures["asset_months"] == pytest.approx(3 * 2400 / MONTH_S)
    assert json.loads((tmp_path / "judged" / "judgement.json").read_text()) == figures
    ET.fromstring((tmp_path / "judged" / "timeline.svg").read_text())
    shown = CliRunner().invoke(sim, command).output
    assert "machine faults found: 3 of 3" in shown
    assert "false alarms: 0 in 0.00278 asset-months" in shown


def test_spans_and_channels_are_in_the_truth_of_a_run(tmp_path: Path) -> None:
    play_virtual(load_scenario("commissioning"), tmp_path)
    assert [(span.asset, span.end_ns - span.start_ns) for span in read_observed(tmp_path / "truth.jsonl")] == [
        (name, 2400 * NS_PER_S) for name in ("pump-1", "motor-1", "fan-1")
    ]
    assert read_truth(tmp_path / "truth.jsonl")[0].shows_in == ("flow", "pressure", "current")


def write(path: Path, lines: Iterable[str]) -> Path:
    path.write_text("\n".join(lines))
    return path


def test_what_was_told_is_read_from_arrays_and_from_lines(tmp_path: Path) -> None:
    one = '{"asset":"p","opened_ns":5,"closed_ns":null,"top":[["flow",0.5]],"detector":"baseline","severity":"warning"}'
    two = '{"fault":"stuck","opened_ns":3,"closed_ns":9,"asset":"p","channel":"flow","fault_id":"x"}'
    told = read_told([write(tmp_path / "a", [f"[{one},{two}]"]), write(tmp_path / "b", [two, "", one])])
    assert ([found.opened_ns for found in told.alerts], [found.fault for found in told.faults]) == ([5, 5], ["stuck", "stuck"])
    assert read_told([write(tmp_path / "c", [])]) == Told()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("no json", "a JSON array of objects, or an object a line"),
        ('[{"asset":"p"}]', r"entry 1.*an alert or a sensor fault.*opened_ns"),
        ('{"asset":"p","opened_ns":1}\n{"asset":"p","opened_ns":-1}', r"line 2.*>= 0"),
        ("[1]", "a JSON array of objects"),
    ],
)
def test_what_is_no_list_of_alerts_is_refused_by_file_and_place(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=rf"told.json.*{complaint}"):
        read_told([write(tmp_path / "told.json", [text])])


def test_a_truth_that_is_none_is_refused_by_its_line(tmp_path: Path) -> None:
    good = '{"kind":"observed","asset":"p","profile":"pump","start_ns":0,"end_ns":1}'
    with pytest.raises(ConfigError, match=r"truth\.jsonl: line 2.*ground truth"):
        read_truth(write(tmp_path / "truth.jsonl", [good, '{"kind":"machine"}']))
