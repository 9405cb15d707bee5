"""Which alerts are one incident."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from hub.alerts.incidents import MAX_S, NEAR_S, SITE_S, Incident, grouped

S = 1_000_000_000


@dataclass(frozen=True)
class Rang:
    device_id: str
    alert_id: str
    site: str
    profile: str
    opened_ns: int


def rang(device: str, at_s: float, site: str = "lyon", profile: str = "pump", name: str = "") -> Rang:
    return Rang(device, name or f"{device}-{at_s}", site, profile, int(at_s * S))


def sizes(*alerts: Rang) -> list[int]:
    return [len(incident.alerts) for incident in grouped(alerts)]


def test_alerts_of_a_device_are_together_within_five_minutes_and_not_after() -> None:
    assert sizes(rang("a", 0, profile="pump"), rang("a", NEAR_S, profile="fan")) == [2]
    assert sizes(rang("a", 0, profile="pump"), rang("a", NEAR_S + 1, profile="fan")) == [1, 1]


def test_alerts_of_a_site_are_together_by_profile_or_within_a_minute() -> None:
    assert sizes(rang("a", 0), rang("b", NEAR_S)) == [2]
    assert sizes(rang("a", 0), rang("b", SITE_S, profile="fan")) == [2]
    assert sizes(rang("a", 0), rang("b", SITE_S + 1, profile="fan")) == [1, 1]
    assert sizes(rang("a", 0), rang("b", 1, site="brest")) == [1, 1]


def test_a_site_that_nobody_knows_is_no_site() -> None:
    assert sizes(rang("a", 0, site=""), rang("b", 1, site="")) == [1, 1]


def test_a_power_cut_is_one_incident() -> None:
    cut = [rang(f"gw-{n:03}", n % 50, profile=("pump", "fan", "motor")[n % 3]) for n in range(300)]
    [incident] = grouped(cut)
    assert (len(incident.alerts), incident.place, incident.first.opened_ns) == (300, "lyon", 0)


def test_what_two_incidents_have_in_common_makes_them_one() -> None:
    apart = [rang("a", 0, profile="pump"), rang("b", 120, profile="fan")]
    assert sizes(*apart) == [1, 1]
    assert sizes(*apart, rang("b", 200, profile="pump")) == [3]


def test_what_goes_on_ringing_begins_another_after_an_hour() -> None:
    [first, second] = grouped([rang("a", at_s) for at_s in range(0, MAX_S + 601, 240)])
    assert first.alerts[-1].opened_ns - first.first.opened_ns <= MAX_S * S
    assert second.first.opened_ns > MAX_S * S


def test_the_place_of_one_device_is_the_device() -> None:
    [incident] = grouped([rang("a", 0, name="x"), rang("a", 0, name="y")])
    assert incident.place == "a"


ALERTS = st.lists(
    st.builds(
        rang, st.sampled_from("abcd"), st.integers(0, 6000), st.sampled_from(["", "lyon", "brest"]), st.sampled_from(["p", "q"])
    ),
    max_size=40,
    unique_by=lambda alert: (alert.device_id, alert.alert_id),
)


@given(ALERTS, st.randoms(use_true_random=False))
def test_each_alert_is_in_one_incident_whatever_the_order(alerts: list[Rang], random: object) -> None:
    incidents = grouped(alerts)
    assert sorted(alert for incident in incidents for alert in map(repr, incident.alerts)) == sorted(map(repr, alerts))
    shuffled = list(alerts)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert grouped(shuffled) == incidents
    assert all(incident.alerts[-1].opened_ns - incident.first.opened_ns <= MAX_S * S for incident in incidents)


@given(ALERTS)
def test_alerts_of_a_device_within_five_minutes_are_apart_only_over_the_hour(alerts: list[Rang]) -> None:
    home: dict[Rang, Incident[Rang]] = {alert: incident for incident in grouped(alerts) for alert in incident.alerts}
    for one in alerts:
        for other in alerts:
            near = one.device_id == other.device_id and abs(one.opened_ns - other.opened_ns) <= NEAR_S * S
            if near and home[one] is not home[other]:
                first = min(home[one].first.opened_ns, home[other].first.opened_ns)
                assert max(one.opened_ns, other.opened_ns) - first > (MAX_S - NEAR_S) * S
