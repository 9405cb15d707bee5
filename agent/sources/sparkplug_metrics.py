"""What the metrics of one Sparkplug edge node or device mean: from its birth on, readings of an asset's channels.

Invariants:
1. A metric is read only by a birth that was heard: the birth says what an alias stands for and what type it has. An alias
   that no birth has named, or whose birth may be out of date (`doubt`), is left out: a value under another's name is worse
   than none.
2. Numbers and truth values (1 or 0) are readings. A null, a value without quality "good", and what is not finite are
   readings of NaN: the sensor says that it has nothing. Text, dates and the rest count as unknown.
3. `is_historical`: a reading of its own time, never the current value. Without a time to go by it is left out.
4. Two metrics that would be one channel by the last part of their names are neither: `ambiguous` names them.
5. Memory is bounded by what one birth may hold (`sparkplug_wire.MAX_METRICS`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from agent.sources.decode import checked_time, series
from agent.sources.sparkplug_wire import Metric, Payload, Value
from models.contract.reading import Reading, Readings

GOOD: Final = 192
_SIGNED_BITS: Final = {1: 8, 2: 16, 3: 32, 4: 64}
_UNSIGNED_BITS: Final = {5: 8, 6: 16, 7: 32, 8: 64}
_FLOATING: Final = (9, 10)
_BOOLEAN: Final = 11
_NUMERIC: Final = frozenset((*_SIGNED_BITS, *_UNSIGNED_BITS, *_FLOATING, _BOOLEAN))
_NS_PER_MS: Final = 1_000_000


class _Known(NamedTuple):
    """What a birth said of a metric. `channel`: None = it is not among those that are wanted."""

    channel: str | None
    datatype: int


@dataclass(slots=True)
class Taken:
    """What one message came to. `rows`: (captured_at_ns, value) by channel. `live`: without the historical.

    `unborn`: metrics that only another birth could explain. `counts`: stale, historical, left_out.
    """

    rows: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    live: dict[str, float] = field(default_factory=dict)
    n_unknown: int = 0
    unborn: int = 0
    counts: Counter[str] = field(default_factory=Counter)


class Metrics:
    """One node's or device's. `names`: channel by metric name. `channels`: those that the asset has."""

    def __init__(self, asset: str, names: Mapping[str, str], channels: frozenset[str], device_time: bool, hold: bool) -> None:
        self._asset = asset
        self._names = names
        self._channels = channels
        self._device_time = device_time
        self._hold = hold
        self._by_name: dict[str, _Known] = {}
        self._by_alias: dict[int, _Known] = {}
        self._last: dict[str, float] = {}  # current values by channel
        self._doubted = False
        self.born = False
        self.ambiguous = ""

    def birth(self, payload: Payload, now_ns: int) -> tuple[list[Readings], Taken]:
        """Takes over what the birth defines; its values are readings too. Raises FrameError for an absurd time."""
        self.forget()
        self._define(payload.metrics)
        self.born, self._doubted = True, False
        return self.data(payload, now_ns)

    def data(self, payload: Payload, now_ns: int) -> tuple[list[Readings], Taken]:
        """`now_ns`: its arrival, Unix ns. Raises FrameError for an absurd time."""
        taken = Taken()
        for metric in payload.metrics:
            self._take(metric, payload, now_ns, taken)
        if self._hold and taken.live:
            at_ns = self._time_of(None, payload, now_ns)
            for channel, value in self._last.items():
                if channel not in taken.live:
                    taken.rows.setdefault(channel, []).append((at_ns, value))
        self._last |= taken.live
        return [series(self._asset, channel, rows) for channel, rows in taken.rows.items()], taken

    def death(self, at_ns: int) -> list[Readings]:
        """It has nothing any more: NaN at `at_ns` for every channel that it has had."""
        readings: list[Readings] = [Reading(self._asset, channel, at_ns, math.nan) for channel in self._last]
        self.forget()
        return readings

    def doubt(self) -> None:
        """A message of the node is missing. It may have been a birth: aliases wait for the next one."""
        self._doubted = True

    def forget(self) -> None:
        self._by_name, self._by_alias, self._last = {}, {}, {}
        self.born, self.ambiguous = False, ""

    def _define(self, metrics: list[Metric]) -> None:
        claimed = set(self._names.values())
        ends: dict[str, set[str]] = {}
        for metric in metrics:
            if metric.name not in self._names:
                ends.setdefault(metric.name.rpartition("/")[2], set()).add(metric.name)
        clashing = {end for end, names in ends.items() if len(names) > 1 and end in self._channels and end not in claimed}
        self.ambiguous = ", ".join(name for end in sorted(clashing) for name in sorted(ends[end])[:3])
        for metric in metrics:
            end = metric.name.rpartition("/")[2]
            channel = self._names.get(metric.name, None if end in claimed or end in clashing else end)
            known = _Known(channel if channel in self._channels else None, metric.datatype)
            if metric.alias is not None:
                self._by_alias[metric.alias] = known
            if metric.name and known.channel is not None:
                self._by_name[metric.name] = known

    def _take(self, metric: Metric, payload: Payload, now_ns: int, taken: Taken) -> None:
        known = self._known(metric)
        if known is None:
            taken.unborn += 1
            taken.counts["left_out"] += 1
            return
        value = number(metric, metric.datatype or known.datatype)
        if known.channel is None or value is None:
            taken.n_unknown += 1
            return
        if metric.historical and not (self._device_time and (metric.timestamp_ms or payload.timestamp_ms)):
            taken.counts["left_out"] += 1
            return
        if metric.quality is not None and metric.quality != GOOD:
            taken.counts["stale"] += 1
            value = math.nan
        at_ns = self._time_of(metric, payload, now_ns)
        taken.rows.setdefault(known.channel, []).append((at_ns, value))
        if metric.historical:
            taken.counts["historical"] += 1
        else:
            taken.live[known.channel] = value

    def _known(self, metric: Metric) -> _Known | None:
        """None = only another birth could say."""
        if not self.born:
            return None
        if metric.name:
            known = self._by_name.get(metric.name)
            return known or _Known(None, 0)
        return None if self._doubted or metric.alias is None else self._by_alias.get(metric.alias)

    def _time_of(self, metric: Metric | None, payload: Payload, now_ns: int) -> int:
        said_ms = (metric.timestamp_ms if metric is not None else None) or payload.timestamp_ms
        return checked_time(said_ms * _NS_PER_MS, "timestamp") if self._device_time and said_ms else now_ns


def number(metric: Metric, datatype: int) -> float | None:
    """The metric's value, NaN where it says that it has none, None where its type is not a number's.

    Negative integers come as the two's complement of 32 or 64 bits or of the type's own width: all are understood.
    """
    value: Value = metric.value
    if datatype and datatype not in _NUMERIC:
        return None
    if metric.null or value is None:
        return math.nan if datatype else None
    if type(value) is int and datatype not in (*_FLOATING, _BOOLEAN):
        return _integer(value, datatype)
    if datatype == _BOOLEAN:
        return float(bool(value))
    return float(value) if math.isfinite(value) else math.nan


def _integer(value: int, datatype: int) -> float | None:
    if bits := _UNSIGNED_BITS.get(datatype):
        return float(value & (1 << bits) - 1)
    if bits := _SIGNED_BITS.get(datatype):
        value &= (1 << bits) - 1
        return float(value - (1 << bits) if value >> (bits - 1) else value)
    return None  # an integer of no type could be of either sign
