"""What the page answers: to whom, with which headers, and that text stays text."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.config import load_config
from agent.page.answers import HEADERS, Answers
from agent.page.config import PageConfig, page_lines
from agent.page.html import Html, element, joined
from agent.page.sparkline import sparkline
from agent.page.view import headline, page, part
from agent.status.recent import HISTORY_WINDOWS
from models.errors import ConfigError
from tests.agent.agent_process import CONFIG
from tests.agent.test_status_text import RANG_FOR, STATUS, STORE

HOSTILE = "<img src=x onerror=\"document.title='owned'\">&amp;'\u202e"
STRANGE: dict[str, Any] = {
    **STATUS,
    "device": HOSTILE,
    "assets": {HOSTILE: {**STATUS["assets"]["pump-1"], "profile": HOSTILE, "top": [HOSTILE], "p_values": [0.5, None, 1e-9],
                         "alert": {"severity": HOSTILE, "top": [[HOSTILE, 0.5]]}},
               "b": {**STATUS["assets"]["host"], "top": [HOSTILE]}},
    "faults": [{"where": HOSTILE, "fault": HOSTILE, "since_ns": 1, "detail": HOSTILE}],
    "sources": {HOSTILE: {"link": HOSTILE, "detail": HOSTILE}},
    "slots": {HOSTILE: {"active": HOSTILE, "shadow": HOSTILE}},
    "refused_bundles": {HOSTILE: HOSTILE},
    "storage": HOSTILE, "held_items": 1, "lost_items": 0,
    "hub": {**STATUS["hub"], "sync_error": HOSTILE},
}  # fmt: skip
ALLOWED = {
    "html", "head", "meta", "title", "link", "noscript", "script", "body", "header", "span", "main", "h1", "h2", "p", "b",
    "bdi", "ul", "li", "section", "div", "table", "thead", "tbody", "tr", "th", "td", "svg", "path", "circle", "line",
    "polyline",
}  # fmt: skip


class Seen(HTMLParser):
    """Every tag with its attributes, and all text."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(markup)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


# --- the markup ---------------------------------------------------------------------------------------------------


def test_channels_that_are_watched_reading_by_reading_are_told() -> None:
    told = str(part(STORE))
    for words in (f"warning alert: {RANG_FOR}", "12/100 readings learned", "reading by reading: temperature, door 12/100"):
        assert words in told, words


def test_hostile_names_are_text_wherever_they_stand() -> None:
    seen = Seen(page(STRANGE))
    assert {tag for tag, _ in seen.tags} <= ALLOWED
    assert not any(name.startswith("on") or name == "style" for _, attributes in seen.tags for name in attributes)
    assert [attributes for tag, attributes in seen.tags if tag == "script"] == [{"src": "page.js", "defer": ""}]
    assert seen.text.count(HOSTILE) >= 15


@given(st.text(), st.text())
def test_any_text_comes_back_as_it_was(text: str, value: str) -> None:
    seen = Seen(f"<!doctype html>{element('p', text, title=value)}".replace("\0", ""))
    assert [tag for tag, _ in seen.tags] == ["p"]
    assert (seen.text, seen.tags[0][1]["title"]) == (text.replace("\0", ""), value.replace("\0", ""))


def test_markup_is_not_escaped_twice_and_text_is_never_markup() -> None:
    assert element("p", element("b", "a & b"), " < ", class_="x", hidden=None) == '<p class="x"><b>a &amp; b</b> &lt; </p>'
    assert joined(Html("<hr>"), "<hr>") == "<hr>&lt;hr&gt;"
    assert element("meta", charset="utf-8") == '<meta charset="utf-8">'


