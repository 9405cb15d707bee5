"""The model card as one HTML file: no script, nothing loaded from anywhere, readable in the light and in the dark.

Cards come from archives, also from ones made elsewhere: every text in them is escaped, and a key that is absent is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from typing import Any, Final

_STYLE: Final = """
:root{color-scheme:light dark;--ink:#1c2127;--dim:#5b6570;--line:#d8dde2;--paper:#fff;--bar:#2f6f9f;--other:#a9b6c2;
--bad:#b3261e}
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ec;--dim:#9aa5b0;--line:#39424b;--paper:#14181c;--bar:#6cb2e0;--other:#56636f;
--bad:#ff8a80}}
body{font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:52rem;margin:2rem auto;
padding:0 1rem}
h1{font-size:1.6rem;margin:0}h2{font-size:1.1rem;margin:2rem 0 .5rem;border-top:1px solid var(--line);padding-top:1rem}
p{margin:.4rem 0}.dim{color:var(--dim)}.bad{color:var(--bad);font-weight:600}
table{border-collapse:collapse;width:100%;font-size:.92rem}th,td{text-align:left;vertical-align:top;
padding:.25rem .75rem .25rem 0}
th{font-weight:500;color:var(--dim);width:14rem}td{overflow-wrap:anywhere}
svg{width:100%;height:auto;max-width:44rem}text{fill:var(--ink);font:13px system-ui,sans-serif}.v{fill:var(--dim)}
rect.own{fill:var(--bar)}rect.other{fill:var(--other)}rect.fails{fill:var(--bad)}line{stroke:var(--bad);stroke-width:1.5}
"""
_READ: Final = (
    "AUC is the chance that a window with an injected fault scores above a normal one: 0.5 is a coin toss, 1 is certain. False "
    "alarms are held-out normal windows with p \u2264 0.01; about 1 % is what is asked for. A group fails where its share is, "
    "with 99 % confidence, beyond the red mark; groups with too few windows are neither passed nor failed."
)
Bar = tuple[str, float, str, str, float | None]  # name, value, text, class, mark


def card_html(entry: Mapping[str, Any], approval: Mapping[str, Any] | None = None, n_holding: int | None = None) -> str:
    """`entry`: as `Registry.get` gives it. `n_holding`: how many devices have it in a slot now."""
    card = _part(entry, "card")
    parts = [
        f"<h1>{escape(str(card.get('title') or entry['bundle_id']))}</h1>",
        f"<p class=dim>{escape(str(entry['bundle_id']))} \u00b7 published {_when(entry['created_ns'])}</p>",
        _approved(approval),
        _text("What it is for", card.get("intended_use")),
        _text("What it is not for", card.get("limits")),
        _detection(_part(card, "evaluation")),
        _bias(_part(_part(card, "evaluation"), "bias")),
        _figures(_part(card, "evaluation")),
        _data(_part(card, "data")),
        _table("How it was trained", _part(card, "training").items()),
        _lineage(entry, card, n_holding),
        _text("How to read this", _READ),
    ]
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>{escape(str(entry['bundle_id']))}</title><style>{_STYLE}</style><body>{''.join(parts)}</body></html>\n"
    )


def _approved(approval: Mapping[str, Any] | None) -> str:
    if approval is None:
        return "<p class=bad>Nobody has approved it.</p>"
    note = f": {escape(approval['note'])}" if approval["note"] else ""
    return f"<p>Approved by {escape(approval['approver'])} on {_when(approval['at_ns'])}{note}</p>"


def _detection(evaluation: Mapping[str, Any]) -> str:
    """AUC by fault, of each model that was graded on the same windows."""
    aucs = dict(_part(evaluation, "auc"))
    champion = _part(evaluation, "champion")
    if champion:
        aucs["champion"] = _part(champion, "auc")
    names = [name for name in ("int8", "float", "baseline", *aucs) if name in aucs]
    bars: list[Bar] = [
        (f"{fault}, {name}", float(aucs[name][fault]), f"{aucs[name][fault]:.3f}", "own" if name == "int8" else "other", None)
        for fault in ("shift", "variance", "correlation", "all")
        for name in dict.fromkeys(names)
        if isinstance(aucs[name].get(fault), int | float)
    ]
    return f"<h2>Injected faults: AUC</h2>{_bars(bars, 1.0)}" if bars else ""


def _bias(bias: Mapping[str, Any]) -> str:
    """False alarms of each group, with what is allowed."""
    parts = []
    for axis, found in _part(bias, "axes").items():
        bars: list[Bar] = [
            (group, f["share"], f"{f['share']:.1%} of {f['windows']}, {f['verdict']}", _look(f["verdict"]), f["limit"])
            for group, f in _part(found, "slices").items()
        ]
        scale = max([0.1, *(bar[1] for bar in bars), *(bar[4] or 0.0 for bar in bars)])
        parts.append(f"<p class=dim>By {escape(axis)}</p>{_bars(bars, scale)}")
    return f"<h2>False alarms by group</h2>{''.join(parts)}" if parts else ""


def _look(verdict: str) -> str:
    return {"fails": "fails", "passes": "own", "alone": "own"}.get(verdict, "other")


def _figures(evaluation: Mapping[str, Any]) -> str:
    rows: list[tuple[str, Any]] = [
        (name.replace("_", " "), evaluation[name])
        for name in ("held_out_windows", "auc_loss", "score_correlation", "latency_us_median")
        if name in evaluation
    ]
    champion = _part(evaluation, "champion")
    rows += [("champion, on the same windows", champion.get("bundle_id"))] if champion else []
    rows += [("champion's false alarms", champion["false_alarm_share"])] if "false_alarm_share" in champion else []
    rows += [("false alarms", _part(evaluation, "false_alarms").get("share"))] if "false_alarms" in evaluation else []
    rows += [
        (f"operators said: {label}", f"{f['share_low_p']:.1%} of {f['windows']} windows have p \u2264 0.01")
        for label, f in _part(evaluation, "labelled").items()
    ]
    return _table("Figures", rows)


def _data(data: Mapping[str, Any]) -> str:
    left_out = ", ".join(f"{count} {reason}" for reason, count in _part(data, "left_out").items() if count) or "none"
    splits = ", ".join(f"{name} {count}" for name, count in _part(data, "splits").items())
    rows: list[tuple[str, Any]] = [
        (name.replace("_", " "), data[name]) for name in ("usable", "windows_found", "assets") if name in data
    ]
    rows += [("left out", left_out), ("split", splits), ("devices", len(data.get("devices", ())))]
    rows += [("held-out devices", ", ".join(map(str, data.get("held_out_devices", ()))) or "none")]
    rows += [(name.replace("ns", "").replace("_", " "), _when(data[name])) for name in ("start_ns", "end_ns") if name in data]
    rows += [("robust trim", f"{_part(data, 'rules').get('trim_share', 0):.1%} of the training windows, the farthest out")]
    return _table("Data", rows) if data else ""


def _lineage(entry: Mapping[str, Any], card: Mapping[str, Any], n_holding: int | None) -> str:
    rows = [*_part(card, "lineage").items(), ("archive", entry["sha256"])]
    rows += [("devices that hold it", n_holding)] if n_holding is not None else []
    return _table("Lineage: dataset, run, bundle, devices", rows)


def _bars(bars: Sequence[Bar], scale: float) -> str:
    """Horizontal bars from 0 to `scale`, as inline SVG."""
    rows = []
    for i, (name, value, text, look, mark) in enumerate(bars):
        y, width = i * 24, 300 * min(1.0, max(0.0, value / scale))
        rows.append(
            f"<text x=0 y={y + 15}>{escape(_short(name))}</text>"
            f"<rect class={look} x=210 y={y + 4} width={width:.1f} height=14 rx=2 />"
            f"<text class=v x=520 y={y + 15}>{escape(text)}</text>"
        )
        if mark is not None:
            x = 210 + 300 * min(1.0, mark / scale)
            rows.append(f"<line x1={x:.1f} x2={x:.1f} y1={y + 1} y2={y + 21} />")
    title = escape("; ".join(f"{name}: {text}" for name, _, text, _, _ in bars))
    return f"<svg viewBox='0 0 700 {24 * len(bars)}' role=img><title>{title}</title>{''.join(rows)}</svg>"


def _short(name: str) -> str:
    return name if len(name) <= 26 else f"{name[:25]}\u2026"


def _text(title: str, text: Any) -> str:
    return f"<h2>{title}</h2><p>{escape(str(text))}</p>" if text else ""


def _table(title: str, rows: Iterable[tuple[str, Any]]) -> str:
    cells = "".join(f"<tr><th>{escape(str(name))}</th><td>{escape(_told(value))}</td></tr>" for name, value in rows)
    return f"<h2>{escape(title)}</h2><table>{cells}</table>" if cells else ""


def _told(value: Any) -> str:
    return ", ".join(f"{name} {each}" for name, each in value.items()) if isinstance(value, Mapping) else str(value)


def _part(whole: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = whole.get(name)
    return found if isinstance(found, Mapping) else {}


def _when(unix_ns: Any) -> str:
    return datetime.fromtimestamp(int(unix_ns) // 1_000_000_000, UTC).strftime("%Y-%m-%d %H:%M UTC")
