"""The survival envelope: how long the device lasts alone, and what it costs the card that it writes to.

    DIR/flash.json     what the agent has written since the state directory was made; kept at stops and every six hours

Rates are those of the last day, or since the start while that is less; `measured_s` says which.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

import msgspec

from agent.status.flash import FlashMeter
from agent.status.rate import DailyRate
from agent.storage.outbox import Outbox
from models.contract.checkin import FlashWear, LaneBacklog, Survival, Unsent
from models.contract.clock import NS_PER_S, Stamp
from models.contract.items import Item
from models.files import write_durably

_KEEP_EVERY_S: Final = 6 * 3600.0
_DAYS_A_YEAR: Final = 365.25


class Survey:
    """`note` now and then, from the pipeline's thread; `report` from any: it takes no lock, so that it answers also while that
    thread waits for the disk. `endurance_tbw`: of the card, as its maker states it."""

    def __init__(self, outbox: Outbox, flash: FlashMeter, directory: Path, endurance_tbw: float | None) -> None:
        self._outbox = outbox
        self._flash = flash
        self._path = directory / "flash.json"
        self._endurance = endurance_tbw * 1e12 if endurance_tbw is not None else None
        self._before = _read(self._path)
        self._kept_s = time.monotonic()
        self._stored, self._by_agent, self._by_all = DailyRate(), DailyRate(), DailyRate()
        self._noted_s = -1e9
        self._heads: list[Item] = []

    def note(self, now_s: float) -> None:
        """`now_s`: monotonic. Looks at most every ten seconds. Raises StorageError."""
        if now_s - self._noted_s < 10.0:
            return
        self._noted_s = now_s
        self._heads = self._outbox.heads()
        self._stored.note(now_s, self._outbox.stored_bytes)
        for rate, total in ((self._by_agent, self._flash.process_bytes()), (self._by_all, self._flash.device_bytes())):
            if total is not None:
                rate.note(now_s, total)
        if now_s - self._kept_s >= _KEEP_EVERY_S:
            self.keep()

    def keep(self) -> None:
        """Remember what has been written so far. A disk that takes nothing keeps nobody from stopping."""
        self._kept_s = time.monotonic()
        try:
            write_durably(self._path, msgspec.json.encode(_Written(agent_bytes=self._written)))
        except OSError:
            return

    @property
    def _written(self) -> int:
        return self._before + (self._flash.process_bytes() or 0)

    def report(self, at: Stamp) -> Survival:
        """How things stand at `at`; what is oldest is as of the last `note`."""
        lanes: dict[str, LaneBacklog] = {
            lane: LaneBacklog(items=items, bytes=size) for lane, (items, size) in self._outbox.by_lane().items()
        }
        free = max(0, self._outbox.max_bytes - self._outbox.backlog_bytes)
        per_day = self._stored.per_day
        waits = self._outbox.backlog_items > 0
        return Survival(
            lanes=lanes,
            oldest=_oldest(self._heads, at) if waits else None,
            bytes_per_day=per_day and round(per_day),
            measured_s=round(self._stored.span_s),
            days=round(free / per_day, 1) if per_day else None,
            flash=self._wear(),
        )

    def _wear(self) -> FlashWear:
        agent, device = self._by_agent.per_day, self._by_all.per_day
        wears = agent if device is None else device
        years = self._endurance / (wears * _DAYS_A_YEAR) if self._endurance and wears else None
        return FlashWear(
            agent_bytes_per_day=agent and round(agent),
            device_bytes_per_day=device and round(device),
            disk=self._flash.disk[:64],
            agent_bytes=self._written,
            endurance_bytes=self._endurance,
            years=years and round(min(years, 10_000.0), 1),
        )


class _Written(msgspec.Struct, frozen=True, kw_only=True):
    agent_bytes: int = 0


def _read(path: Path) -> int:
    """A file that cannot be read counts as none: it is a figure to look at, and nothing depends on it."""
    try:
        return max(0, msgspec.json.decode(path.read_bytes(), type=_Written).agent_bytes)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return 0


def _oldest(heads: list[Item], at: Stamp) -> Unsent | None:
    """Of the first of each lane, the one that has waited longest."""
    waited = [Unsent(kind=item.kind, lane=item.lane, age_s=round(age_s(item.at, at), 1)) for item in heads]
    return max(waited, key=lambda each: each.age_s, default=None)


def age_s(then: Stamp, now: Stamp) -> float:
    """By the clock that does not jump, where it is the same boot; else by the other one, and never below 0."""
    ns = now.mono_ns - then.mono_ns if then.boot_id == now.boot_id else now.wall_ns - then.wall_ns
    return max(0.0, ns / NS_PER_S)
