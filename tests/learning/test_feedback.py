"""What operators say of alerts, and what training makes of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from sqlalchemy import Engine, insert

from hub.audit.log import read_entries
from hub.cli import hub
from hub.settings import init_hub
from hub.state.database import open_state
from hub.state.schema import alerts
from hub.training.feedback import FeedbackError, Label, LabelledSpan, give_feedback, labelled_spans, lay_over


def _alert(engine: Engine, alert_id: str = "a1", device_id: str = "gw-0", opened: int = 100, closed: int | None = 200) -> None:
    row = {"device_id": device_id, "alert_id": alert_id, "asset": "pump-1", "profile": "pump", "detector": "robust"}
    row |= {"severity": "warning", "opened_ns": opened + 7, "closed_ns": closed, "p_value": 1e-6, "score": 9.0, "top": []}
    row |= {"received_ns": 1, "said_opened_ns": opened, "said_closed_ns": closed}
    with engine.begin() as connection:
        connection.execute(insert(alerts).values(row))


def _say(engine: Engine, label: Label, now_ns: int, alert_id: str = "a1", note: str = "") -> None:
    with engine.begin() as connection:
        give_feedback(connection, "gw-0", alert_id, label, actor="user:a", note=note, now_ns=now_ns)


def _spans(engine: Engine, as_of_ns: int) -> list[LabelledSpan]:
    with engine.begin() as connection:
        return labelled_spans(connection, "pump", as_of_ns)


def test_the_latest_word_counts_and_a_run_sees_that_of_its_own_time(engine: Engine) -> None:
    _alert(engine)
    _say(engine, "confirm", 10)
    _say(engine, "false-alarm", 20)
    _say(engine, "maintenance", 5)  # the hub's clock was set back; it is still the latest word
    assert [span.label for at in (9, 10, 20, 30) for span in _spans(engine, at)] == ["confirm", "false-alarm", "maintenance"]
    assert _spans(engine, 30) == [LabelledSpan("gw-0", "pump-1", 100, 200, "maintenance")], "times as the device said them"


def test_feedback_is_in_the_audit_log(engine: Engine) -> None:
    _alert(engine)
    _say(engine, "confirm", 10, note="bearing")
    with engine.begin() as connection:
        (entry,) = read_entries(connection)
    assert (entry.actor, entry.action, entry.subject) == ("user:a", "alert.feedback", "gw-0/a1")
    assert json.loads(entry.details) == {"label": "confirm", "note": "bearing"}


def test_a_word_on_no_alert_is_refused_and_leaves_nothing(engine: Engine) -> None:
    with pytest.raises(FeedbackError, match="no alert 'nope' of 'gw-0'"):
        _say(engine, "confirm", 10, alert_id="nope")
    with engine.begin() as connection:
        assert read_entries(connection) == []


def test_windows_that_touch_a_span_have_its_label_and_a_fault_outranks_the_others() -> None:
    spans = [LabelledSpan("a", "p", 10, 30, "confirm"), LabelledSpan("a", "p", 0, 2**62, "false-alarm")]
    starts = np.array([0, 10, 25, 30, 10])
    labels = lay_over(spans, np.array(["a", "a", "a", "a", "b"]), np.full(5, "p"), starts, starts + 10)
    assert labels.tolist() == ["false-alarm", "confirm", "confirm", "false-alarm", ""]


def test_the_command_says_it_and_asks_whose_alert_it_is(tmp_path: Path) -> None:
    engine = open_state(init_hub(tmp_path).state_url)
    _alert(engine)
    data = ["--data", str(tmp_path)]
    assert CliRunner().invoke(hub, ["feedback", "a1", "confirm", *data]).stdout == "gw-0/a1: confirm\n"
    _alert(engine, device_id="gw-1")
    assert "gw-0, gw-1: say which with --device" in CliRunner().invoke(hub, ["feedback", "a1", "confirm", *data]).stderr
    assert CliRunner().invoke(hub, ["feedback", "a1", "confirm", "--device", "gw-1", *data]).exit_code == 0
    assert "no such alert" in CliRunner().invoke(hub, ["feedback", "zz", "confirm", *data]).stderr
    assert [span.device_id for span in _spans(engine, 2**62)] == ["gw-0", "gw-1"]
    engine.dispose()
