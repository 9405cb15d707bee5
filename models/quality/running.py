"""Whether an asset runs, by one of its channels: what is at rest, starting or just stopping is not judged as if it ran.

    running --(a sample below `below`)--> rest --(a sample at `above` or more)--> starting --(`settle_s`)--> running

Invariants:
1. A window is judged, and counts for commissioning, only where the asset ran during all of it and had settled at its start.
2. Who does not know says that it runs: without a plan, before the first sample outside of the band between `below` and
   `above`, in windows without a sample of the channel, and where the channel is at fault. So a sensor that fails silences
   nothing, as long as its failing is seen; one that dies to zero unseen does (docs/detection.md).
3. Only a start that was seen is waited for: an asset that ran when its device came up is judged at once.
4. How samples are grouped into windows, and whether these overlap, changes nothing.

A stop is seen only when the channel is nearly down, and the windows of coasting before that look like a fault. They are
`stopping` where the channel's level is lower than in any recent good window, for `stop_s` at most: judged as all others, but
an alert waits.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from models.contract.clock import NS_PER_S
from models.contract.profile import RunningPlan
from models.quality.finding import Finding

Phase = Literal["running", "stopping", "starting", "rest"]  # the first two are judged
_LONG_AGO_NS: Final = -(2**62)
_REMOVED: Final = frozenset({"spike", "stuck"})  # single samples that are taken out; what a channel at rest does anyway


class RunningCheck:
    """Of one asset; `plan` None = it always runs. `rest_since_ns`: None while it runs, or where nobody knows."""

    def __init__(self, plan: RunningPlan | None) -> None:
        self._plan = plan
        self._settle_ns, self._stop_ns = (round(s * NS_PER_S) for s in ((plan.settle_s, plan.stop_s) if plan else (0.0, 0.0)))
        self._runs: bool | None = None
        self._since_ns = _LONG_AGO_NS  # when it started
        self._seen_ns = _LONG_AGO_NS
        self._low_since_ns: int | None = None
        self.rest_since_ns: int | None = None

    def see(self, times: NDArray[np.int64], values: NDArray[np.float64]) -> None:
        """Take in the channel's samples of the next window, in order, without those that are taken out."""
        if self._plan is None:
            return
        new = times > self._seen_ns
        times, values = times[new], values[new]
        if not len(times):
            return
        self._seen_ns = int(times[-1])
        up, down = np.flatnonzero(values >= self._plan.above), np.flatnonzero(values < self._plan.lower)
        if not len(down):
            if len(up) and not self._runs:
                self._start(int(times[up[0]]) if self._runs is False else _LONG_AGO_NS)
            return
        started = up[up > down[-1]]
        if len(started):
            self._start(int(times[started[0]]))
        elif self._runs is not False or len(up):
            self._runs = False
            self.rest_since_ns = int(times[down[np.searchsorted(down, up[-1])] if len(up) else down[0]])

    def _start(self, at_ns: int) -> None:
        self._runs, self._since_ns, self.rest_since_ns = True, at_ns, None

    def phase(self, start_ns: int, values: NDArray[np.float64], findings: Iterable[Finding], usual_low: float) -> Phase:
        """Of the window from `start_ns` on, whose samples were seen. `values`: of the channel; `findings`: of all of them;
        `usual_low`: the lowest level of the channel in recent good windows, NaN = not known yet."""
        if self._plan is None or self._runs is None or not len(values):
            return "running"
        if any(found.channel in (self._plan.channel, "") and found.kind not in _REMOVED for found in findings):
            return "running"
        if not self._runs:
            return "rest"
        if self._since_ns + self._settle_ns > start_ns:
            return "starting"
        return "stopping" if self._is_falling(start_ns, values, usual_low) else "running"

    def _is_falling(self, start_ns: int, values: NDArray[np.float64], usual_low: float) -> bool:
        if not float(np.mean(values)) < usual_low:
            self._low_since_ns = None
            return False
        self._low_since_ns = start_ns if self._low_since_ns is None else self._low_since_ns
        return start_ns - self._low_since_ns < self._stop_ns

    @property
    def at_rest(self) -> bool:
        """Whether the newest sample tells that it is at rest."""
        return self._runs is False

    def forget_times(self) -> None:
        """The asset's clock has jumped: since when it runs or rests, nobody knows; whether it does, is known."""
        self._seen_ns = self._since_ns = _LONG_AGO_NS
        self._low_since_ns = self.rest_since_ns = None
