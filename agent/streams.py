"""The channels of one asset that are watched reading by reading, beside its windows: from clean readings to alerts.

Readings come from closed windows, after quality control: in order, each once, without what is a sensor's fault. So an alert
waits for its window to close, and over a restart it is the windows that know which readings have been used up.

Invariants:
1. A channel has at most one open alert here; it names that channel alone, and what the reading stands out from: the nearest
   value that had ever been seen, or the one that is usual at its time of the week.
2. What is learned while the agent runs is kept once an hour of event time, and with each alert that opens or closes.
3. However many readings come, what is judged of a window is bounded: beyond ten times what the declared rate promises they are
   thinned out evenly.
4. A memory that does not fit costs that channel what it had learned, and nothing else; `forgotten` says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np

from agent.timeline import restated
from models.contract.clock import NS_PER_S
from models.contract.items import STREAMING, Alert, ClockMark
from models.contract.names import stable_id
from models.contract.profile import Channel, Profile
from models.detectors.quality import CleanWindow
from models.detectors.reading_alarm import AlarmMemory, ReadingAlarm
from models.detectors.season import SLOT_S
from models.detectors.streaming import WARM_UP, Heard
from models.quality.samples import Values

_SAVE_EVERY_NS: Final = 3600 * NS_PER_S
_MANY: Final = 10  # times what the declared rate promises
_FEW: Final = 100  # readings, that are always judged one by one


class SavedStreams(msgspec.Struct, frozen=True, kw_only=True):
    """What survives a restart, by channel. `memories`: each an `AlarmMemory` as msgpack, so that a bad one harms no other.
    `alerts`: the open ones."""

    memories: dict[str, bytes] = {}
    alerts: dict[str, Alert] = {}


@dataclass(slots=True)
class _Stream:
    """One channel; `index`: its place in the profile. `max_readings`: of a window."""

    channel: Channel
    index: int
    alarm: ReadingAlarm
    max_readings: int
    alert: Alert | None = None


class Streams:
    """Of one asset; nothing, and at no cost, where its profile has no `[streaming]`. `dirty`: whether `saved` is to be kept."""

    def __init__(self, asset: str, profile: Profile, boot_id: str = "") -> None:
        self._asset = asset
        self._boot_id = boot_id
        self._profile = profile
        self._streams = self._fresh()
        self._ownerless: list[Alert] = []  # open, of channels that are watched no more
        self._used_up_ns = 0  # event time up to which readings have been judged
        self._saved_ns = 0
        self.forgotten: list[str] = []
        self.dirty = False

    def _fresh(self) -> list[_Stream]:
        names, plan = self._profile.channel_names, self._profile.streaming
        streams = []
        for index in sorted(map(names.index, plan.channels)):
            channel = self._profile.channels[index]
            promised = self._profile.rate_of(channel) * self._profile.windowing.window_s
            streams.append(_Stream(channel, index, ReadingAlarm(plan.threshold), max(_FEW, round(_MANY * promised))))
        return streams

    @property
    def alerts(self) -> list[Alert]:
        """The open ones."""
        return [stream.alert for stream in self._streams if stream.alert is not None]

    @property
    def learned(self) -> dict[str, tuple[int, int]]:
        """By channel: (readings learned from, readings needed until it is judged)."""
        return {stream.channel.name: (min(stream.alarm.n, WARM_UP), WARM_UP) for stream in self._streams}

    # --- state ---------------------------------------------------------------------------------------------------

    def saved(self) -> SavedStreams:
        """What to keep; clears `dirty`."""
        self.dirty = False
        self._saved_ns = self._used_up_ns
        return SavedStreams(
            memories={stream.channel.name: msgspec.msgpack.encode(stream.alarm.memory) for stream in self._streams},
            alerts={stream.channel.name: stream.alert for stream in self._streams if stream.alert is not None},
        )

    def restore(self, saved: SavedStreams) -> None:
        """Go on from `saved`. An open alert whose channel lost its memory, or is watched no more, closes with a window."""
        open_alerts = dict(saved.alerts)
        for stream in self._streams:
            name = stream.channel.name
            memory = saved.memories.get(name)
            if memory is None:
                continue
            try:
                stream.alarm = ReadingAlarm(self._profile.streaming.threshold, _decoded(memory))
            except ValueError as error:
                self.forgotten.append(f"{name}: what the streaming detector knew of it is lost, it begins anew: {error}")
                continue
            if stream.alarm.alarm:
                stream.alert = open_alerts.pop(name, None)
            if stream.alert is None:
                stream.alarm.end()
        self._ownerless = list(open_alerts.values())

    def forget(self, at_ns: int) -> list[Alert]:
        """Begin anew, as after maintenance: what was open, closed."""
        closed = [_closed(alert, at_ns) for alert in self.alerts]
        self._streams = self._fresh()
        self.dirty = True
        return closed

    def step(self, mark: ClockMark) -> None:
        """The clock that dates the readings was set: what is open is told by the new time. Where it was set by half an hour or
        more, what half hours of the week show was learned by a wrong clock."""
        for stream in self._streams:
            if abs(mark.after_ns - mark.before_ns) >= SLOT_S * NS_PER_S:
                stream.alarm.forget_times()
            if stream.alert is not None:
                stream.alert = msgspec.structs.replace(stream.alert, opened_ns=restated(stream.alert.opened_ns, mark))

    # --- readings ------------------------------------------------------------------------------------------------

    def judge(self, window: CleanWindow, nonce: tuple[str, int]) -> list[Alert]:
        """The alerts that open or close by a closed window's readings. `nonce`: what tells windows of the same times apart."""
        if not self._streams and not self._ownerless:
            return []
        alerts = [_closed(alert, window.end_ns) for alert in self._ownerless]
        self._ownerless = []
        if self._used_up_ns >= window.end_ns:  # the clock was set back: these are other readings
            self._used_up_ns = self._saved_ns = 0
        for stream in self._streams:
            times, values, *_ = window.samples[stream.index]
            new = int(np.searchsorted(times, self._used_up_ns, side="right"))
            alerts += self._judge(stream, times[new:].tolist(), values[new:], nonce)
        self._used_up_ns = window.end_ns
        self.dirty = self.dirty or bool(alerts) or self._used_up_ns - self._saved_ns >= _SAVE_EVERY_NS
        return alerts

    def pass_over(self, window: CleanWindow) -> None:
        """The machine was at rest in it, or had just started: its readings are neither judged nor learned."""
        self._used_up_ns = max(self._used_up_ns, window.end_ns) if self._streams else 0

    def _judge(self, stream: _Stream, times: Sequence[int], values: Values, nonce: tuple[str, int]) -> list[Alert]:
        told = []
        every = -(-len(times) // stream.max_readings) or 1
        for t_ns, value in zip(times[::every], values[::every].tolist(), strict=True):
            heard = stream.alarm.update(value, t_ns / NS_PER_S)
            if stream.alarm.is_odd(heard):
                if stream.alert is None:
                    stream.alert = self._alert(stream.channel, t_ns, value, heard, nonce)
                    told.append(stream.alert)
                elif heard.score > stream.alert.score:
                    said = _what(stream.channel, value, heard)
                    p_value = min(heard.p_value, stream.alert.p_value)
                    stream.alert = msgspec.structs.replace(stream.alert, score=heard.score, p_value=p_value, detail=said)
                    self.dirty = True
            elif stream.alert is not None and not stream.alarm.alarm:
                told.append(_closed(stream.alert, t_ns))
                stream.alert = None
        return told

    def _alert(self, channel: Channel, t_ns: int, value: float, heard: Heard, nonce: tuple[str, int]) -> Alert:
        """Always a warning: no p-value of a single reading has been calibrated well enough to call it critical."""
        return Alert(
            alert_id=stable_id(self._asset, self._asset, STREAMING, channel.name, t_ns, *nonce), asset=self._asset,
            profile=self._profile.name, detector=STREAMING, severity="warning", opened_ns=t_ns, p_value=heard.p_value,
            score=heard.score, top=[(channel.name, 1.0)], detail=_what(channel, value, heard),
        )  # fmt: skip


def _decoded(memory: bytes) -> AlarmMemory:
    """Raises ValueError where it is no memory."""
    try:
        return msgspec.msgpack.decode(memory, type=AlarmMemory)
    except msgspec.MsgspecError as error:
        raise ValueError(str(error)) from None


def _closed(alert: Alert, at_ns: int) -> Alert:
    return msgspec.structs.replace(alert, closed_ns=max(at_ns, alert.opened_ns))


def _what(channel: Channel, value: float, heard: Heard) -> str:
    """The reading, and what it stands out from: the nearest value that was ever seen, or what is usual at its time."""
    nearest = heard.below if value - heard.below <= heard.above - value else heard.above
    said, near, usual = (f"{number:.6g} {channel.unit}".rstrip() for number in (value, nearest, heard.usual or 0.0))
    other = f"the nearest ever seen is {near}" if heard.usual is None else f"at this time of the week {usual} is usual"
    return f"{said}; {other}"


def learned_least(learned: Mapping[str, tuple[int, int]]) -> tuple[int, int]:
    """The channel that is farthest from being judged."""
    return min(learned.values(), default=(0, WARM_UP))
