"""The one loader of TFLite models: LiteRT where it has wheels, else tflite-runtime.

Their outputs differ by some int8 codes (XNNPACK and the reference kernels round differently), so scores are calibrated
on the runtime that serves, and golden vectors compare scores with a tolerance, never bytes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import BundleIncompatible


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


class Int8Model:
    """A full-integer model with one (1, n) int8 input and one (1, m) int8 output.

    Not safe for use from several threads at once. Raises BundleIncompatible for anything that does not load, allocate
    or have that shape.
    """

    def __init__(self, model: bytes) -> None:
        interpreter_class, self.runtime = _interpreter_class()
        try:
            self._interpreter = interpreter_class(model_content=model, num_threads=1)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise BundleIncompatible(f"{self.runtime} cannot load the model: {str(error).strip().splitlines()[0]}") from error
        self._input, self._in_scale, self._in_zero, self.n_inputs = self._tensor(self._interpreter.get_input_details())
        self._output, self._out_scale, self._out_zero, self.n_outputs = self._tensor(self._interpreter.get_output_details())

    @staticmethod
    def _tensor(details: list[dict[str, Any]]) -> tuple[int, np.float32, np.float32, int]:
        if len(details) != 1:
            raise BundleIncompatible(f"a model with one input and one output, not {len(details)}")
        tensor = details[0]
        shape = [int(n) for n in tensor["shape"]]
        if tensor["dtype"] is not np.int8 or len(shape) != 2 or shape[0] != 1:
            raise BundleIncompatible(f"tensor {tensor['name']!r}: (1, n) int8, not {shape} {np.dtype(tensor['dtype']).name}")
        scale, zero = tensor["quantization"]
        if not scale > 0:
            raise BundleIncompatible(f"tensor {tensor['name']!r} has no quantization")
        return int(tensor["index"]), np.float32(scale), np.float32(zero), shape[1]

    def run(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n_inputs,) real values in, (n_outputs,) real values out; rounding to nearest on the way in."""
        codes = np.minimum(np.maximum(np.rint(x / self._in_scale + self._in_zero), -128), 127).astype(np.int8)
        self._interpreter.set_tensor(self._input, codes[np.newaxis])
        self._interpreter.invoke()
        out = self._interpreter.get_tensor(self._output)[0]
        return np.asarray((out.astype(np.float32) - self._out_zero) * self._out_scale)
