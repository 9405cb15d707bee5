"""A judgement as a picture: a lane for each asset, with what was wrong and what was said, as one SVG file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Final

from firmware_sim.judging.told import Told
from firmware_sim.truth import TruthEvent
from models.contract.clock import NS_PER_S

_WIDTH, _LEFT, _LANE, _TOP = 1200, 150, 46, 56
_PLOT: Final = _WIDTH - _LEFT - 20
_COLOURS: Final = {"machine": "#c0392b", "sensor": "#8e44ad", "link": "#7f8c8d", "maintenance": "#2980b9"}
_HEAD: Final = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="system-ui, sans-serif" font-size="12">
<title>What was wrong, and what was said</title>
<rect width="100%" height="100%" fill="#fff"/>
"""


def timeline(truth: Sequence[TruthEvent], told: Told, assets: Iterable[str], first_ns: int, last_ns: int) -> str:
    """The SVG's text. `first_ns` to `last_ns`: the span shown; what is not ended lasts to its end."""
    lanes = list(dict.fromkeys(assets))
    scale = _PLOT / max(1, last_ns - first_ns)

    def x(at_ns: int | None) -> float:
        return _LEFT + (min(max(at_ns if at_ns is not None else last_ns, first_ns), last_ns) - first_ns) * scale

    parts = [_HEAD.format(width=_WIDTH, height=_TOP + _LANE * len(lanes) + 30), _legend()]
    for row, asset in enumerate(lanes):
        y = _TOP + row * _LANE
        parts.append(f'<text x="10" y="{y + 20}" font-weight="600">{escape(asset)}</text>')
        parts.append(f'<line x1="{_LEFT}" x2="{_LEFT + _PLOT}" y1="{y + 38}" y2="{y + 38}" stroke="#ddd"/>')
        for event in (event for event in truth if event.asset == asset):
            what = escape(event.fault + (f" of {event.channel}" if event.channel else ""))
            parts.append(_bar(x(event.start_ns), x(event.end_ns), y + 2, 12, _COLOURS[event.kind], what))
        for fault in (fault for fault in told.faults if asset in (fault.asset, fault.source.removeprefix("line-"))):
            what = escape(f"told: {fault.fault} {fault.channel}".rstrip())
            parts.append(_bar(x(fault.opened_ns), x(fault.closed_ns), y + 16, 6, "#b28dc9", what))
        for alert in (alert for alert in told.alerts if alert.asset == asset):
            what = escape(f"alert: {', '.join(channel for channel, _ in alert.top[:3])}")
            parts.append(_bar(x(alert.opened_ns), x(alert.closed_ns), y + 24, 12, "#e67e22", what))
    return "\n".join([*parts, _axis(first_ns, last_ns, _TOP + _LANE * len(lanes)), "</svg>\n"])


def _bar(left: float, right: float, y: float, height: float, colour: str, what: str) -> str:
    width = max(2.0, right - left)  # what is over in a moment must still be seen
    place = f'x="{left:.1f}" y="{y}" width="{width:.1f}" height="{height}"'
    return f'<rect {place} fill="{colour}" rx="1"><title>{what}</title></rect>'


def _legend() -> str:
    entries = [("machine fault", _COLOURS["machine"]), ("sensor fault", _COLOURS["sensor"]), ("line fault", _COLOURS["link"])]
    entries += [("maintenance", _COLOURS["maintenance"]), ("told: sensor fault", "#b28dc9"), ("alert", "#e67e22")]
    return "\n".join(
        f'<rect x="{_LEFT + 165 * i}" y="18" width="14" height="12" fill="{colour}"/>'
        f'<text x="{_LEFT + 165 * i + 20}" y="28">{name}</text>'
        for i, (name, colour) in enumerate(entries)
    )


def _axis(first_ns: int, last_ns: int, y: float) -> str:
    span_s = (last_ns - first_ns) / NS_PER_S
    unit, per = next(
        ((unit, per) for unit, per in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)) if span_s >= 3 * per), ("s", 1.0)
    )
    ticks = []
    for i in range(7):
        place = f'x="{_LEFT + _PLOT * i / 6:.0f}" y="{y + 18}"'
        ticks.append(f'<text {place} text-anchor="middle" fill="#555">{span_s * i / 6 / per:.3g} {unit}</text>')
    return "\n".join(ticks)
