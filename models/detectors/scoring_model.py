"""An int8 model whose output is the score itself, as models that come from elsewhere may be."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.detectors.detector import Scored, huber
from models.errors import BundleIncompatible
from models.runtime import Int8Model


class TfliteScore:
    """The model's one output; high = anomalous. Where it can be negative, it is counted from the lowest that it can say.

    Beyond ±clip the model sees no difference, so there the score grows by how much farther out the value lies that is farthest,
    by Huber's loss. What each value contributes is told by occlusion (Zeiler and Fergus, 2014): how far the score falls when
    the value, or in a window the whole channel, is taken for the asset's own median. That costs a run of the model for each.
    A missing value enters as 0. Raises BundleIncompatible where `model` has not one output.
    """

    def __init__(self, model: bytes, clip: float, detector_id: str = "model", *, n_channels: int | None = None) -> None:
        self.detector_id = detector_id
        self._model = Int8Model(model)
        if self._model.n_outputs != 1:
            raise BundleIncompatible(f"{detector_id}: {self._model.n_outputs} outputs; a model that gives a score has one")
        self._clip = np.float32(clip)
        self.n_features = self._model.n_inputs
        self.runtime = self._model.runtime
        output = self._model.output
        lowest = (np.iinfo(output.dtype).min - float(output.zero)) * float(output.scale)
        self._offset = min(lowest, 0.0)
        columns = np.arange(self.n_features) if n_channels is None else np.arange(self.n_features) % n_channels
        self._groups = [columns == i for i in range(int(columns.max()) + 1)]

    def score(self, z: NDArray[np.float32]) -> Scored:
        """See `Detector.score`."""
        missing = np.isnan(z)
        if missing.all():
            return Scored(0.0, np.full(len(z), np.nan, dtype=np.float32))
        x = np.where(missing, np.float32(0), np.minimum(np.maximum(z, -self._clip), self._clip))
        said = self._said(x)
        beyond = np.where(missing, 0.0, np.asarray(huber(z, float(self._clip)), dtype=np.float64) / float(self._clip) ** 2)
        growth = np.maximum(beyond, 1.0)
        contributions = self._falls(x, said) + np.where(growth > 1, growth * max(said, 1e-9), 0.0)
        contributions[missing] = np.nan
        return Scored(said * float(growth.max()), np.minimum(contributions, 3e38).astype(np.float32))

    def _said(self, x: NDArray[np.float32]) -> float:
        return float(self._model.run(x)[0]) - self._offset

    def _falls(self, x: NDArray[np.float32], said: float) -> NDArray[np.float64]:
        """(n_features,): how far the score falls without each value, spread over the values of a channel that go together."""
        falls = np.zeros(len(x))
        for group in self._groups:
            if x[group].any():
                falls[group] = max(0.0, said - self._said(np.where(group, np.float32(0), x))) / int(group.sum())
        return falls
