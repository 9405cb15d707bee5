"""What the live view shows, as lines of styled pieces. Pure: a status in, lines out.

 gw-1  tocsin 0.1.0  up 3 h 12 min  57.0 MB, 2.1% of a core             10:22:31
 1 alarm, 3 normal; 1 sensor fault; outbox 12 items, 3.4 kB

   asset   state          since  how odd                  window
 ▲ pump-1  alarm          3 min  ██████▍  1 in 250,000    4 s     vibration, temperature
     critical alert since 3 min 4 s: vibration 64%, temperature 35%
 ● fan-1   normal           2 h  ▌        as usual        9 s     airflow
 …

Every state is told by mark, by word and by colour, so that any of the three may be missing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import chain
from textwrap import wrap
from typing import Any, Final, Literal

from agent.status.status_text import by_reading, rest_lines, status_line
from agent.status.terminal_text import clip, printable, width
from agent.status.words import MARKS, MAX_DECADES, age, decades, odds, open_alerts, span, told_alert, unjudged

Style = Literal["", "title", "faint", "good", "bad", "learning", "quiet", "warn"]
Line = Sequence[tuple[Style, str]]
Status = Mapping[str, Any]

_STATE_STYLES: Final[Mapping[str, Style]] = {
    "normal": "good", "alarm": "bad", "commissioning": "learning", "silent": "quiet",
    "at rest": "quiet", "starting": "quiet",
}  # fmt: skip
_LINK_STYLES: Final[Mapping[str, Style]] = {"up": "good", "down": "bad", "connecting": "warn"}
_LINK_MARKS: Final = {"up": "●", "down": "▲", "connecting": "◌"}
_ORDER: Final = ("alarm", "silent", "commissioning", "starting", "at rest", "normal")  # what needs somebody comes first
_BAR_CELLS: Final = 8
_EIGHTHS: Final = " ▏▎▍▌▋▊▉"
_STATE_CELLS: Final = 13
_AGE_CELLS: Final = 6
_ODDS_CELLS: Final = 15
_NAME_CELLS: Final = 14  # at least, where a name is so long; what is left of 80 columns then holds a channel's name
_OTHER_CELLS: Final = 66


def frame(status: Status, columns: int) -> list[Line]:
    """All of it; lines are at most `columns` cells long, and as many as there is to tell."""
    faults = [_fault(fault, status["now_ns"]) for fault in status["faults"]]
    rest = [told[1:] for told in rest_lines(status)]
    blocks: list[list[Line]] = [
        list(_head(status, columns)),
        list(_assets(status, columns)),
        list(chain.from_iterable(wrapped(text, columns) for text in faults)),
        list(_sources(status, columns)),
        list(chain.from_iterable(wrapped(text, columns) for text in rest)),
    ]
    lines: list[Line] = []
    for block in blocks:
        if lines and block:
            lines.append([])
        lines += block
    return [fitted(line, columns) for line in lines]


def _head(status: Status, columns: int) -> Iterator[Line]:
    share = status.get("cpu_share")
    cpu = f", {share:.1%} of a core" if share is not None else ""
    left = f" {status['device']}"
    middle = f"  tocsin {status['version']}  up {span(status['uptime_s'])}  {status['rss_bytes'] / 1e6:.1f} MB{cpu}"
    clock = _clock(status["now_ns"])
    gap = columns - width(left) - width(middle) - len(clock)
    yield [("title", left), ("faint", middle), ("faint", " " * gap + clock if gap > 1 else "")]
    troubled = bool(status.get("storage")) or any(asset["state"] == "alarm" for asset in status["assets"].values())
    yield [("bad" if troubled else "", f" {status_line(status)}")]


def _clock(now_ns: int) -> str:
    try:
        return datetime.fromtimestamp(now_ns / 1e9, UTC).strftime("%H:%M:%SZ ")
    except (ValueError, OverflowError, OSError):
        return ""


def _assets(status: Status, columns: int) -> Iterator[Line]:
    assets, now_ns = status["assets"], status["now_ns"]
    cells = _name_cells(assets, columns)
    heads = (("asset", cells), ("state", _STATE_CELLS), (" since", _AGE_CELLS + 1), ("how odd", _BAR_CELLS + 1 + _ODDS_CELLS))
    yield [("faint", "   " + " ".join(_cell(head, width) for head, width in heads) + " window")]
    for name, asset in sorted(assets.items(), key=lambda named: (_rank(named[1]["state"]), named[0])):
        yield _asset(name, asset, now_ns, cells)
        for alert in open_alerts(asset):
            yield [("bad", f"     {_alert(alert, asset, now_ns)}")]
        if readings := by_reading(asset):
            yield [("faint", f"     {readings}")]
        for feature, spreads in asset.get("drifted", [])[:1]:
            yield [("faint", f"     {feature} has drifted {spreads:+.1f} spreads since commissioning")]


def _rank(state: str) -> int:
    return _ORDER.index(state) if state in _ORDER else 0


def _name_cells(named: Mapping[str, Any], columns: int) -> int:
    longest = max((width(printable(name)) for name in named), default=0)
    return min(max(_NAME_CELLS, columns - _OTHER_CELLS), max(longest, len("asset")))


def _asset(name: str, asset: Status, now_ns: int, cells: int) -> Line:
    state, p_value, window_s = asset["state"], asset["p_value"], asset.get("window_age_s")
    style = _STATE_STYLES.get(state, "warn")
    told = asset["since_ns"] and state != "silent"  # since when it is silent, its fault tells
    since = age((now_ns - asset["since_ns"]) / 1e9) if told else ""
    learns = asset.get("learns", "windows")
    shown, words = _learned(asset["commissioned"], learns) if p_value is None else _oddness(p_value)
    if asset.get("rest") and state != "commissioning":
        shown, words = bar(0.0), unjudged(state, asset["rest"], asset["commissioned"])
    return [
        (style, f" {MARKS.get(state, '?')} "),
        ("", f"{_cell(name, cells)} "),
        (style, _cell(state, _STATE_CELLS)),
        ("", f" {since:>{_AGE_CELLS}}  "),
        ("learning" if p_value is None else style, shown),
        ("", f" {_cell(words, _ODDS_CELLS)}"),
        ("faint", f" {'none' if window_s is None else age(window_s):<{_AGE_CELLS}}"),
        ("", f" {', '.join(asset.get('top') or ())}"),
    ]


def _learned(commissioned: str, what: str) -> tuple[str, str]:
    """How much of its normal the asset has learned, as a bar and in words."""
    learned, _, needed = commissioned.partition("/")
    return bar(int(learned) / max(1, int(needed))), f"{commissioned} {what}"


def _oddness(p_value: float) -> tuple[str, str]:
    return bar(decades(p_value) / MAX_DECADES), odds(p_value)


def bar(share: float) -> str:
    """`share` in 0..1 as eight cells, to an eighth of one."""
    eighths = round(min(1.0, max(0.0, share)) * _BAR_CELLS * 8)
    full, part = divmod(eighths, 8)
    return ("█" * full + (_EIGHTHS[part] if part else "")).ljust(_BAR_CELLS)


def _alert(alert: Status, asset: Status, now_ns: int) -> str:
    since_ns = alert.get("since_ns") or asset["since_ns"]
    since = f" since {span((now_ns - since_ns) / 1e9)}" if since_ns else ""
    return f"{alert['severity']} alert{since}: {told_alert(alert)}"


def _fault(fault: Status, now_ns: int) -> str:
    since = span((now_ns - fault["since_ns"]) / 1e9)
    detail = f"; {fault['detail']}" if fault["detail"] else ""
    return f" ! {fault['where']}: {fault['fault']} for {since}{detail}"


def _sources(status: Status, columns: int) -> Iterator[Line]:
    cells = max(_name_cells(status["sources"], columns), len("source"))
    yield [("faint", f"   {_cell('source', cells)} {_cell('link', 10)} readings/s  last")]
    for name, source in status["sources"].items():
        link, rate, last_s = source["link"], source.get("readings_per_s"), source.get("reading_age_s")
        style = _LINK_STYLES.get(link, "warn")
        yield [
            (style, f" {_LINK_MARKS.get(link, '?')} "),
            ("", f"{_cell(name, cells)} "),
            (style, _cell(link, 10)),
            ("", f" {'' if rate is None else f'{rate:,.1f}':>10}"),
            ("", f"  {_last(last_s):<{_AGE_CELLS}} "),
            ("faint", source["detail"]),
        ]


def _last(age_s: float | None) -> str:
    """It is known to a second or so."""
    return "none" if age_s is None else "now" if age_s < 2 else age(age_s)


def wrapped(text: str, columns: int) -> list[Line]:
    """A sentence, on as many lines as it needs; one that begins with ! is a warning."""
    style: Style = "warn" if text.lstrip().startswith("!") else ""
    return [[(style, line)] for line in wrap(printable(text), max(20, columns), subsequent_indent="     ")]


def _cell(text: str, cells: int) -> str:
    text = clip(printable(text), cells)
    return text + " " * (cells - width(text))


def fitted(line: Line, columns: int) -> Line:
    """Without anything that steers a terminal, and cut off at the edge."""
    fitted: list[tuple[Style, str]] = []
    left = columns
    for style, text in line:
        piece = clip(printable(text), left)
        if piece:
            fitted.append((style, piece))
        left -= width(piece)
        if left <= 0:
            break
    return fitted
