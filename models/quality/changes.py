"""Step and noise: a channel that suddenly is off, or rough, while nothing else about the machine has changed.

What can be told apart, and what cannot. A machine's change has inertia and shows in several channels, or moves the level
and the roughness of one together; a sensor's shows in its own channel alone. So:

`step`   1. from one sample to the next the channel jumps, by more than three times its largest usual jump and eight times
            its noise; 2. before and after, it is steady compared with the jump; 3. no other channel jumps with it;
         4. its new level is none at which it has been of late; 5. a window later it is still there.
`noise`  1. its sample-to-sample noise is more than four times the largest of its last windows; 2. no other channel is
            rougher than usual; 3. its own level stays where it has been; 4. it lasts for two windows.

That is evidence, not proof: a machine's change that comes at once and shows in one channel only looks the same. Where
the channel usually follows the others (they explain four fifths of its variance or more) and they do not account for the
change, it is contradicted by them and blanked at once; so is a channel that is `inert` by the profile. Else the fault is
told and the window trains nothing, but the channel is still scored. A step ends when the level is back, or after an hour
as the new level; and a jump that ended by itself is usual from then on. While the machine is in alarm nothing new is laid
to a sensor: what a disturbed machine does is not known. Channels that are `abrupt` are not judged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from models.contract.clock import NS_PER_S
from models.contract.profile import Profile
from models.quality.finding import Finding, amount
from models.quality.usual import Array, Relation, Shape, Usual, shape_of

_MIN_CELLS: Final = 12
_JUMPS: Final = 3.0
_NOISES_OF_A_JUMP: Final = 8.0
_NOISES: Final = 4.0
_ECHO: Final = 1.5  # another channel that jumps or is rough by so many times its usual largest has changed, too
_ECHO_CELLS: Final = 6
_SIDE: Final = 12  # cells on either side by which a jump's levels are told
_STEADY: Final = 0.25
_HELD: Final = 0.5
_NEAR: Final = 0.5  # of the span of its levels
_UNACCOUNTED: Final = 0.6
_FOLLOWS: Final = 0.8
_NOISE_TOLD_AFTER: Final = 2  # windows
_ACCEPTED_AFTER_S: Final = 3600.0


@dataclass(slots=True)
class _Change:
    """One channel's unexplained change that has not ended. `before`: its level less what the others account for."""

    kind: Literal["step", "noise"]
    since_ns: int
    size: float
    before: float
    relation: Relation | None
    told: bool = False


