"""Which view a question is about, and what a name or a state means in it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Final

from hub.ask.catalog import VIEWS, ViewName
from hub.ask.question import Filter

FAULTS: Final = frozenset(
    ["stuck", "missing", "out_of_range", "spike", "link", "step", "noise", "rate", "time", "disagreement"]
)
VERDICTS: Final = frozenset({"confirm", "false-alarm", "maintenance", "unjudged"})
SEVERITIES: Final = frozenset({"critical", "warning"})
ASSET_STATES: Final = frozenset({"alarm", "silent", "commissioning", "not_judged", "normal"})
DEVICE_WORDS: Final = frozenset({"online", "offline", "suspended", "revoked"})
EVENTS: Final[tuple[ViewName, ...]] = ("alerts", "sensor_faults", "windows")  # things that happen to entities
ENTITIES: Final[Mapping[str, str]] = {  # thing: column
    "asset": "asset", "device": "device", "site": "site", "channel": "cause", "profile": "profile", "model": "model",
    "severity": "severity", "kind": "fault", "state": "state", "lane": "lane", "verdict": "verdict", "hardware": "hardware",
}  # fmt: skip

PLACES: Final = ("asset", "device", "site", "profile")  # that are there whether or not anything happens to them
OWN: Final[Mapping[ViewName, tuple[str, ...]]] = {  # things that are a view's own rows
    "alerts": ("alert",),
    "sensor_faults": ("sensor_fault",),
    "assets": (),
    "devices": (),
    "windows": ("window",),
    "rollouts": ("rollout",),
    "models": (),
    "training_runs": ("training_run",),
    "ledger": ("ledger", "missing"),
}
MEASURES: Final[Mapping[str, str]] = {
    "duration": "duration_s", "p_value": "p_value", "score": "score", "backlog": "backlog_items", "alone": "alone_days",
    "memory": "rss_bytes",
}  # fmt: skip

Said = Callable[..., bool]  # whether a meaning of a kind, and of one of the values, was said


def view_of(said: Said, values: Collection[str], named: Collection[str], timed: bool, ranked: bool) -> ViewName | None:
    """The view; None where nothing points to one. `values`: states and kinds that were said; `named`: kinds of names; `timed`:
    whether a time was said; `ranked`: whether the most or longest is asked for."""
    alert = said("thing", "alert") or any(said("event", event) for event in ("alert", "trouble", "happened"))
    measured = said("measure", "p_value") or said("measure", "score")
    rules: tuple[tuple[ViewName, bool], ...] = (
        ("sensor_faults", said("thing", "sensor_fault")),
        ("ledger", said("thing", "ledger") or said("thing", "missing")),
        ("rollouts", said("thing", "rollout")),
        ("training_runs", said("thing", "training_run")),
        ("windows", said("thing", "window") or (measured and not alert)),
        ("alerts", alert),
        ("assets", _model_somewhere(said, named)),
        ("models", said("thing", "model")),
        ("sensor_faults", not FAULTS.isdisjoint(values)),
        ("alerts", not (SEVERITIES | VERDICTS).isdisjoint(values)),
        ("alerts", said("ask", "how_long") or said("measure", "duration")),
        ("devices", _about_devices(said, values)),
        ("alerts", "channel" in named or said("thing", "channel") or (ranked and _about_assets(said, named))),
        ("devices", said("thing", "device")),
        ("assets", not ASSET_STATES.isdisjoint(values) or said("thing", "asset") or "profile" in named),
        ("alerts", timed and bool(named)),
        ("assets", "asset" in named),
        ("models", "model" in named),
        ("devices", said("thing", "site") or "device" in named),
        ("assets", "site" in named or said("thing", "profile")),
    )
    return next((view for view, holds in rules if holds), None)


def _model_somewhere(said: Said, named: Collection[str]) -> bool:
    """Which model runs there, or where a model runs: that is with the assets."""
    places = not {"device", "asset", "site"}.isdisjoint(named)
    things = any(said("thing", thing) for thing in ("device", "asset", "site"))
    return (said("thing", "model") and (places or things)) or ("model" in named and things)


def _about_devices(said: Said, values: Collection[str]) -> bool:
    times = any(said("time", column) for column in ("last_seen", "enrolled"))
    measures = any(said("measure", measure) for measure in ("backlog", "version", "alone", "memory"))
    return times or measures or not DEVICE_WORDS.isdisjoint(values) or (said("thing", "device") and "silent" in values)


def _about_assets(said: Said, named: Collection[str]) -> bool:
    return any(said("thing", thing) for thing in ("asset", "site", "device", "profile")) or "profile" in named


def measured_column(view: ViewName, said: Said, take: Callable[[str, str], object] | None = None) -> str:
    """The column of the measure that was said, "" for none; `take` is told of it."""
    for measure, column in MEASURES.items():
        if column in VIEWS[view].columns and said("measure", measure):
            if take is not None:
                take("measure", measure)
            return column
    return ""


def filter_of(view: ViewName, value: str) -> Filter | None:
    """A state or kind in a view; None where it means nothing there."""
    return _VALUES[view].get(value)


def column_of(view: ViewName, kind: str) -> tuple[str, bool] | None:
    """The column for a name of that kind, and whether it is a list; None where the view has none."""
    if kind == "channel":
        return {"alerts": ("causes", True), "sensor_faults": ("channel", False), "windows": ("top", True)}.get(view)
    if kind == "model" and view == "alerts":
        return "detector", False
    return (kind, False) if kind in VIEWS[view].columns else None


def entity_column(view: ViewName, thing: str) -> str | None:
    """The column for a thing that is asked for or grouped by; None where the view has none."""
    column = ENTITIES.get(thing)
    if column == "cause" and view == "sensor_faults":
        column = "channel"
    if column == "fault" and view == "alerts":
        column = "cause"
    if column == "fault" and "fault" not in VIEWS[view].columns:
        column = "profile"
    return column if column in VIEWS[view].columns else None


def _is(column: str, *values: str) -> Filter:
    return Filter(column, "=", values)


_OPEN: Final = {value: Filter("is_open", "true") for value in ("open", "now", "running")} | {
    "closed": Filter("is_open", "false")
}
_VALUES: Final[Mapping[ViewName, Mapping[str, Filter]]] = {
    "alerts": {
        **_OPEN,
        **{value: _is("severity", value) for value in SEVERITIES},
        **{value: _is("verdict", value) for value in VERDICTS - {"unjudged"}},
        "unjudged": Filter("verdict", "null"),
        "alarm": Filter("is_open", "true"),
    },
    "sensor_faults": {**_OPEN, **{value: _is("fault", value) for value in FAULTS}},
    "assets": {value: _is("state", value) for value in ASSET_STATES},
    "devices": {
        "online": Filter("online", "true"),
        "offline": Filter("online", "false"),
        "silent": Filter("online", "false"),
        "open": _is("state", "active"),
        "suspended": _is("state", "suspended"),
        "revoked": _is("state", "revoked"),
    },
    "windows": {"alarm": Filter("alarm", "true"), "commissioning": Filter("commissioning", "true")},
    "rollouts": {
        **{value: _is("state", value) for value in ("running", "paused", "halted", "rolled_back", "aborted", "done")},
        "open": _is("state", "running"),
        "now": _is("state", "running"),
        "closed": Filter("ended", "not null"),
        "failed": _is("state", "halted", "rolled_back", "aborted"),
    },
    "models": {"running": Filter("n_devices", ">", (0,)), "open": Filter("n_devices", ">", (0,))},
    "training_runs": {
        **{value: _is("state", value) for value in ("running", "done", "failed")},
        "open": _is("state", "running"),
        "now": _is("state", "running"),
        "closed": Filter("ended", "not null"),
    },
    "ledger": {"missing": Filter("n_missing", ">", (0,))},
}
