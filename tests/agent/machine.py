"""A rig under an agent's pipeline, in virtual time: run it for a while, and look at what the pipeline has to say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from agent.asset import AssetWatch, SavedState
from agent.pipeline import Pipeline
from models.contract.items import Aggregate, Body
from models.contract.profile import Profile
from models.contract.reading import Reading
from tests.builders import rig, rows, running

B = TypeVar("B", bound=Body)
LEARNING_S = 300.0  # 30 windows
PROFILE = rig(windows=30)


def only(kind: type[B], bodies: Sequence[Body]) -> list[B]:
    return [body for body in bodies if isinstance(body, kind)]


def p_values(bodies: Sequence[Body]) -> list[float | None]:
    """Of the deciding detector, window by window."""
    return [body.scores[0].p_value if body.scores else None for body in only(Aggregate, bodies)]


class Machine:
    """`watch` and `pipeline` of one rig; `now_s` is how long it has run."""

    def __init__(self, profile: Profile = PROFILE, saved: SavedState | None = None, now_s: float = 0.0, seed: int = 0) -> None:
        self.watch = AssetWatch("rig-1", profile)
        if saved is not None:
            assert self.watch.restore(saved)
        self.pipeline = Pipeline([self.watch])
        self.now_s = now_s
        self.seed = seed
        self.saved: SavedState | None = None  # as the outbox has it

    def readings(self, seconds: float, offset: Sequence[float] = (0, 0, 0), blank: Sequence[int] = ()) -> list[Reading]:
        """What the sensors say next: shifted by `offset`, with the channels in `blank` silent."""
        values = running(seconds, self.seed, self.now_s) + np.asarray(offset, dtype=np.float64)
        values[:, list(blank)] = np.nan
        readings = rows(values, self.now_s)
        self.now_s += seconds
        return readings

    def feed(self, readings: Sequence[Reading]) -> list[Body]:
        """Row by row, as a source would deliver it."""
        bodies: list[Body] = []
        for start in range(0, len(readings), 3):
            outcome = self.pipeline.handle(readings[start : start + 3], 0)
            bodies += outcome.bodies
            self.saved = outcome.states.get("rig-1", self.saved)
        return bodies

    def run(self, seconds: float, offset: Sequence[float] = (0, 0, 0), blank: Sequence[int] = ()) -> list[Body]:
        return self.feed(self.readings(seconds, offset, blank))

    def freeze(self, seconds: float, channel: int) -> list[Body]:
        """Run with one channel stuck at its next value."""
        values = running(seconds, self.seed, self.now_s)
        values[:, channel] = values[0, channel]
        readings = rows(values, self.now_s)
        self.now_s += seconds
        return self.feed(readings)

    def learned(self) -> Machine:
        """Run until commissioning is over."""
        self.run(LEARNING_S + 2)
        assert self.watch.state == "normal"
        return self
