"""The status as a person reads it."""

from __future__ import annotations

from typing import Any

import pytest

from agent.status.status_text import status_lines
from tests.builders import T0_NS

MIN_NS = 60 * 10**9


def asset(
    state: str, commissioned: str, p: float | None = None, since_min: int | None = None, alert: dict[str, Any] | None = None
) -> dict[str, Any]:
    since_ns = None if since_min is None else T0_NS - since_min * MIN_NS
    return {"profile": "rig", "state": state, "commissioned": commissioned, "p_value": p, "since_ns": since_ns, "alert": alert}


STATUS: dict[str, Any] = {
    "device": "dev-1", "version": "0.1.0", "now_ns": T0_NS, "clock_synced": True, "uptime_s": 93_784.2, "starts": 3,
    "rss_bytes": 41_500_000, "readings": 1_234_567, "backlog_items": 17, "backlog_bytes": 48_200,
    "survival": {
        "lanes": {"alerts": {"items": 2, "bytes": 600}, "aggregates": {"items": 15, "bytes": 47_600},
                  "evidence": {"items": 0, "bytes": 0}},
        "oldest": {"kind": "sensor_fault", "lane": "alerts", "age_s": 190.0},
        "bytes_per_day": 5_300_000, "measured_s": 86_700, "days": 41.5,
        "flash": {"agent_bytes_per_day": 12_100_000, "device_bytes_per_day": 130_000_000, "disk": "mmcblk0",
                  "agent_bytes": 900_000_000, "endurance_bytes": 30e12, "years": 631.8},
    },
    "assets": {
        "pump-1": asset("alarm", "60/60", 3.2e-9, 5, {"severity": "critical", "top": [["flow", 0.81], ["pressure", 0.19]]}),
        "fan-1": asset("commissioning", "12/60"),
        "motor-1": asset("silent", "0/60"),
        "host": asset("normal", "60/60", 0.42, 90),
    },
    "faults": [{"where": "fan-1.speed", "fault": "stuck", "since_ns": T0_NS - MIN_NS, "detail": ""},
               {"where": "line", "fault": "link", "since_ns": T0_NS - 2 * MIN_NS, "detail": "wrong CRC"}],
    "sources": {"line": {"link": "up", "detail": "/dev/ttyUSB0", "readings": 1_200_000},
                "bus": {"link": "connecting", "detail": "connection refused"}},
    "slots": {"pump": {"active": "pump-v3", "shadow": "pump-v4", "previous": "pump-v2"},
              "fan": {"active": None, "shadow": None, "previous": None}},
    "refused_bundles": {"pump-v5": "self-test: golden vector 3"},
    "hub": {"enrolled": True, "last_sync_ns": T0_NS - 3 * 10**9, "sync_error": "", "checkin_error": "timed out",
            "update_error": "", "set_aside": 0, "reasons": []},
}  # fmt: skip

RANG_FOR = "temperature 100%; 17.5 degC; the nearest ever seen is 5.1 degC"
_ALERT = {"severity": "warning", "top": [["temperature", 1.0]], "detail": RANG_FOR.partition("; ")[2]}
_STORE = asset("alarm", "12/100", None, 5, _ALERT) | {
    "alerts": [_ALERT], "learns": "readings", "streaming": {"temperature": "100/100", "door": "12/100"},
}  # fmt: skip
STORE = STATUS | {"assets": {"store": _STORE}, "faults": []}  # an asset that windows know nothing of

EXPECTED = """\
dev-1  tocsin 0.1.0, up 1 d 2 h, 41.5 MB resident

  ▲ pump-1 (rig): alarm for 5 min 0 s, p=3.2e-09, critical: flow 81%, pressure 19%
  ◌ fan-1 (rig): commissioning, windows 12/60
  ○ motor-1 (rig): silent, windows 0/60
  ● host (rig): normal for 1 h 30 min, p=0.42
  ! fan-1.speed: stuck for 1 min 0 s
  ! line: link for 2 min 0 s wrong CRC

  source line: up /dev/ttyUSB0, 1200000 readings
  source bus: connecting connection refused, 0 readings
  model pump: active pump-v3, shadow pump-v4
  model fan: active none, the baseline decides, shadow none
  ! refused pump-v5: self-test: golden vector 3
  outbox: 17 items, 48.2 kB (alerts 2, aggregates 15)
  oldest unsent: sensor fault, 3 min 10 s old
  without a hub: lasts 41.5 days; 5.3 MB a day, as in the last day
  flash: the agent writes 12.1 MB a day, mmcblk0 gets 130.0 MB in all; a new card of 30 TB lasts 631.8 years
  hub: enrolled, last sync 3 s ago; timed out"""