class ChangeCheck:
    """Of one asset, window by window. `usual` is learned elsewhere."""

    def __init__(self, profile: Profile, usual: Usual) -> None:
        self._channels = profile.channels
        self._usual = usual
        self._window_ns = round(profile.windowing.window_s * NS_PER_S)
        self._cell_ns = NS_PER_S / profile.windowing.rate_hz
        self._judged = np.array([channel.dynamics != "abrupt" for channel in profile.channels])
        self._floor = np.array([channel.resolution for channel in profile.channels])
        self._version = -1
        self._noise_limit = self._jump_limit = np.full(len(profile.channels), np.inf)
        self._open: dict[int, _Change] = {}
        self._last: tuple[int, Array] | None = None  # end of the window before this, and its last cells

    def check(self, matrix: Array, end_ns: int, healthy: bool) -> tuple[Shape, list[Finding], list[int]]:
        """(the window's shape, what was found, channels to blank). `matrix`: (n_cells, n_channels), blank ones NaN.

        `healthy`: whether the machine is not in alarm. While it is, nothing new is laid to a sensor.
        """
        shape = shape_of(matrix)
        tail, self._last = self._tail(end_ns), (end_ns, matrix[-_SIDE:])
        if not self._usual.known or len(matrix) < _MIN_CELLS:
            return shape, [], []
        jump = np.fmax(shape.jump, np.abs(matrix[0] - tail[-1])) if tail is not None else shape.jump
        self._set_limits()
        rough, jumped = shape.noise > self._noise_limit, jump > self._jump_limit
        if self._open or (healthy and (rough.any() or jumped.any())):
            judged = self._judged & healthy
            rough, jumped = rough & judged, jumped & judged
            self._judge(matrix, tail, shape, jump, rough, jumped, end_ns)
        return (shape, *self._findings(end_ns))

    def forget_times(self) -> None:
        """The asset's clock has jumped: what has changed is usual from now on, or will show again."""
        self._open.clear()
        self._last = None

    def _set_limits(self) -> None:
        """Beyond these a channel is rough, or jumps."""
        usual = self._usual
        if self._version == usual.version:
            return
        self._version = usual.version
        self._noise_limit = _NOISES * np.maximum(usual.noise, self._floor)
        self._jump_limit = np.maximum.reduce([_JUMPS * usual.jump, _NOISES_OF_A_JUMP * usual.noise, _JUMPS * self._floor])

    def _tail(self, end_ns: int) -> Array | None:
        """The last cells of the window before, where this one begins at its end."""
        return self._last[1] if self._last is not None and self._last[0] == end_ns - self._window_ns else None

    def _judge(
        self, matrix: Array, tail: Array | None, shape: Shape, jump: Array, rough: NDArray[np.bool_], jumped: NDArray[np.bool_],
        end_ns: int,
    ) -> None:  # fmt: skip
        for i in [i for i, change in self._open.items() if self._ended(i, change, matrix, shape, end_ns)]:
            del self._open[i]
        for i in np.flatnonzero(rough).tolist():
            if i not in self._open and self._is_noise(i, matrix, shape, jump):
                self._open[i] = self._noisy(i, matrix, end_ns)
        for i in np.flatnonzero(jumped & ~rough).tolist():
            step = None if i in self._open else self._step(i, matrix, tail, end_ns)
            if step is not None:
                self._open[i] = step

    # --- noise ---------------------------------------------------------------------------------------------------

    def _is_noise(self, i: int, matrix: Array, shape: Shape, jump: Array) -> bool:
        others = np.arange(len(shape.noise)) != i
        limit = _ECHO * np.maximum(self._usual.noise, self._floor)
        if ((shape.noise > limit) & others).any() or ((jump > self._jump_limit) & others).any():
            return False
        return self._level_stays(i, matrix, shape)

    def _level_stays(self, i: int, matrix: Array, shape: Shape) -> bool:
        """Whether the channel's level is where it has been, as far as its noise lets one tell."""
        return self._has_been(i, float(np.median(matrix[:, i])), 2.5 * float(shape.noise[i]) / float(np.sqrt(len(matrix))))

    def _has_been(self, i: int, level: float, uncertainty: float) -> bool:
        """Whether the channel's level has been at `level`, or near, in its last windows."""
        low, high = self._usual.low[i], self._usual.high[i]
        margin = max(uncertainty, _NEAR * (high - low), float(self._floor[i]))
        return bool(low - margin <= level <= high + margin)

    def _noisy(self, i: int, matrix: Array, end_ns: int) -> _Change:
        relation = self._relation(i, matrix)
        return _Change("noise", end_ns - self._window_ns, 0.0, 0.0, relation)

    # --- step ----------------------------------------------------------------------------------------------------

    def _step(self, i: int, matrix: Array, tail: Array | None, end_ns: int) -> _Change | None:
        """The step that channel `i` may have made in this window: sharp, alone, and not accounted for by the others."""
        cells = matrix if tail is None else np.concatenate([tail, matrix])
        x = cells[:, i]
        at = int(np.nanargmax(np.abs(x[1:] - x[:-1]))) + 1
        before, after = cells[max(0, at - _SIDE) : at], cells[at : at + _SIDE]
        if len(before) < 3 or not np.isfinite(before[:, i]).all():
            return None
        if len(after) > 3:
            after = after[1:]  # a cell may hold samples of either side
        size = float(np.median(after[:, i]) - np.median(before[:, i]))
        scatter = max(float(np.median(np.abs(s[:, i] - np.median(s[:, i])))) for s in (before, after))
        if abs(size) < self._jump_limit[i] or scatter > _STEADY * abs(size) or self._echoed(i, cells, at):
            return None
        if self._has_been(i, float(np.median(after[:, i])), 0.0):
            return None
        relation = self._relation(i, matrix)
        levels = np.nan_to_num(before.mean(axis=0))
        accounted = 0.0
        if relation is not None:
            accounted = float(relation.weights @ np.nan_to_num(after.mean(axis=0) - before.mean(axis=0)))
        if abs(size - accounted) < _UNACCOUNTED * abs(size):
            return None
        since_ns = end_ns - round((len(cells) - at) * self._cell_ns)
        rest = float(np.median(before[:, i])) - (float(relation.weights @ levels) if relation is not None else 0.0)
        return _Change("step", since_ns, size - accounted, rest, relation)

    def _echoed(self, i: int, cells: Array, at: int) -> bool:
        near = cells[max(0, at - _ECHO_CELLS) : at + _ECHO_CELLS]
        steps = np.abs(near[1:] - near[:-1])
        others = np.arange(cells.shape[1]) != i
        return bool((np.fmax.reduce(steps)[others] > _ECHO * np.maximum(self._usual.jump, self._floor)[others]).any())

    def _relation(self, i: int, matrix: Array) -> Relation | None:
        """How channel `i` follows those of the others that are there, where they explain enough of it."""
        blank = np.asarray(np.isnan(matrix).any(axis=0))
        blank[[j for j in self._open if j != i]] = True
        relation = self._usual.relation(i, blank)
        return relation if relation.r2 >= _FOLLOWS else None

    # --- what becomes of it --------------------------------------------------------------------------------------

    def _ended(self, i: int, change: _Change, matrix: Array, shape: Shape, end_ns: int) -> bool:
        if np.isnan(shape.mean[i]) or (change.kind == "step" and not change.told and shape.noise[i] > self._noise_limit[i]):
            return True  # another fault has taken its place
        if end_ns <= change.since_ns:
            return True  # the clock was set back
        if change.kind == "noise":
            return bool(shape.noise[i] <= self._noise_limit[i] / 2) or not self._level_stays(i, matrix, shape)
        n_after = max(3, min(len(matrix), int((end_ns - change.since_ns) / self._cell_ns) - 1))
        here = matrix[-n_after:]
        off = float(np.median(here[:, i])) - change.before
        if change.relation is not None:
            off -= float(change.relation.weights @ np.nan_to_num(here.mean(axis=0)))
        old = change.relation is None and end_ns - change.since_ns > _ACCEPTED_AFTER_S * NS_PER_S
        back = off / change.size < _HELD
        if change.told and (back or old):
            self._usual.does(i, abs(change.size))
        return back or old

    def _findings(self, end_ns: int) -> tuple[list[Finding], list[int]]:
        findings, blank = [], []
        for i, change in self._open.items():
            windows = _NOISE_TOLD_AFTER if change.kind == "noise" else 1
            change.told = change.told or end_ns - change.since_ns >= windows * self._window_ns
            findings.append(Finding(self._channels[i].name, change.kind, self._detail(i, change), change.since_ns, change.told))
            if change.relation is not None or self._inert(i):
                blank.append(i)
        return findings, blank

    def _detail(self, i: int, change: _Change) -> str:
        unit = self._channels[i].unit
        if change.kind == "step":
            what = f"at once {'up' if change.size > 0 else 'down'} by {amount(abs(change.size), unit)}"
            usual = f"largest usual jump {amount(float(self._usual.jump[i]), unit)}"
        else:
            assert self._last is not None
            noise = float(np.median(np.abs(np.diff(self._last[1][:, i]))))
            what = f"noise of {amount(noise, unit)} from sample to sample"
            usual = f"usually at most {amount(float(self._usual.noise[i]), unit)}"
        why = "no other channel shows it"
        if self._inert(i) or change.relation is not None:
            why = "it cannot change so fast" if self._inert(i) else "the other channels contradict it"
        return f"{what}, {usual}; {why}"

    def _inert(self, i: int) -> bool:
        return self._channels[i].dynamics == "inert"