def test_each_asset_is_told_by_colour_shape_and_word_what_needs_somebody_first() -> None:
    seen = Seen(part(STATUS))
    classes = [
        attributes.get("class") for tag, attributes in seen.tags if tag == "li" and "asset" in (attributes.get("class") or "")
    ]
    assert classes == ["asset alarm", "asset silent", "asset commissioning", "asset normal"]
    shapes = [attributes["class"] for tag, attributes in seen.tags if tag == "svg" and attributes["class"] != "spark"]
    assert shapes[:4] == ["shape alarm", "shape silent", "shape commissioning", "shape normal"]
    drawn = re.findall(r"<svg class=\"shape \w+\"[^>]*>(.*?)</svg>", part(STATUS))[:4]
    assert len(set(drawn)) == 4
    for word in ("alarm", "critical alert: flow 81%, pressure 19%", "12/60 windows learned", "1 in 1,000,000+", "as usual",
                 "fan-1.speed", "stuck for 1 min 0 s", "wrong CRC", "/dev/ttyUSB0", "lasts 41.5 days"):  # fmt: skip
        assert word in seen.text


@pytest.mark.parametrize(
    ("states", "n_faults", "said"),
    [(["normal", "alarm"], 0, "1 machine in alarm"), (["alarm", "alarm"], 0, "2 machines in alarm"),
     (["normal", "silent", "commissioning"], 0, "1 machine is silent"), (["silent"] * 3, 0, "3 machines are silent"),
     (["commissioning", "normal"], 1, "Learning what is normal"), (["normal"], 1, "1 sensor fault"),
     (["normal"], 2, "2 sensor faults"), (["normal"], 0, "All machines normal")],
)  # fmt: skip
def test_the_headline_says_what_matters_most(states: list[str], n_faults: int, said: str) -> None:
    status = {"assets": {str(n): {"state": state} for n, state in enumerate(states)}, "faults": [{}] * n_faults}
    assert headline(status) == said


def test_a_curve_rises_where_windows_are_odd_and_has_gaps_where_none_was_judged() -> None:
    seen = Seen(sparkline((0.5, None, 1e-3, 1e-9)))
    lines = [attributes["points"] for tag, attributes in seen.tags if tag == "polyline"]
    assert len(lines) == 2
    heights = [float(point.split(",")[1]) for line in lines for point in str(line).split()]
    assert heights == sorted(heights, reverse=True)
    assert heights[-1] == 3.0
    assert "now 1 in 1,000,000+, at most 1 in 1,000,000+" in sparkline((0.5, 1e-9))
    assert "none judged yet" in sparkline((None,))
    full = Seen(sparkline((0.1,) * (HISTORY_WINDOWS + 5)))
    xs = [
        float(point.split(",")[0])
        for tag, attributes in full.tags
        if tag == "polyline"
        for point in str(attributes["points"]).split()
    ]
    assert (len(xs), xs[0], xs[-1]) == (HISTORY_WINDOWS, 3.0, 175.0)


# --- the answers --------------------------------------------------------------------------------------------------


def answers(**keys: Any) -> Answers:
    return Answers(PageConfig(**keys), lambda: STATUS)


def test_there_is_a_page_a_part_of_it_its_files_and_json() -> None:
    ours = answers()
    kinds = {
        path: ours.answer("GET", path, ["localhost"])
        for path in ("/", "/part", "/status.json", "/page.css", "/page.js", "/bell.svg")
    }
    assert {answer.status for answer in kinds.values()} == {200}
    assert json.loads(kinds["/status.json"].body) == json.loads(json.dumps(STATUS))
    assert kinds["/"].body.startswith(b"<!doctype html>")
    assert kinds["/part"].body in kinds["/"].body
    for attributes in (a for _, a in Seen(kinds["/"].body.decode()).tags):
        for at in ("src", "href"):
            if at in attributes:
                assert ours.answer("GET", f"/{attributes[at]}", ["localhost"]).status == 200
    assert ours.answer("GET", "/?reloaded", ["localhost"]).status == 200


@pytest.mark.parametrize("target", ["/page.html", "/../page/server.py", "/static/page.css", "http://evil.example/", "*", ""])
def test_nothing_else_is_served(target: str) -> None:
    assert answers().answer("GET", target, ["localhost"]).status == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "get", "X" * 500])