def test_a_status_reads_like_this() -> None:
    assert "\n".join(status_lines(STATUS)) == EXPECTED


def test_channels_that_are_watched_reading_by_reading_are_told_with_what_they_rang_for() -> None:
    lines = list(status_lines(STORE))
    assert lines[2:4] == [
        f"  ▲ store (rig): alarm for 5 min 0 s, readings 12/100, warning: {RANG_FOR}",
        "    reading by reading: temperature, door 12/100 readings learned",
    ]


@pytest.mark.parametrize(
    ("hub", "expected"),
    [
        (None, "  hub: none configured"),
        ({"enrolled": False, "last_sync_ns": None, "sync_error": "refused", "checkin_error": "", "update_error": "",
          "set_aside": 0, "reasons": []},
         "  hub: not enrolled, not synced yet; refused"),
    ],
)  # fmt: skip
def test_the_hub_is_told_last(hub: dict[str, Any] | None, expected: str) -> None:
    assert list(status_lines(STATUS | {"hub": hub}))[-1] == expected


UNKNOWN = {"lanes": {}, "oldest": None, "bytes_per_day": None, "measured_s": 12.0, "days": None,
           "flash": {"agent_bytes_per_day": None, "device_bytes_per_day": None, "disk": "", "agent_bytes": 0,
                     "endurance_bytes": None, "years": None}}  # fmt: skip


def test_what_is_not_known_is_left_out() -> None:
    lines = list(status_lines(STATUS | {"survival": UNKNOWN, "hub": None}))
    assert lines[-2:] == ["  outbox: 17 items, 48.2 kB", "  hub: none configured"]


def test_it_says_over_what_a_rate_was_taken_and_whose_bytes_they_are() -> None:
    flash = UNKNOWN["flash"] | {"agent_bytes_per_day": 1000.0}  # type: ignore[operator]
    survival = UNKNOWN | {"bytes_per_day": 400.0, "days": 12_000.0, "measured_s": 5400.0, "flash": flash}
    text = "\n".join(status_lines(STATUS | {"survival": survival}))
    assert "  without a hub: lasts 12,000 days; 400 B a day, as in the 1 h 30 min since the start" in text
    assert "  flash: the agent writes 1.0 kB a day\n" in text


def test_a_clock_that_nobody_has_set_and_items_that_the_hub_refuses_are_told() -> None:
    hub = STATUS["hub"] | {"set_aside": 1}
    lines = list(status_lines(STATUS | {"clock_synced": False, "hub": hub}))
    assert "  ! clock: no time server has set it yet; times are provisional" in lines
    by_hub = list(status_lines(STATUS | {"clock_synced": False, "clock_source": "hub", "hub": hub}))
    assert "  clock: by the hub's time; no time server is heard" in by_hub
    assert lines[-1] == "  ! items that the hub refuses, set aside in the state directory's folder set-aside: 1"


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0, "0 s"), (59, "59 s"), (60, "1 min 0 s"), (3661, "1 h 1 min"), (86_400 * 400, "400 d 0 h"), (-5, "0 s")],
)
def test_spans_are_told_in_their_two_largest_units(seconds: float, expected: str) -> None:
    assert next(iter(status_lines(STATUS | {"uptime_s": seconds}))) == f"dev-1  tocsin 0.1.0, up {expected}, 41.5 MB resident"


@pytest.mark.parametrize(
    ("n", "expected"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (2_500_000, "2.5 MB"), (7e9, "7.0 GB")]
)
def test_sizes_are_told_in_units_of_a_thousand(n: float, expected: str) -> None:
    assert next(iter(status_lines(STATUS | {"rss_bytes": n}))).endswith(f"{expected} resident")


@pytest.mark.parametrize(
    ("state", "says"),
    [
        ("at rest", "◦ pump-1 (rig): at rest for 5 min 0 s, not judged"),
        ("starting", "◦ pump-1 (rig): starting for 5 min 0 s, not judged"),
        ("commissioning", "◌ pump-1 (rig): commissioning for 5 min 0 s, windows 12/60, at rest"),
        ("alarm", "▲ pump-1 (rig): alarm for 5 min 0 s, at rest, critical: flow 81%"),
    ],
)
def test_a_machine_at_rest_has_no_stale_score(state: str, says: str) -> None:
    alert = {"severity": "critical", "top": [["flow", 0.81]]} if state == "alarm" else None
    rest = {"rest": "starting" if state == "starting" else "at rest"}
    status = STATUS | {"assets": {"pump-1": asset(state, "12/60", None, 5, alert) | rest}}
    assert f"  {says}" in list(status_lines(status))
