"""From plain dense weights to a full-integer int8 TFLite model, as small devices run it.

Every operator in the result is FULLY_CONNECTED on int8, which each TFLite runtime since 2.14 has, delegates or not; one that
tflite-runtime 2.14 has not got, or not in that version, refuses the export.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hub.training.framework import load_tensorflow, native_silence
from hub.training.trainer import DenseWeights, Floats, as_input
from models.bundle.operators import refuse_unsupported
from models.errors import BundleIncompatible, TrainingError

MAX_REPRESENTATIVE = 1000


def export_int8(weights: DenseWeights, representative: Floats) -> bytes:
    """The model: (1, n_features) int8 in and out. Quantization ranges come from running `representative`, (n, n_features).

    Those should reach as far out as what is to be told apart: beyond the widest of them, int8 saturates.
    Raises TrainingError where the converter refuses, or needs an operator that the oldest supported device has not got.
    """
    tf = load_tensorflow()
    n_features = weights[0].kernel.shape[0]
    holder = tf.Module()
    holder.layers = [(tf.constant(layer.kernel), tf.constant(layer.bias), layer.activation) for layer in weights]

    def network(x: Any) -> Any:
        for kernel, bias, activation in holder.layers:
            x = tf.matmul(x, kernel) + bias
            x = tf.nn.relu(x) if activation == "relu" else x
        return x

    step = max(1, len(representative) // MAX_REPRESENTATIVE)
    return converted(network, holder, (1, n_features), [row[np.newaxis] for row in as_input(representative[::step])])


def converted(
    network: Callable[[Any], Any], holder: Any, shape: tuple[int, ...], representative: Sequence[NDArray[np.float32]]
) -> bytes:
    """`network`, over constants that `holder` (a tf.Module) keeps, as int8 TFLite with one input of `shape`.

    Raises TrainingError where the converter refuses, or needs an operator that the oldest supported device has not got.
    """
    tf = load_tensorflow()
    traced = tf.function(network, input_signature=[tf.TensorSpec(shape, tf.float32)], autograph=False)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([traced.get_concrete_function()], holder)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: iter([[sample] for sample in representative])
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    try:
        with native_silence():
            model: bytes = converter.convert()
        refuse_unsupported(model)
    except (ValueError, RuntimeError, BundleIncompatible) as error:
        raise TrainingError(f"the converter refuses the network: {str(error).strip().splitlines()[0]}") from error
    return model
