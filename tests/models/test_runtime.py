"""The loader of models: how real values become codes, and what it takes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from models.errors import BundleIncompatible
from models.runtime import Int8Model
from tests.builders import tiny_model


class Recorder:
    """In place of the interpreter: what codes it was given."""

    def __init__(self, interpreter: Any) -> None:
        self._interpreter = interpreter
        self.codes = np.empty(0, dtype=np.int8)

    def set_tensor(self, index: int, codes: np.ndarray) -> None:
        self.codes = codes.ravel()
        self._interpreter.set_tensor(index, codes)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._interpreter, name)


@pytest.mark.parametrize("kind", ["int8", "uint8"])
def test_values_are_rounded_to_the_nearest_code_and_saturate_at_both_ends(kind: str) -> None:
    model = Int8Model(tiny_model(kind))
    recorder = model._interpreter = Recorder(model._interpreter)
    low, high = np.iinfo(kind).min, np.iinfo(kind).max
    middle = np.arange(low + 1, low + 1 + model.n_inputs)
    for off, expected in ((0.0, middle), (0.49, middle), (-0.49, middle), (0.51, middle + 1), (-0.51, middle - 1)):
        model.run(((middle + off - model.input.zero) * model.input.scale).astype(np.float32))
        assert recorder.codes.tolist() == expected.tolist()
        assert recorder.codes.dtype == np.dtype(kind)
    model.run(np.full(model.n_inputs, 1e9, dtype=np.float32))
    assert set(recorder.codes.tolist()) == {high}
    model.run(np.full(model.n_inputs, -1e9, dtype=np.float32))
    assert set(recorder.codes.tolist()) == {low}


def test_a_model_of_unsigned_codes_says_the_same() -> None:
    signed, unsigned = Int8Model(tiny_model()), Int8Model(tiny_model("uint8"))
    for x in np.random.default_rng(0).normal(size=(30, 18)).astype(np.float32):
        assert np.abs(signed.run(x) - unsigned.run(x)).max() <= 1.01 * signed.output.scale


def test_float_input_is_refused_with_what_to_do() -> None:
    with pytest.raises(BundleIncompatible, match=r"\(1, n\) int8, not .* float32: convert it with inference_input_type"):
        Int8Model(tiny_model("float"))


def test_an_operator_that_no_runtime_has_is_refused_by_its_name() -> None:
    with pytest.raises(BundleIncompatible, match="Erf"):
        Int8Model(tiny_model("custom"))
