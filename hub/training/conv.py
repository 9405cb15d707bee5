"""Plain convolution weights: what a trainer of window models hands over, what they compute, and their int8 export.

As with dense weights (`trainer.py`), what leaves a trainer is numpy and a word per layer. A network is a row of layers over
(n, n_samples, n_channels): convolutions that shorten the window by their stride, then transposed ones that bring it back.

In the export each is CONV_2D or TRANSPOSE_CONV over (1, n_samples, 1, n_channels), int8 with a scale for each output channel of
the weights, of versions that tflite-runtime 2.14 runs (`models/bundle/operators.py`; the export is refused otherwise).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from hub.training.exporter import MAX_REPRESENTATIVE, converted
from hub.training.framework import load_tensorflow
from hub.training.trainer import Floats, as_input
from models.detectors.detector import DEFAULT_CLIP, huber, mean_of_farthest


@dataclass(frozen=True, slots=True, eq=False)
class ConvLayer:
    """`kernel`: (width, n_in, n_out) float32. `bias`: (n_out,). `kind`: `shorten` by `stride`, or `lengthen` to `n_samples`.

    Padded as TensorFlow's SAME: the odd one of the zeros around a window goes behind it.
    """

    kind: Literal["shorten", "lengthen"]
    kernel: Floats
    bias: Floats
    stride: int
    n_samples: int  # that come out
    activation: Literal["relu", "linear"]


ConvWeights = Sequence[ConvLayer]


def forward_windows(weights: ConvWeights, x: Floats) -> Floats:
    """The network in plain numpy, float32: (n, n_samples, n_channels) in, the same out."""
    for layer in weights:
        x = (_shorten if layer.kind == "shorten" else _lengthen)(layer, x) + layer.bias
        if layer.activation == "relu":
            x = np.maximum(x, 0)
    return x


def float_window_scores(weights: ConvWeights, z: Floats, share: float) -> NDArray[np.float64]:
    """(n,) scores of (n, n_samples, n_channels) as `WindowAutoencoder` defines them, from the float network."""
    errors = huber(z - forward_windows(weights, as_input(z)), DEFAULT_CLIP)
    there = np.isfinite(errors)
    n = there.sum(axis=1)
    means = np.where(n > 0, np.where(there, errors, 0).sum(axis=1) / np.maximum(n, 1), np.nan).astype(np.float32)
    return np.array([mean_of_farthest(row, share) for row in means])


def export_conv_int8(weights: ConvWeights, representative: Floats) -> bytes:
    """The model; `representative`: (n, n_samples, n_channels), from which quantization ranges are taken (`export_int8`).

    Raises TrainingError where the converter refuses, or needs an operator that the oldest supported device has not got.
    """
    tf = load_tensorflow()
    _, n_samples, n_channels = representative.shape
    holder = tf.Module()
    holder.constants = [(tf.constant(_as_2d(layer)), tf.constant(layer.bias)) for layer in weights]

    def network(x: Any) -> Any:
        for layer, (kernel, bias) in zip(weights, holder.constants, strict=True):
            x = tf_layer(tf, layer, kernel, x) + bias
            x = tf.nn.relu(x) if layer.activation == "relu" else x
        return x

    step = max(1, len(representative) // MAX_REPRESENTATIVE)
    windows = [window[np.newaxis, :, np.newaxis, :] for window in as_input(representative[::step])]
    return converted(network, holder, (1, n_samples, 1, n_channels), windows)


def tf_layer(tf: Any, layer: ConvLayer, kernel: Any, x: Any) -> Any:
    strides = [1, layer.stride, 1, 1]
    if layer.kind == "shorten":
        return tf.nn.conv2d(x, kernel, strides, "SAME")
    shape = (x.shape[0] or tf.shape(x)[0], layer.n_samples, 1, layer.kernel.shape[2])
    return tf.nn.conv2d_transpose(x, kernel, shape, strides, "SAME")


def _as_2d(layer: ConvLayer) -> Floats:
    """(width, 1, n_in, n_out), of a transposed convolution (width, 1, n_out, n_in), as TensorFlow has them."""
    kernel = layer.kernel[:, np.newaxis]
    return np.ascontiguousarray(kernel if layer.kind == "shorten" else kernel.transpose(0, 1, 3, 2))


def _padding(long: int, short: int, width: int, stride: int) -> tuple[int, int]:
    total = max((short - 1) * stride + width - long, 0)
    return total // 2, total - total // 2


def _shorten(layer: ConvLayer, x: Floats) -> Floats:
    width = len(layer.kernel)
    padded = np.pad(x, ((0, 0), _padding(x.shape[1], layer.n_samples, width, layer.stride), (0, 0)))
    views = sliding_window_view(padded, width, axis=1)[:, :: layer.stride]  # (n, n_samples, n_in, width)
    return np.asarray(np.einsum("ntcw,wco->nto", views, layer.kernel, optimize=True), dtype=np.float32)


def _lengthen(layer: ConvLayer, x: Floats) -> Floats:
    width, stride, n_short = len(layer.kernel), layer.stride, x.shape[1]
    before, _ = _padding(layer.n_samples, n_short, width, stride)
    out = np.zeros(
        (len(x), max((n_short - 1) * stride + width, before + layer.n_samples), layer.kernel.shape[2]), dtype=np.float32
    )
    for i, tap in enumerate(layer.kernel):
        out[:, i : i + n_short * stride : stride][:, :n_short] += x @ tap
    return out[:, before : before + layer.n_samples]
