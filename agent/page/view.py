"""The page as HTML: what `tocsin agent top` shows, with each asset's last scores as a curve. Pure: a status in, markup out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from agent.page.html import Html, element, joined
from agent.page.sparkline import sparkline
from agent.status.status_text import by_reading, rest_lines, status_line
from agent.status.words import age, odds, open_alerts, size, span, told_alert, unjudged

Status = Mapping[str, Any]

_ORDER: Final = ("alarm", "silent", "commissioning", "starting", "at rest", "normal")
_HEADLINES: Final = {
    "silent": ("1 machine is silent", "{} machines are silent"),
    "commissioning": ("Learning what is normal", "Learning what is normal"),
}
# What each state looks like beside its colour: a triangle, a ring, a broken ring, a disc, a dot.
_SHAPES: Final = {
    "alarm": element("path", d="M8 1.5 15.2 14.5H.8z"),
    "silent": element("circle", cx=8, cy=8, r=5.8, class_="ring"),
    "commissioning": element("circle", cx=8, cy=8, r=5.8, class_="ring broken"),
    "normal": element("circle", cx=8, cy=8, r=6.8),
    "at rest": element("circle", cx=8, cy=8, r=2.6),
    "starting": element("circle", cx=8, cy=8, r=2.6),
    "fault": element("path", d="M8 .8 15.2 8 8 15.2 .8 8z"),
}
_LINK_SHAPES: Final = {"up": "normal", "down": "alarm", "connecting": "commissioning"}


def page(status: Status) -> Html:
    """The whole document."""
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title(status)),
        element("link", rel="icon", href="bell.svg", type="image/svg+xml"),
        element("link", rel="stylesheet", href="page.css"),
        element("noscript", element("meta", http_equiv="refresh", content="5")),
        element("script", src="page.js", defer=""),
    )
    top = element(
        "header",
        element("span", "Tocsin", class_="brand"),
        element("span", status["device"], class_="device"),
        element("span", "as of when it was loaded", id="link"),
    )
    body = element("body", top, element("main", part(status), id="main"))
    return joined(Html("<!doctype html>"), element("html", head, body, lang="en"))


def part(status: Status) -> Html:
    """What changes: the document's `main`."""
    assets = sorted(status["assets"].items(), key=lambda named: (_rank(named[1]["state"]), named[0]))
    share = status.get("cpu_share")
    load = f", {share:.1%} of a core" if share is not None else ""
    facts = f"tocsin {status['version']}, up {span(status['uptime_s'])}, {size(status['rss_bytes'])} of memory{load}"
    is_alarm = any(asset["state"] == "alarm" for asset in status["assets"].values())
    return joined(
        element("h1", headline(status), class_="alarm" if is_alarm else None, data_title=title(status)),
        element("p", f"{status_line(status)}. {facts}", class_="facts"),
        element("ul", *(_asset(name, asset, status["now_ns"]) for name, asset in assets), class_="assets"),
        *_faults(status),
        _sources(status),
        element("section", element("h2", "Models, outbox, hub"), element("ul", *_rest(status), class_="rest")),
    )


def title(status: Status) -> str:
    return f"{headline(status)} – {status['device']}"


def headline(status: Status) -> str:
    """What a passer-by should know."""
    states = [asset["state"] for asset in status["assets"].values()]
    n_alarms = states.count("alarm")
    if n_alarms:
        return "1 machine in alarm" if n_alarms == 1 else f"{n_alarms} machines in alarm"
    for state, (one, many) in _HEADLINES.items():
        if n := states.count(state):
            return one if n == 1 else many.format(n)
    n_faults = len(status["faults"])
    if n_faults:
        return "1 sensor fault" if n_faults == 1 else f"{n_faults} sensor faults"
    if states and all(state == "at rest" for state in states):
        return "All machines at rest"
    return "All machines normal"


def _rank(state: str) -> int:
    return _ORDER.index(state) if state in _ORDER else 0


def _shape(kind: str) -> Html:
    return element(
        "svg", _SHAPES.get(kind, _SHAPES["fault"]), class_=f"shape {_class_of(kind)}", viewBox="0 0 16 16", aria_hidden="true"
    )


def _asset(name: str, asset: Status, now_ns: int) -> Html:
    state, p_value, window_s = asset["state"], asset["p_value"], asset.get("window_age_s")
    told = asset["since_ns"] and state != "silent"
    since = f" for {span((now_ns - asset['since_ns']) / 1e9)}" if told else ""
    learned = f"{asset['commissioned']} {asset.get('learns', 'windows')} learned"
    how = learned if p_value is None else odds(p_value)
    if asset.get("rest"):
        how = unjudged(state, asset["rest"], learned)
    last = f", last window {age(window_s)} ago" if window_s is not None else ", no window yet"
    top = ", ".join(asset.get("top") or ())
    parts = [
        element("h2", _shape(state), element("bdi", name), element("bdi", asset["profile"], class_="profile")),
        element("p", element("b", state), since, class_="state"),
        sparkline(tuple(asset.get("p_values") or ())),
        element("p", f"{how}{last}", class_="detail"),
    ]
    alerts = open_alerts(asset)
    parts += [element("p", _alert(alert, now_ns), class_="alert") for alert in alerts]
    if top and not alerts:
        parts.append(element("p", "oddest: ", element("bdi", top), class_="detail"))
    if readings := by_reading(asset):
        parts.append(element("p", element("bdi", readings), class_="detail"))
    return element("li", *parts, class_=f"asset {_class_of(state)}")


def _class_of(kind: str) -> str:
    return kind.replace(" ", "-")


def _alert(alert: Status, now_ns: int) -> str:
    since = f" since {span((now_ns - alert['since_ns']) / 1e9)}" if alert.get("since_ns") else ""
    return f"{alert['severity']} alert{since}: {told_alert(alert)}"


def _faults(status: Status) -> Iterator[Html]:
    if not status["faults"]:
        return
    rows = [
        element(
            "li", _shape("fault"), element("b", element("bdi", fault["where"])),
            f" {fault['fault']} for {span((status['now_ns'] - fault['since_ns']) / 1e9)}",
            *(("; ", element("bdi", fault["detail"])) if fault["detail"] else ()),
        )
        for fault in status["faults"]
    ]  # fmt: skip
    yield element("section", element("h2", "Sensor faults"), element("ul", *rows, class_="faults"))


def _sources(status: Status) -> Html:
    heads = [element("th", head, scope="col") for head in ("Source", "Link", "Readings", "Last", "")]
    rows = [element("tr", *_source(name, source)) for name, source in status["sources"].items()]
    table = element("table", element("thead", element("tr", *heads)), element("tbody", *rows))
    return element("section", element("h2", "Sources"), element("div", table, class_="wide"))


def _source(name: str, source: Status) -> Iterator[Html]:
    rate, last_s = source.get("readings_per_s"), source.get("reading_age_s")
    yield element("th", element("bdi", name), scope="row")
    yield element("td", _shape(_LINK_SHAPES.get(source["link"], "fault")), source["link"])
    yield element("td", "" if rate is None else f"{rate:,.1f}/s", class_="number")
    yield element("td", "none" if last_s is None else "now" if last_s < 2 else f"{age(last_s)} ago")
    yield element("td", element("bdi", source["detail"]), class_="detail")


def _rest(status: Status) -> Iterator[Html]:
    for line in rest_lines(status):
        text = line.strip()
        yield element("li", text.removeprefix("! "), class_="warn" if text.startswith("!") else None)
