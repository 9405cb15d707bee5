"""Events: what actors are told, and how texts name parts of it."""

from __future__ import annotations

import msgspec
import pytest

from agent.actions.event import Event, check_template, fill
from tests.actions.conftest import alert_event, fault_event


def test_an_alert_says_what_where_and_why() -> None:
    event = alert_event(7)
    assert (event.kind, event.edge, event.event_id, event.asset) == ("alert", "opened", "rig-1-7", "rig-1")
    assert event.text == "warning alert opened: rig-1, flow 80%, pressure 20% (p=1e-06)"


def test_a_closing_event_has_the_id_of_the_opening_one() -> None:
    opened, closed = alert_event(7), alert_event(7, closed_ns=5)
    assert (closed.edge, closed.event_id) == ("closed", opened.event_id)


def test_a_fault_that_blinds_a_channel_is_critical_and_others_are_warnings() -> None:
    severity = {fault: fault_event(fault=fault).severity for fault in ("stuck", "missing", "spike", "out_of_range", "link")}
    assert severity == {
        "stuck": "critical",
        "missing": "critical",
        "spike": "warning",
        "out_of_range": "warning",
        "link": "warning",
    }


def test_a_text_is_filled_and_other_braces_stay() -> None:
    event = alert_event()
    assert fill('{"on": {"asset": "{asset}", "p": {p_value}, "x": "{closed_ns}{test}{nothing}"}}', event) == (
        '{"on": {"asset": "rig-1", "p": 1e-06, "x": "false{nothing}"}}'
    )


def test_what_a_part_says_is_not_filled_again() -> None:
    assert fill("{detail}", fault_event(detail="{device}")) == "{device}"


def test_a_misspelt_part_is_refused() -> None:
    with pytest.raises(ValueError, match=r"payload: \{asst\} is no part of an event; expected one of device, kind, edge"):
        check_template("payload", "pump {asst}")


def test_an_event_survives_json() -> None:
    event = fault_event(detail='quotes " and ümläuts')
    assert msgspec.json.decode(msgspec.json.encode(event), type=Event) == event
