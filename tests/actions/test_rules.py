"""Rules in virtual time: which fires when, and what holds it back."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.actions.event import Event, event_of
from agent.actions.rules import Decision, RuleBook, matches
from models.contract.clock import NS_PER_S
from tests.actions.conftest import alert, alert_event, fault_event, rule

HOUR_S = 3600


def at(book: RuleBook, now_s: float, event: Event | None = None, commissioning: tuple[str, ...] = ()) -> Decision:
    (decision,) = book.decide(event or alert_event(), commissioning, round(now_s * NS_PER_S))
    return decision


@pytest.mark.parametrize(
    ("settings", "event", "fires"),
    [
        ({}, alert_event(), True),
        ({}, fault_event(), False),
        ({"on": "sensor_fault"}, fault_event(), True),
        ({"on": "sensor_fault"}, alert_event(), False),
        ({"severity": "critical"}, alert_event(severity="warning"), False),
        ({"severity": "critical"}, alert_event(severity="critical"), True),
        ({"severity": "warning"}, alert_event(severity="critical"), True),
        ({"on": "sensor_fault", "severity": "critical"}, fault_event(fault="stuck"), True),
        ({"on": "sensor_fault", "severity": "critical"}, fault_event(fault="spike"), False),
        ({"on": "sensor_fault", "faults": ["missing"]}, fault_event(fault="stuck"), False),
        ({"on": "sensor_fault", "faults": ["missing", "stuck"]}, fault_event(fault="stuck"), True),
        ({"assets": ["rig-1"]}, alert_event(), True),
        ({"assets": ["rig-2"]}, alert_event(), False),
        ({"on": "sensor_fault", "assets": ["rig-1"]}, fault_event(asset="", source="line", fault="link"), False),
        ({"on": "sensor_fault"}, fault_event(asset="", source="line", fault="link"), True),
        ({}, alert_event(closed_ns=1), False),
        ({"when": ["closed"]}, alert_event(closed_ns=1), True),
        ({"when": ["closed"]}, alert_event(), False),
        ({"when": ["opened", "closed"]}, alert_event(closed_ns=1), True),
    ],
)
def test_a_rule_fires_for_what_it_names_and_for_nothing_else(settings: dict[str, Any], event: Event, fires: bool) -> None:
    assert matches(rule(**settings), event) is fires
    assert len(RuleBook([rule(**settings)]).decide(event, (), 0)) == fires


def test_each_rule_that_matches_decides_for_itself_in_order() -> None:
    book = RuleBook([rule(name="a"), rule(name="b", on="sensor_fault"), rule(name="c", dry_run=True)])
    assert [(d.rule, d.verdict) for d in book.decide(alert_event(), (), 0)] == [("a", "act"), ("c", "dry_run")]


def test_an_alert_by_a_single_reading_is_acted_on_although_the_windows_are_still_learned() -> None:
    book = RuleBook([rule()])
    assert at(book, 0, commissioning=("rig-1",)).verdict == "suppressed"
    single = alert_event(detector="streaming", detail="17.5 degC; the nearest ever seen is 5.1 degC")
    assert at(book, 0, single, commissioning=("rig-1",)).verdict == "act"
    assert single.text.endswith("; 17.5 degC; the nearest ever seen is 5.1 degC")


def test_nothing_is_done_while_the_asset_is_commissioning() -> None:
    book = RuleBook([rule(on="sensor_fault")])
    decision = at(book, 0, fault_event(), commissioning=("rig-1",))
    assert (decision.verdict, decision.reason) == ("suppressed", "commissioning: rig-1 is still learning its normal")
    assert at(book, 0, fault_event(), commissioning=("rig-2",)).verdict == "act"


def test_a_whole_sources_fault_waits_for_every_asset_to_be_commissioned() -> None:
    book = RuleBook([rule(on="sensor_fault")])
    event = fault_event(asset="", channel="", source="line", fault="link")
    assert at(book, 0, event, commissioning=("rig-2",)).verdict == "suppressed"
    assert at(book, 0, event).verdict == "act"


def test_the_interlock_lets_go_exactly_when_its_time_is_over() -> None:
    book = RuleBook([rule(min_interval_s=60)])
    assert at(book, 0).verdict == "act"
    held = at(book, 59.9)
    assert (held.verdict, held.reason) == ("suppressed", "interlock: acted 59.9 s ago, min_interval_s is 60")
    assert at(book, 60).verdict == "act"


def test_what_was_suppressed_does_not_prolong_the_interlock() -> None:
    book = RuleBook([rule(min_interval_s=60)])
    assert [at(book, t).verdict for t in (0, 30, 59, 61)] == ["act", "suppressed", "suppressed", "act"]


def test_the_interlock_counts_by_asset_only_where_the_rule_says_so() -> None:
    other = alert_event(asset="rig-2")
    strict, by_asset = RuleBook([rule(min_interval_s=60)]), RuleBook([rule(min_interval_s=60, per="asset")])
    for book in (strict, by_asset):
        assert at(book, 0).verdict == "act"
    assert at(strict, 1, other).verdict == "suppressed"
    assert at(by_asset, 1, other).verdict == "act"
    assert at(by_asset, 2).verdict == "suppressed"


def test_the_rate_limit_counts_any_sixty_minutes_not_the_hours_of_the_clock() -> None:
    book = RuleBook([rule(min_interval_s=0, max_per_hour=3)])
    times = [(0, "act"), (3000, "act"), (3500, "act"), (3599, "suppressed"), (3600, "act"), (3601, "suppressed"), (6600, "act")]
    assert [at(book, t).verdict for t, _ in times] == [verdict for _, verdict in times]
    assert at(book, 6601).reason == "rate limit: acted 3 times within the hour"


def test_a_dry_run_is_held_back_like_the_action_itself() -> None:
    book = RuleBook([rule(min_interval_s=60, dry_run=True)])
    assert [at(book, t).verdict for t in (0, 30, 60)] == ["dry_run", "suppressed", "dry_run"]


def test_an_alert_that_worsens_is_news_to_critical_rules_only() -> None:
    worsened = event_of(alert(severity="critical"), "gw-1", worsened_ns=5)
    assert matches(rule(severity="critical"), worsened)
    assert not matches(rule(severity="warning"), worsened)


def test_what_happened_too_long_ago_is_let_pass_if_the_clock_can_tell() -> None:
    book = RuleBook([rule(max_age_s=60, min_interval_s=0)])
    event = alert_event()
    minute_later_ns = event.at_ns + 60 * NS_PER_S
    assert book.decide(event, (), 0, minute_later_ns)[0].verdict == "act"
    (late,) = book.decide(event, (), 0, minute_later_ns + NS_PER_S)
    assert (late.verdict, late.reason) == ("suppressed", "too old: of 61 s ago, max_age_s is 60")
    assert book.decide(event, (), 0, None)[0].verdict == "act"
    assert RuleBook([rule()]).decide(event, (), 0, 10**19)[0].verdict == "act"


def restarted(book: RuleBook, settings: dict[str, Any], boot_id: str, new_boot_id: str, now_s: float) -> RuleBook:
    new = RuleBook([rule(**settings)])
    new.restore("siren", book.past("siren", boot_id), new_boot_id, round(now_s * NS_PER_S))
    return new


def test_interlock_and_rate_limit_survive_a_restart() -> None:
    settings = {"min_interval_s": 60, "max_per_hour": 2}
    book = RuleBook([rule(**settings)])
    assert [at(book, t).verdict for t in (1000, 1100)] == ["act", "act"]
    new = restarted(book, settings, "boot", "boot", 1130)
    assert [at(new, t).verdict for t in (1140, 1160, 4599, 4600)] == ["suppressed", "suppressed", "suppressed", "act"]


def test_after_a_reboot_it_is_as_if_no_time_had_passed() -> None:
    settings = {"min_interval_s": 60, "max_per_hour": 5}
    book = RuleBook([rule(**settings)])
    assert at(book, 100_000).verdict == "act"
    new = restarted(book, settings, "boot-1", "boot-2", 20)
    assert [at(new, t).verdict for t in (30, 79, 80)] == ["suppressed", "suppressed", "act"]


def test_a_past_from_the_future_does_not_hold_for_ever() -> None:
    settings = {"min_interval_s": 60}
    book = RuleBook([rule(**settings)])
    assert at(book, 10**6).verdict == "act"
    new = restarted(book, settings, "boot", "boot", 5)
    assert [at(new, t).verdict for t in (64, 65)] == ["suppressed", "act"]


STEPS = st.lists(
    st.tuples(
        st.floats(0, 2000),
        st.sampled_from(["rig-1", "rig-2", "rig-3"]),
        st.booleans(),
        st.sampled_from(["", "restart", "reboot"]),
    ),
    max_size=60,
)


@given(STEPS, st.sampled_from([0, 1, 10, 600, 5000]), st.integers(1, 6), st.sampled_from(["rule", "asset"]), st.booleans())
def test_no_sequence_of_events_and_restarts_breaks_the_interlock_or_the_rate_limit(
    steps: list[tuple[float, str, bool, str]], min_interval_s: float, max_per_hour: int, per: str, dry_run: bool
) -> None:
    """Time is the device's running time; a reboot starts the monotonic clock anew."""
    settings = {"min_interval_s": min_interval_s, "max_per_hour": max_per_hour, "per": per, "dry_run": dry_run}
    book, now_ns, boot, boot_began_ns = RuleBook([rule(**settings)]), 0, 0, 0
    acts: list[tuple[int, str]] = []
    for wait_s, asset, commissioning, interruption in steps:
        now_ns += round(wait_s * NS_PER_S)
        if interruption:
            past = book.past("siren", str(boot))
            boot, boot_began_ns = (boot + 1, now_ns) if interruption == "reboot" else (boot, boot_began_ns)
            book = RuleBook([rule(**settings)])
            book.restore("siren", past, str(boot), now_ns - boot_began_ns)
        (decision,) = book.decide(alert_event(asset=asset), ("rig-1",) if commissioning else (), now_ns - boot_began_ns)
        assert (decision.verdict == "suppressed") == bool(decision.reason)
        if decision.verdict != "suppressed":
            assert decision.verdict == ("dry_run" if dry_run else "act")
            assert not (commissioning and asset == "rig-1")
            acts.append((now_ns, asset))
    for i, (later_ns, asset) in enumerate(acts):
        rivals = [ns for ns, other in acts[:i] if per == "rule" or other == asset]
        assert all(later_ns - ns >= min_interval_s * NS_PER_S for ns in rivals)
        assert sum(later_ns - ns < HOUR_S * NS_PER_S for ns, _ in acts[:i]) < max_per_hour


@given(st.lists(st.floats(0, 4000), min_size=1, max_size=40), st.sampled_from([0, 5, 700]), st.integers(1, 5))
def test_nothing_is_suppressed_without_need(waits_s: list[float], min_interval_s: float, max_per_hour: int) -> None:
    """Against the plainest model there is: all times of all acts, looked through each time."""
    book, now_ns, acts = RuleBook([rule(min_interval_s=min_interval_s, max_per_hour=max_per_hour)]), 0, []
    for wait_s in waits_s:
        now_ns += round(wait_s * NS_PER_S)
        free = not acts or now_ns - acts[-1] >= min_interval_s * NS_PER_S
        allowed = free and sum(now_ns - ns < HOUR_S * NS_PER_S for ns in acts) < max_per_hour
        (decision,) = book.decide(alert_event(), (), now_ns)
        assert (decision.verdict == "act") == allowed
        acts += [now_ns] * allowed
