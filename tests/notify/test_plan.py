"""What is told of an incident and when, in virtual time."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.notify.config import Escalation, Quiet, Rule
from hub.notify.message import message
from hub.notify.plan import Member, Situation, StepKey, Told, due, free_at_ns, is_quiet, pointless, retry_after_ns

S = 1_000_000_000
MIN = 60 * S
T0 = 1_800_000_000 * S
GATHER_S = 30.0
RULE = Rule(name="all", to=["ops"], escalate=[Escalation(after_min=10, to=["boss"]), Escalation(after_min=30, to=["chief"])])
ONE = Member("gw-1", "a1", "pump-1", "pump", "lyon", "warning", T0, None, 1e-6, (("flow", 0.7),), None)
INCIDENT = Situation("gw-1/a1", T0, (ONE,))


def changed(situation: Situation = INCIDENT, **values: object) -> Situation:
    return replace(situation, members=tuple(replace(member, **values) for member in situation.members))  # type: ignore[arg-type]


def steps(
    situation: Situation, told: dict[StepKey, Told], at_s: float, rule: Rule = RULE, over_s: float | None = None
) -> list[StepKey]:
    over_ns = None if over_s is None else T0 + int(over_s * S)
    return due(rule, situation, told, gather_s=GATHER_S, over_since_ns=over_ns, now_ns=T0 + int(at_s * S))


def sent(at_s: float, critical: bool = False) -> Told:
    return Told(T0 + int(at_s * S), critical, "sent")


def test_an_incident_is_told_once_its_alerts_are_gathered_and_only_once() -> None:
    assert steps(INCIDENT, {}, 29.9) == []
    assert steps(INCIDENT, {}, 30) == [("opened", "ops")]
    assert steps(INCIDENT, {("opened", "ops"): Told(T0, False, "waiting")}, 31) == []


def test_what_closes_before_it_is_told_is_not_told_at_all() -> None:
    closed = changed(closed_ns=T0 + 20 * S)
    assert steps(closed, {}, 300, over_s=20) == []
    assert pointless("opened", closed) == "over before it could be told"
    assert pointless("opened", INCIDENT) == ""


@pytest.mark.parametrize(
    ("filters", "wanted"),
    [
        ({}, True),
        ({"severities": ["warning"], "sites": ["lyon"], "profiles": ["pump"]}, True),
        ({"severities": ["critical"]}, False),
        ({"sites": ["brest"]}, False),
        ({"profiles": ["fan", "motor"]}, False),
    ],
)
def test_a_rule_is_about_alerts_that_pass_all_of_its_filters(filters: dict[str, list[str]], wanted: bool) -> None:
    rule = Rule(name="r", to=["ops"], **filters)  # type: ignore[arg-type]
    assert bool(steps(INCIDENT, {}, 60, rule)) == wanted


def test_filters_are_about_one_alert_not_about_several_together() -> None:
    other = replace(ONE, alert_id="a2", severity="critical", site="brest")
    rule = Rule(name="r", to=["ops"], severities=["critical"], sites=["lyon"])
    assert steps(replace(INCIDENT, members=(ONE, other)), {}, 60, rule) == []


def test_nobody_on_it_is_told_to_the_next_counted_from_the_first_message() -> None:
    told = {("opened", "ops"): sent(100)}
    assert steps(INCIDENT, told, 100 + 599) == []
    assert steps(INCIDENT, told, 100 + 600) == [("escalation-1", "boss")]
    told["escalation-1", "boss"] = sent(700)
    assert steps(INCIDENT, told, 100 + 1799) == []
    assert steps(INCIDENT, told, 100 + 1800) == [("escalation-2", "chief")]


def test_who_acknowledges_stops_escalation_even_of_what_waits() -> None:
    taken = changed(acknowledged_by="user:ann")
    assert steps(taken, {("opened", "ops"): sent(30)}, 7200) == []
    assert pointless("escalation-1", taken) == "acknowledged before it could be told"


def test_a_warning_that_becomes_critical_is_told_again_once() -> None:
    critical = changed(severity="critical")
    told = {("opened", "ops"): sent(30)}
    assert steps(critical, told, 40) == [("worse", "ops")]
    told["worse", "ops"] = sent(40, critical=True)
    assert steps(critical, told, 50) == []
    assert steps(critical, {("opened", "ops"): sent(30, critical=True)}, 50) == []


def test_recovery_is_told_to_those_who_were_told_once_it_has_been_over_for_a_while() -> None:
    closed = changed(closed_ns=T0 + 900 * S)
    told = {
        ("opened", "ops"): sent(30),
        ("escalation-1", "boss"): sent(700),
        ("escalation-2", "chief"): Told(T0, False, "failed"),
    }
    assert steps(closed, told, 929, over_s=900) == []
    assert steps(closed, told, 930, over_s=900) == [("recovered", "boss"), ("recovered", "ops")]
    silent = Rule(name="r", to=["ops"], recovered=False)
    assert steps(closed, told, 930, silent, over_s=900) == []
    assert pointless("recovered", INCIDENT) == "rings again"


NIGHT = Quiet(start="22:00", end="06:30", zone="Europe/Paris")


def paris(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo("Europe/Paris")).timestamp()) * S


@pytest.mark.parametrize(
    ("when", "quiet"),
    [
        ("2026-07-01 21:59", False),
        ("2026-07-01 22:00", True),
        ("2026-07-02 03:00", True),
        ("2026-07-02 06:29", True),
        ("2026-07-02 06:30", False),
        ("2026-12-01 22:00", True),  # winter time: another hour in UTC, the same on the wall
        ("2026-12-01 21:59", False),
        ("2026-03-29 03:30", True),  # the night in which an hour is missing
    ],
)
def test_quiet_hours_are_those_of_the_clock_on_the_wall(when: str, quiet: bool) -> None:
    assert is_quiet(NIGHT, paris(when)) == quiet


def test_quiet_hours_within_a_day() -> None:
    noon = Quiet(start="12:00", end="13:00")
    assert [is_quiet(noon, paris(f"2026-07-01 {hour}:30")) for hour in (13, 14, 15)] == [False, True, False]


def at(when: str, severity: str, rule: Rule, told: dict[StepKey, Told] | None = None) -> list[StepKey]:
    situation = replace(changed(severity=severity), noticed_ns=paris("2026-07-01 22:30"))
    return due(rule, situation, told or {}, gather_s=GATHER_S, over_since_ns=None, now_ns=paris(when))


def test_quiet_hours_keep_warnings_until_they_end_and_let_critical_ones_pass_if_so_wished() -> None:
    rule = Rule(name="r", to=["ops"], quiet=NIGHT)
    assert at("2026-07-02 02:00", "warning", rule) == []
    assert at("2026-07-02 06:30", "warning", rule) == [("opened", "ops")]
    assert at("2026-07-02 02:00", "critical", rule) == [("opened", "ops")]
    strict = Rule(name="r", to=["ops"], quiet=Quiet(start="22:00", end="06:30", zone="Europe/Paris", critical_passes=False))
    assert at("2026-07-02 02:00", "critical", strict) == []


def test_escalation_after_a_quiet_night_counts_from_the_morning() -> None:
    rule = Rule(name="r", to=["ops"], quiet=NIGHT, escalate=[Escalation(after_min=10, to=["boss"])])
    told = {("opened", "ops"): Told(paris("2026-07-02 06:30"), False, "sent")}
    assert at("2026-07-02 06:39", "warning", rule, told) == []
    assert at("2026-07-02 06:40", "warning", rule, told) == [("escalation-1", "boss")]


@given(st.lists(st.floats(0, 20_000), max_size=40), st.booleans(), st.integers(0, 20_000), st.integers(0, 20_000))
def test_whenever_it_is_looked_a_step_goes_to_a_target_once(
    looks_s: list[float], critical: bool, closes_s: int, acknowledged_s: int
) -> None:
    told: dict[StepKey, Told] = {}
    decided: list[StepKey] = []
    for at_s in sorted(looks_s):
        over_s = closes_s if at_s >= closes_s else None
        now = changed(
            severity="critical" if critical and at_s > 500 else "warning",
            closed_ns=None if over_s is None else T0 + closes_s * S,
            acknowledged_by="user:ann" if at_s >= acknowledged_s else None,
        )
        for step in steps(now, told, at_s, over_s=over_s):
            decided.append(step)
            told[step] = sent(at_s, critical=now.is_critical)
    assert len(decided) == len(set(decided))
    names = [step for step, _ in decided]
    assert not names or names[0] == "opened"
    assert names.count("recovered") in (0, len({target for step, target in decided if step != "recovered"}))


def test_tries_go_apart_and_are_bounded() -> None:
    waits_s = [retry_after_ns(n) // S for n in range(1, 12)]
    assert waits_s[:5] == [15, 30, 60, 120, 240]
    assert waits_s[-1] == 1800
    assert retry_after_ns(10_000) // S == 1800


def test_a_target_gets_so_many_an_hour() -> None:
    hour = 3600 * S
    sent_ns = [T0 - 2 * hour, T0 - 50 * MIN, T0 - 40 * MIN, T0 - 10 * MIN]
    assert free_at_ns(sent_ns, 4, T0) == T0
    assert free_at_ns(sent_ns, 3, T0) == T0 + 10 * MIN
    assert free_at_ns(sent_ns, 1, T0) == T0 + 50 * MIN


def test_three_hundred_alerts_are_one_message_with_a_few_of_them_named() -> None:
    members = tuple(replace(ONE, alert_id=f"a{n}", device_id=f"gw-{n}") for n in range(300))
    told = message("7-1", "opened", "all", replace(INCIDENT, members=members), "https://hub.example")
    assert told.subject == "warning: lyon: 300 alerts together"
    assert "and 280 more" in told.text
    assert len(told.document["alerts"]) == 20
    assert told.document["url"] == "https://hub.example/alerts?q=lyon"


def test_what_the_device_says_of_an_alert_is_told_with_it() -> None:
    told = message("7-1", "opened", "all", changed(detail="17.5 degC; the nearest ever seen is 5.1 degC"), "")
    assert told.text.count("17.5 degC; the nearest ever seen is 5.1 degC") == 1
    assert told.document["alerts"][0]["detail"] == "17.5 degC; the nearest ever seen is 5.1 degC"
    assert "acknowledged_by" not in told.document["alerts"][0]


def test_names_cannot_break_a_message_s_lines() -> None:
    hostile = changed(asset="pump\r\nBcc: everybody@example.com\x1b[2J", site="ly\non", device_id="g\nw", detail="a\nb")
    told = message("7-1", "opened", "all", hostile, "")
    assert "\n" not in told.subject
    assert "\r" not in told.subject
    assert "\x1b" not in told.text
    assert len(told.text.splitlines()) == 3
