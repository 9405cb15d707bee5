"""What the live view shows of a status: in 80 columns, each state by mark and word, nothing that steers a terminal."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.status.terminal_text import clip, printable, width
from agent.status.words import age, decades, odds, size, span
from agent.top.frame import bar, frame
from agent.top.screen import painted
from tests.agent.test_status_text import RANG_FOR, STATUS, STORE

RECENT: dict[str, Any] = {
    **STATUS,
    "cpu_share": 0.0123,
    "assets": {
        "pump-1": {**STATUS["assets"]["pump-1"], "window_age_s": 3.2, "top": ["flow", "pressure"]},
        "a-rather-long-name-of-a-machine": {**STATUS["assets"]["host"], "window_age_s": 3.2, "top": ["temperature"]},
        "fan-1": STATUS["assets"]["fan-1"],
        "motor-1": STATUS["assets"]["motor-1"],
    },
    "sources": {
        "line": {"link": "up", "detail": "/dev/ttyUSB0", "readings": 1_200_000, "readings_per_s": 49.96, "reading_age_s": 0.4},
        "bus": {"link": "down", "detail": "connection refused", "readings_per_s": 0.0, "reading_age_s": 7300.0},
        "new": {"link": "connecting", "detail": "not started"},
    },
}  # fmt: skip

EXPECTED = """\
 dev-1  tocsin 0.1.0  up 1 d 2 h  41.5 MB, 1.2% of a core             22:13:20Z
 1 alarm, 1 commissioning, 1 normal, 1 silent; 2 sensor faults; outbox 17 items…

   asset          state          since  how odd                  window
 ▲ pump-1         alarm          5 min  ████████ 1 in 1,000,000+ 3 s    flow, p…
     critical alert since 5 min 0 s: flow 81%, pressure 19%
 ○ motor-1        silent                         0/60 windows    none
 ◌ fan-1          commissioning         █▋       12/60 windows   none
 ● a-rather-long… normal           1 h  ▌        as usual        3 s    tempera…

 ! fan-1.speed: stuck for 1 min 0 s
 ! line: link for 2 min 0 s; wrong CRC

   source link       readings/s  last
 ● line   up               50.0  now    /dev/ttyUSB0
 ▲ bus    down              0.0  2 h    connection refused
 ◌ new    connecting             none   not started
"""


def shown(status: dict[str, Any], columns: int) -> list[str]:
    return ["".join(text for _, text in line).rstrip() for line in frame(status, columns)]


def test_a_device_looks_like_this_in_80_columns() -> None:
    assert "\n".join(shown(RECENT, 80)).startswith(EXPECTED)


def test_the_rest_is_told_as_by_status_and_wrapped() -> None:
    lines = shown(RECENT, 80)
    assert lines[-3:] == [
        " flash: the agent writes 12.1 MB a day, mmcblk0 gets 130.0 MB in all; a new card",
        "     of 30 TB lasts 631.8 years",
        " hub: enrolled, last sync 3 s ago; timed out",
    ]
    wide = "\n".join(shown(RECENT, 160))
    assert "a-rather-long-name-of-a-machine normal" in wide
    assert "…" not in wide


@pytest.mark.parametrize("columns", [20, 41, 80, 200])
def test_no_line_is_wider_than_the_terminal(columns: int) -> None:
    strange = {**RECENT, "assets": {"機械-" * 12: STATUS["assets"]["pump-1"], "\x1b[31mred": STATUS["assets"]["host"]}}
    for line in shown(strange, columns):
        assert width(line) <= columns
        assert "\x1b" not in line


def test_an_agent_of_an_older_version_is_shown_as_far_as_it_tells() -> None:
    assert " ● line   up                     none   /dev/ttyUSB0" in shown(STATUS, 80)


def test_channels_that_are_watched_reading_by_reading_are_told() -> None:
    text = "\n".join(shown(STORE, 120))
    assert "12/100 readings" in text
    assert f"warning alert since 5 min 0 s: {RANG_FOR}" in text
    assert "reading by reading: temperature, door 12/100 readings learned" in text


def test_without_colours_what_is_urgent_is_bold_still() -> None:
    assert painted([("good", "fine"), ("bad", "alarm")], colours=False) == "fine\x1b[1malarm\x1b[0m"
    assert painted([("good", "fine"), ("", " plain")], colours=True) == "\x1b[32mfine\x1b[0m plain"


@given(st.text())
def test_no_text_steers_a_terminal(text: str) -> None:
    told = printable(text)
    assert len(told) == len(text)
    assert not any(ord(char) < 32 or 127 <= ord(char) < 160 or char in "\u2028\u2029\u202e\u2066\u200f" for char in told)


@given(st.text(), st.integers(0, 60))
def test_what_is_clipped_fits(text: str, cells: int) -> None:
    clipped = clip(text, cells)
    assert width(clipped) <= cells
    assert clipped == text or clipped.endswith("…") or cells == 0


@pytest.mark.parametrize(
    ("share", "cells"),
    [(0.0, ""), (0.01, "▏"), (0.5, "████"), (0.99, "███████▉"), (1.0, "████████"), (7.0, "████████"), (-1.0, "")],
)
def test_a_bar_shows_an_eighth_of_a_cell(share: float, cells: str) -> None:
    assert bar(share) == cells.ljust(8)


@pytest.mark.parametrize(
    ("p_value", "told"),
    [(None, "not judged yet"), (1.0, "as usual"), (0.11, "as usual"), (0.1, "1 in 10"), (0.0123, "1 in 81"),
     (1.234e-5, "1 in 81,000"), (1e-6, "1 in 1,000,000"), (1e-7, "1 in 1,000,000+"), (0.0, "1 in 1,000,000+")],
)  # fmt: skip
def test_odds_are_told_to_two_digits_and_not_beyond_a_million(p_value: float | None, told: str) -> None:
    assert odds(p_value) == told
    assert len(told) <= 15


def test_words_for_spans_and_sizes() -> None:
    assert [age(s) for s in (0, 59.4, 60, 3599, 7200, 47 * 3600, 48 * 3600)] == [
        "0 s",
        "59 s",
        "1 min",
        "59 min",
        "2 h",
        "47 h",
        "2 d",
    ]
    assert [span(s) for s in (-5, 59, 61, 3700, 90_000)] == ["0 s", "59 s", "1 min 1 s", "1 h 1 min", "1 d 1 h"]
    assert [size(n) for n in (0, 999, 1000, 2_500_000, 7e9)] == ["0 B", "999 B", "1.0 kB", "2.5 MB", "7.0 GB"]
    assert [decades(p) for p in (1.0, 0.1, 1e-9, 0.0)] == [0.0, 1.0, 6.0, 6.0]