def test_nothing_can_be_changed(method: str) -> None:
    assert answers().answer(method, "/", ["localhost"]).status == 405


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:9000", "localhost.", "127.0.0.1:8070", "[::1]:8070", "192.168.1.7", "pump-room.plant"]
)
def test_own_names_and_addresses_are_answered_at_any_port(host: str) -> None:
    assert answers(names=["Pump-Room.plant"]).answer("GET", "/", [host]).status == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "",
        "localhost:80:80",
        "a b",
        "[::1",
        "user@localhost",
    ],
)
def test_a_name_that_was_turned_to_this_address_is_refused(host: str) -> None:
    assert answers().answer("GET", "/status.json", [host]).status == 421


def test_one_host_is_expected() -> None:
    assert answers().answer("GET", "/", []).status == 400
    assert answers().answer("GET", "/", ["localhost", "evil.example"]).status == 400


def test_a_device_s_own_name_counts_only_where_others_may_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "gw-7")
    for remote, status in ((False, 421), (True, 200)):
        ours = answers(allow_remote=remote)
        assert {ours.answer("GET", "/", [name]).status for name in ("gw-7:8070", "GW-7.local")} == {status}


def test_however_many_ask_the_agent_is_asked_twice_a_second_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    ours = Answers(PageConfig(), lambda: asked.append(1) or STATUS)  # type: ignore[func-returns-value]
    for request in range(101):
        monkeypatch.setattr("agent.page.answers.time", SimpleNamespace(monotonic=lambda at=request: 1000.0 + at / 50))
        assert ours.answer("GET", "/status.json", ["localhost"]).status == 200
    assert len(asked) == 5, "at once, and four times in the two seconds after that"


def test_nothing_inline_runs_and_nothing_comes_from_elsewhere() -> None:
    policy = dict(part.strip().split(" ", 1) for part in HEADERS["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert {policy[name] for name in ("script-src", "style-src", "connect-src", "img-src")} == {"'self'"}
    assert {policy[name] for name in ("frame-ancestors", "base-uri", "form-action")} == {"'none'"}
    assert "unsafe" not in HEADERS["Content-Security-Policy"]


# --- the configuration --------------------------------------------------------------------------------------------


def loaded(folder: Path, keys: str) -> PageConfig | None:
    (folder / "tocsin.toml").write_text(f"{CONFIG}\n{keys}")
    return load_config(folder / "tocsin.toml").config.page


def test_it_is_off_unless_it_is_asked_for_and_then_for_this_device_alone(tmp_path: Path) -> None:
    assert loaded(tmp_path, "") is None
    assert loaded(tmp_path, "[page]") == PageConfig()
    assert PageConfig().url == "http://127.0.0.1:8070/"
    assert page_lines(loaded(tmp_path, '[page]\nhost = "::1"\nport = 9000')) == ["page: http://[::1]:9000/"]


@pytest.mark.parametrize(
    ("keys", "where", "expected"),
    [('host = "0.0.0.0"', "page.host", "allow_remote = true"), ('host = "192.168.1.7"', "page.host", "no sign-in"),
     ('host = "::"', "page.host", "allow_remote"), ('host = "localhost"', "page.host", "an IP address"),
     ("port = 0", "page.port", ""), ("prot = 1", "page", "prot"), ('names = ["a b"]', "page.names", "")],
)  # fmt: skip
def test_a_page_that_others_reach_must_be_allowed_by_name(tmp_path: Path, keys: str, where: str, expected: str) -> None:
    with pytest.raises(ConfigError) as refused:
        loaded(tmp_path, f"[page]\n{keys}")
    assert where in str(refused.value)
    assert expected in str(refused.value)


def test_who_allows_others_is_told_that_nobody_signs_in(tmp_path: Path) -> None:
    lines = page_lines(loaded(tmp_path, '[page]\nhost = "0.0.0.0"\nallow_remote = true'))
    assert lines[0] == "page: http://0.0.0.0:8070/"
    assert lines[1].startswith("! page: it has no sign-in")
