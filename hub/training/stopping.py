"""When to stop learning: once what is held out has not been told better for some epochs; the best weights are kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol, TypeVar

import numpy as np

from hub.training.trainer import Progress
from models.errors import TrainingError

_REPORT_EVERY: Final = 20  # epochs
Weights = TypeVar("Weights")


class Patience(Protocol):
    """`patience`: epochs without a validation loss that is better by the share `min_gain`."""

    @property
    def max_epochs(self) -> int: ...
    @property
    def patience(self) -> int: ...
    @property
    def min_gain(self) -> float: ...


def best_of_epochs(
    how: Patience,
    epoch: Callable[[], float],
    held_loss: Callable[[], float],
    weights: Callable[[], Weights],
    progress: Progress,
) -> Weights:
    """`epoch` learns once and gives its loss. Raises TrainingError where no validation loss was a number."""
    best, kept, since = np.inf, weights(), 0
    for number in range(1, how.max_epochs + 1):
        loss, held = epoch(), held_loss()
        since = 0 if held < best * (1 - how.min_gain) else since + 1
        if held < best:
            best, kept = held, weights()
        if number % _REPORT_EVERY == 0 or since >= how.patience or number == how.max_epochs:
            progress(f"epoch {number}: loss {loss:.4f}, validation {held:.4f}, best {best:.4f}")
        if since >= how.patience:
            break
    if not np.isfinite(best):
        raise TrainingError(f"the validation loss never was a number in {number} epochs; is the data finite?")
    return kept
