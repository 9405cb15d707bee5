"""The device's timeline: the monotonic clock plus an offset that changes only by a step, and each step is recorded.

What the device dates, it dates by this. Between steps the timeline never runs back and never jumps, whatever is done to the
system's clock; and since each step is told (`ClockMark`), the hub can place what was dated before it.

Invariants:
1. Time is `mono_ns + offset_ns`. The monotonic clock (CLOCK_BOOTTIME) counts suspended time and is steered by NTP along with
   the system's clock: while nobody sets the clock, the two differ by a constant. A difference beyond `STEP_S` is a step.
2. The system's clock is followed while the kernel says that a time server steers it, and while there is nothing better.
3. Where there is no time server, the hub's time is taken for the offset (source `hub`), and the system's clock is ignored
   until a time server has set it. The system's clock itself is never touched.
4. Pure: clocks are read elsewhere. Called under the lock of whoever owns it.
"""

from __future__ import annotations

from typing import Final

from models.contract.clock import NS_PER_S
from models.contract.items import ClockMark, ClockSource

STEP_S: Final = 0.1  # more than two reads of a clock lie apart on a busy machine; smaller steps count once they add up
HUB_STEP_S: Final = 1.0  # a free-running crystal drifts so far in some hours; less is not worth cutting windows for
_OLDEST_HUB_NS: Final = 1_577_836_800 * NS_PER_S  # 2020: a hub that says less has no time to give
_LATEST_HUB_NS: Final = 7_258_118_400 * NS_PER_S  # 2200, as for readings: int64, in which they are kept, ends in 2262
_MAX_MARKS: Final = 1000  # that wait to be taken


class Timeline:
    """`offset_ns`: what to add to the monotonic clock. `source`: who vouches for it. `system_offset_ns`: as the system's clock
    has it, whether or not it is followed."""

    def __init__(self, wall_ns: int, mono_ns: int, synced: bool) -> None:
        self.offset_ns = self.system_offset_ns = wall_ns - mono_ns
        self.source: ClockSource = "ntp" if synced else "none"
        self._marks = [self._mark("start", mono_ns, self.offset_ns)]

    def observe(self, wall_ns: int, mono_ns: int, synced: bool) -> None:
        """What the system's clock says at `mono_ns`, and whether a time server steers it."""
        system_ns = wall_ns - mono_ns
        if _apart(system_ns, self.system_offset_ns, STEP_S):
            self.system_offset_ns = system_ns
        if self.source == "hub" and not synced:
            return
        gained, lost = synced and self.source != "ntp", not synced and self.source == "ntp"
        moved = _apart(system_ns, self.offset_ns, STEP_S)
        if not (gained or lost or moved):
            return
        self.source = "ntp" if synced else "none"
        before_ns, self.offset_ns = self.offset_ns, system_ns if moved else self.offset_ns
        reason: Final = "synced" if gained else "step" if moved else "lost"
        self._note(self._mark(reason, mono_ns, before_ns))

    def attest(self, hub_ns: int, mono_ns: int, error_ns: int) -> None:
        """The hub's time at `mono_ns`, give or take `error_ns`: the offset for a device that no time server serves."""
        hub_offset_ns = hub_ns - mono_ns
        if self.source == "ntp" or not _OLDEST_HUB_NS <= hub_ns <= _LATEST_HUB_NS:
            return
        moved = _apart(hub_offset_ns, self.offset_ns, max(HUB_STEP_S, 2 * error_ns / NS_PER_S))
        if self.source == "hub" and not moved:
            return
        self.source = "hub"
        before_ns, self.offset_ns = self.offset_ns, hub_offset_ns if moved else self.offset_ns
        self._note(self._mark("hub", mono_ns, before_ns, error_ns + abs(hub_offset_ns - self.offset_ns)))

    def take_marks(self) -> list[ClockMark]:
        """What has happened since the last call; the first mark tells how it began."""
        marks, self._marks = self._marks, []
        return marks

    def _mark(self, reason: str, mono_ns: int, before_ns: int, error_ns: int = 0) -> ClockMark:
        return ClockMark(
            reason=reason,  # type: ignore[arg-type]
            mono_ns=mono_ns,
            before_ns=max(0, mono_ns + before_ns),
            after_ns=max(0, mono_ns + self.offset_ns),
            source=self.source,
            error_ns=error_ns,
        )

    def _note(self, mark: ClockMark) -> None:
        self._marks = [*self._marks[-_MAX_MARKS + 1 :], mark]


def restated(said_ns: int, mark: ClockMark) -> int:
    """A time that the clock said before `mark`, as it says it since; one that is not of this boot stays as it is."""
    mono_ns = said_ns - (mark.before_ns - mark.mono_ns)
    of_this_boot = 0 <= mono_ns <= mark.mono_ns + NS_PER_S
    return said_ns + mark.after_ns - mark.before_ns if of_this_boot else said_ns


def told(mark: ClockMark) -> str:
    """One line for people."""
    moved_s = (mark.after_ns - mark.before_ns) / NS_PER_S
    by = {"ntp": "set by a time server", "hub": "set by the hub", "none": "set by nobody"}[mark.source]
    return f"{mark.reason}, {by}" + (f", moved by {moved_s:+.3f} s" if moved_s else "")


def _apart(one_ns: int, other_ns: int, limit_s: float) -> bool:
    return abs(one_ns - other_ns) > limit_s * NS_PER_S
