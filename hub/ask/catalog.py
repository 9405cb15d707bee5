"""What can be asked about: the views, their columns, and what each column says.

The one place where they are stated: the gate lets queries read these and nothing else, the endpoint is told these and no
data, docs/ask.md is held to them by a test. Times are TIMESTAMPTZ, shown in the time zone of whoever asks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, get_args

ViewName = Literal[
    "alerts", "sensor_faults", "assets", "devices", "windows", "rollouts", "models", "training_runs", "ledger"
]  # fmt: skip
VIEW_NAMES: Final[tuple[ViewName, ...]] = get_args(ViewName)


@dataclass(frozen=True, slots=True)
class View:
    """`time`: the column that a span of time is about, "" where there is none. `shown`: what a list shows, most telling first.
    `order`: of a list."""

    time: str
    shown: tuple[str, ...]
    order: str
    columns: Mapping[str, str]


_WHERE: Final = {"device": "the device's id", "site": "where the device stands"}
_ASSET: Final = {"asset": "the asset", "profile": "its profile: pump, fan, …"}
_LASTED: Final = {
    "opened": "when it began",
    "closed": "when it ended; NULL while it is open",
    "is_open": "whether it has not ended",
    "duration_s": "seconds from beginning to end; to now while it is open",
}

VIEWS: Final[Mapping[ViewName, View]] = {
    "alerts": View(
        "opened",
        ("asset", "site", "device", "severity", "opened", "closed", "cause", "p_value"),
        "opened DESC",
        {
            **_WHERE,
            **_ASSET,
            "severity": "warning or critical",
            **_LASTED,
            "cause": "the channel with the largest share of the score",
            "causes": "every channel with at least a fifth of the score, the largest first (a list)",
            "p_value": "the smallest of its windows",
            "score": "the largest of its windows",
            "detector": "what raised it: a model, or baseline",
            "verdict": "what an operator said last: confirm, false-alarm, maintenance; NULL while nobody did",
            "alert": "its id, unique within the device",
        },
    ),
    "sensor_faults": View(
        "opened",
        ("asset", "channel", "fault", "site", "device", "opened", "closed", "detail"),
        "opened DESC",
        {
            **_WHERE,
            **_ASSET,
            "channel": "the channel; empty for the whole source",
            "source": "the source on the device",
            "fault": "stuck, missing, out_of_range, spike, link, step, noise, rate, time, disagreement",
            "detail": "what was seen",
            **_LASTED,
        },
    ),
    "assets": View(
        "",
        ("asset", "site", "device", "profile", "state", "since", "model"),
        "site, asset",
        {
            **_WHERE,
            **_ASSET,
            "state": "as of now: alarm, silent, commissioning, not_judged (at rest or just started, as the hub infers), normal",
            "p_value": "of its latest window",
            "since": "since when it is in that state",
            "model": "what decides there; NULL = the baseline detector",
        },
    ),
    "devices": View(
        "",
        ("device", "site", "online", "last_seen", "state", "agent_version", "hardware", "backlog_items"),
        "device",
        {
            **_WHERE,
            "state": "active, suspended, revoked",
            "online": "whether it was heard within three check-ins",
            "last_seen": "when it was last heard",
            "enrolled": "when it enrolled",
            "hardware": "what it is",
            "agent_version": "the version of its agent",
            "backlog_items": "items that wait on it",
            "backlog_bytes": "and their bytes",
            "alone_days": "how many days it lasts without the hub",
            "rss_bytes": "memory of its agent",
        },
    ),
    "windows": View(
        "started",
        ("asset", "site", "device", "started", "ended", "p_value", "score", "alarm"),
        "started DESC",
        {
            **_WHERE,
            **_ASSET,
            "started": "when the window began",
            "ended": "when it ended",
            "day": "the UTC day of its beginning; conditions on it keep files of other days closed",
            "p_value": "of the detector that decided",
            "score": "of the detector that decided",
            "alarm": "whether the asset was in alarm",
            "commissioning": "whether the asset was still being learned",
            "n_readings": "readings in it",
            "n_late": "readings that came too late",
            "top": "channels with the largest shares of the score (a list)",
            "faulty": "channels left out because of sensor faults (a list)",
        },
    ),
    "rollouts": View(
        "started",
        ("model", "profile", "state", "stage", "started", "ended", "reason"),
        "started DESC",
        {
            "rollout": "its id",
            "profile": "whose model it is",
            "model": "what is rolled out",
            "incumbent": "what it replaces; NULL = the baseline detector",
            "state": "running, paused, halted, rolled_back, aborted, done",
            "stage": "the stage it is in, or ended in",
            "started": "when it was started",
            "ended": "when it ended; NULL while it has not",
            "reason": "why it ended so",
        },
    ),
    "models": View(
        "created",
        ("model", "profile", "version", "created", "n_devices", "in_fleet"),
        "created DESC",
        {
            "model": "its id",
            "profile": "what it is for",
            "version": "counted within the profile",
            "created": "when it was made",
            "size_bytes": "of its bundle",
            "n_devices": "devices on which it decides",
            "in_fleet": "whether it is what its profile's devices should run",
        },
    ),
    "training_runs": View(
        "started",
        ("run", "profile", "state", "started", "ended", "model", "error"),
        "started DESC",
        {
            "run": "its id",
            "profile": "what was trained",
            "state": "running, done, failed",
            "started": "when it began",
            "ended": "when it ended; NULL while it has not",
            "duration_s": "seconds from beginning to end; NULL while it has not",
            "model": "what came of it",
            "error": "why it failed",
        },
    ),
    "ledger": View(
        "",
        ("device", "site", "lane", "n_missing", "n_received", "n_evicted", "n_merged"),
        "n_missing DESC, device, lane",
        {
            **_WHERE,
            "lane": "alerts, aggregates, evidence",
            "n_received": "items received",
            "n_missing": "items known to exist, and not here",
            "n_evicted": "items that the device gave up",
            "n_merged": "items that it merged into rollups",
            "n_redelivered": "items received again, without effect",
            "n_rejected": "items refused",
        },
    ),
}
