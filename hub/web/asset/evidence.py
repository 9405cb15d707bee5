"""An alert's evidence, out of the lake: the raw samples around its opening, channel by channel.

What is sent is bounded: where a channel has more samples than a screen has points, each group of neighbours is drawn by its
lowest and its highest, so that no peak is thinned away.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import pairwise
from typing import Any, Final

import numpy as np
import pyarrow.dataset as ds

from hub.web.asset.alerts import AssetAlert
from hub.web.asset.kinds import Kind
from hub.web.asset.lake_windows import Floats
from hub.web.asset.scores import numbers
from hub.web.asset.spectrum import FAST_HZ, amplitude_spectrum
from hub.web.seams import Windows
from hub.web.words import NS_PER_S
from models.contract.names import MAX_CHANNELS

MAX_SAMPLES: Final = 2000  # of a channel, drawn
MAX_DRAWN: Final = 16  # channels
_DAY_NS: Final = 86_400 * NS_PER_S


@dataclass(frozen=True, slots=True, eq=False)
class Excerpt:
    """`values`: (n, channels), a row each 1 / `rate_hz` from `start_ns`, by the device's clock."""

    start_ns: int
    rate_hz: float
    channels: tuple[str, ...]
    values: Floats


def read_excerpt(lake: Windows, device_id: str, alert: AssetAlert) -> Excerpt | None:
    """None where the lake has none: it has not arrived yet, was evicted on the device, or was deleted with its age."""
    dataset = lake.dataset("evidence")
    mine = (ds.field("device_id") == device_id) & (ds.field("alert_id") == alert.alert_id) & ~ds.field("sample")
    days = (ds.field("day") >= _day(alert.said_opened_ns - _DAY_NS)) & (ds.field("day") <= _day(alert.said_opened_ns + _DAY_NS))
    columns = ["start_ns", "rate_hz", "channels", "values"]
    for row in dataset.head(1, columns=columns, filter=mine & days).to_pylist():
        n_channels = len(row["channels"])
        values = np.asarray(row["values"], np.float64)
        if 0 < n_channels <= MAX_CHANNELS and row["rate_hz"] > 0 and len(values) and not len(values) % n_channels:
            return Excerpt(row["start_ns"], row["rate_hz"], tuple(row["channels"]), values.reshape(-1, n_channels))
    return None


def figures(excerpt: Excerpt, alert: AssetAlert, kind: Kind | None) -> dict[str, Any]:
    """JSON-able. `opened`: when the alert opened, seconds from the excerpt's first sample; `channels`: those that contribute
    most first, each with `t` (seconds, likewise), `values`, `share` (None = not among those that contribute), `usual` ([low,
    high] of its samples while commissioning: mean and two standard deviations either side), and of fast ones `spectrum`."""
    shares = {share.channel: share.share for share in alert.top}
    order = sorted(range(len(excerpt.channels)), key=lambda at: -shares.get(excerpt.channels[at], 0.0))
    return {
        "start": excerpt.start_ns / NS_PER_S,
        "rate_hz": excerpt.rate_hz,
        "n_samples": len(excerpt.values),
        "opened": (alert.said_opened_ns - excerpt.start_ns) / NS_PER_S,
        "channels": [_channel(excerpt, at, shares, kind) for at in order[:MAX_DRAWN]],
    }


def _channel(excerpt: Excerpt, at: int, shares: dict[str, float], kind: Kind | None) -> dict[str, Any]:
    name, values = excerpt.channels[at], excerpt.values[:, at]
    rows = drawn(values)
    fast = excerpt.rate_hz >= FAST_HZ
    return {
        "name": name,
        "unit": kind.unit(name) if kind else "",
        "share": shares.get(name),
        "t": [float(f"{second:.6g}") for second in (rows / excerpt.rate_hz).tolist()],
        "values": numbers(values[rows]),
        "thinned": len(rows) < len(values),
        "usual": _usual(kind, name) if kind else None,
        "spectrum": amplitude_spectrum(values, excerpt.rate_hz) if fast else None,
    }


def drawn(values: Floats, limit: int = MAX_SAMPLES) -> np.ndarray:
    """Positions, ascending, of at most `limit` of (n,) values: of each group of neighbours the lowest and the highest."""
    if len(values) <= limit:
        return np.arange(len(values))
    edges = np.linspace(0, len(values), limit // 2 + 1).astype(int)
    chosen: set[int] = set()
    for start, end in pairwise(edges):
        group = values[start:end]
        if np.isfinite(group).any():
            chosen |= {start + int(np.nanargmin(group)), start + int(np.nanargmax(group))}
        else:
            chosen.add(int(start))  # the gap stays one
    return np.array(sorted(chosen))


def _usual(kind: Kind, channel: str) -> list[float] | None:
    level, wide = kind.normal_of(channel, "mean"), kind.normal_of(channel, "std")
    return None if level is None or wide is None else [level[0] - 2 * wide[0], level[0] + 2 * wide[0]]


def _day(ns: int) -> date:
    return datetime.fromtimestamp(max(0, ns // NS_PER_S), UTC).date()
