"""The one loader of TFLite models: LiteRT where it has wheels, else tflite-runtime.

Their outputs differ by some int8 codes (XNNPACK and the reference kernels round differently), so scores are calibrated
on the runtime that serves, and golden vectors compare scores with a tolerance, never bytes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.errors import BundleIncompatible

_CODES: Final = (np.dtype(np.int8), np.dtype(np.uint8))


def _interpreter_class() -> tuple[type[Any], str]:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        try:
            from tflite_runtime.interpreter import Interpreter
        except ImportError:
            raise BundleIncompatible("no TFLite runtime: install ai-edge-litert, or tflite-runtime on armv7l") from None
        return Interpreter, "tflite-runtime"
    return Interpreter, "litert"


@dataclass(frozen=True, slots=True)
class Tensor8:
    """A quantized tensor: real value = (code - `zero`) * `scale`."""

    index: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    scale: np.float32
    zero: np.float32


class Int8Model:
    """A full-integer model with one input and one output of 8 bits, int8 or uint8, each of a shape (1, ...).

    Not safe for use from several threads at once. Raises BundleIncompatible for anything that does not load, allocate
    or have that shape.
    """

    def __init__(self, model: bytes) -> None:
        self._interpreter, self.runtime = _loaded(model)
        self.input = _tensor(self._interpreter.get_input_details())
        self.output = _tensor(self._interpreter.get_output_details())
        self.n_inputs, self.n_outputs = math.prod(self.input.shape), math.prod(self.output.shape)
        self._lowest, self._highest = np.iinfo(self.input.dtype).min, np.iinfo(self.input.dtype).max

    def run(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n_inputs,) real values in, (n_outputs,) real values out; rounding to nearest on the way in."""
        to, came = self.input, self.output
        codes = np.minimum(np.maximum(np.rint(x / to.scale + to.zero), self._lowest), self._highest).astype(to.dtype)
        self._interpreter.set_tensor(to.index, codes.reshape(to.shape))
        self._interpreter.invoke()
        out = self._interpreter.get_tensor(came.index).ravel()
        return np.asarray((out.astype(np.float32) - came.zero) * came.scale)


class FloatModel:
    """A float32 model with one input and one output, to compare an int8 one with; no device serves one."""

    def __init__(self, model: bytes) -> None:
        self._interpreter, runtime = _loaded(model)
        inputs, outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        if len(inputs) != 1 or len(outputs) != 1 or inputs[0]["dtype"] is not np.float32:
            raise BundleIncompatible(f"{runtime}: a float32 model with one input and one output is expected to compare with")
        self._input, self._output = inputs[0], outputs[0]
        self.n_inputs = math.prod(int(n) for n in self._input["shape"])

    def run(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n_inputs,) in, (n_outputs,) out."""
        self._interpreter.set_tensor(self._input["index"], x.astype(np.float32).reshape(self._input["shape"]))
        self._interpreter.invoke()
        return np.array(self._interpreter.get_tensor(self._output["index"]), dtype=np.float32).ravel()


def _loaded(model: bytes) -> tuple[Any, str]:
    interpreter_class, runtime = _interpreter_class()
    try:
        interpreter = interpreter_class(model_content=model, num_threads=1)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        said = str(error).strip().splitlines()[0][:200]
        raise BundleIncompatible(f"{runtime} cannot load the model: {said}") from error
    return interpreter, runtime


def _tensor(details: list[dict[str, Any]]) -> Tensor8:
    if len(details) != 1:
        raise BundleIncompatible(f"a model with one input and one output, not {len(details)}")
    tensor = details[0]
    shape = tuple(int(n) for n in tensor["shape"])
    dtype = np.dtype(tensor["dtype"])
    if dtype not in _CODES or len(shape) < 2 or shape[0] != 1 or min(shape) < 1:
        what_to_do = "" if dtype in _CODES else ": convert it with inference_input_type = inference_output_type = tf.int8"
        raise BundleIncompatible(f"tensor {tensor['name']!r}: (1, n) int8, not {list(shape)} {dtype.name}{what_to_do}")
    scale, zero = tensor["quantization"]
    if not scale > 0:
        raise BundleIncompatible(f"tensor {tensor['name']!r} has no quantization: convert it with a representative dataset")
    return Tensor8(int(tensor["index"]), shape, dtype, np.float32(scale), np.float32(zero))
