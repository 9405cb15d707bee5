"""Makes the tiny models beside it: `python tests/data/make_tiny_model.py`, with TensorFlow installed. Run it by hand.

    tiny_int8.tflite    (1, 18) int8 in and out: keeps what lies in a plane of six directions, as an autoencoder would
    tiny_float.tflite   the same, but float32 in and out: what the agent must refuse
    tiny_uint8.tflite   the same as tiny_int8, but uint8 in and out
    tiny_custom.tflite  (1, 18) float32 with an operator that no runtime has

18 is the number of features of the profile that `tests/builders.py` calls `rig`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

N_FEATURES = 18
N_KEPT = 6
HERE = Path(__file__).parent


def converted(full_integer: Any) -> bytes:
    """The projection onto the kept directions, as two dense layers. `full_integer`: the type of input and output, or None."""
    rng = np.random.default_rng(7)
    basis = np.linalg.qr(rng.normal(size=(N_FEATURES, N_KEPT)))[0].astype(np.float32)
    down, up = tf.constant(basis), tf.constant(basis.T)

    def network(x: Any) -> Any:
        return tf.matmul(tf.matmul(x, down), up)

    def samples() -> Iterator[list[np.ndarray]]:
        for row in rng.normal(scale=3.0, size=(200, N_FEATURES)).clip(-8, 8).astype(np.float32):
            yield [row[np.newaxis]]

    holder = tf.Module()
    holder.constants = (down, up)
    traced = tf.function(network, input_signature=[tf.TensorSpec((1, N_FEATURES), tf.float32)])
    converter = tf.lite.TFLiteConverter.from_concrete_functions([traced.get_concrete_function()], holder)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = samples
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    if full_integer is not None:
        converter.inference_input_type = converter.inference_output_type = full_integer
    return bytes(converter.convert())


def custom() -> bytes:
    """Something that has no operator among TFLite's own."""
    traced = tf.function(tf.math.erf, input_signature=[tf.TensorSpec((1, N_FEATURES), tf.float32)])
    converter = tf.lite.TFLiteConverter.from_concrete_functions([traced.get_concrete_function()])
    converter.allow_custom_ops = True
    return bytes(converter.convert())


if __name__ == "__main__":
    (HERE / "tiny_int8.tflite").write_bytes(converted(tf.int8))
    (HERE / "tiny_float.tflite").write_bytes(converted(None))
    (HERE / "tiny_uint8.tflite").write_bytes(converted(tf.uint8))
    (HERE / "tiny_custom.tflite").write_bytes(custom())
