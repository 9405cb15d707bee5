"""The trainer of window models: a small convolutional denoising autoencoder over the raw window.

It learns from corrupted copies, with noise added and whole channels blanked, to give back the clean window: so it can neither
copy its input nor lean on one channel alone. The code in its middle is about an eighth of the window.

Kernels are trained with Keras's optimizer and handed over as plain numpy (`conv.py`). An epoch runs as one graph.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

import numpy as np

from hub.training.conv import ConvLayer, ConvWeights, tf_layer
from hub.training.framework import load_tensorflow
from hub.training.stopping import best_of_epochs
from hub.training.trainer import Floats, Progress, as_input
from models.bundle.manifest import Architecture
from models.errors import TrainingError

_CODE_SHARE: Final = 8
_LONG: Final = 64  # samples from which on a layer shortens by four
Epoch = Callable[[Floats, Floats], Any]


@dataclass(frozen=True, slots=True)
class KerasConv:
    """`centered`: windows are taken less their own mean, so that levels say nothing (for vibration). `share`: as in the
    manifest. `width`: kernels of the outer layers. The others as in `KerasDense`; `blanked`: share of the channels."""

    centered: bool = False
    share: float = 1 / 8
    width: int = 16
    max_epochs: int = 120
    patience: int = 10
    min_gain: float = 0.002
    batch: int = 64
    learning_rate: float = 2e-3
    copies: int = 2
    noise: float = 0.3
    blanked: float = 0.1

    @property
    def architecture(self) -> Architecture:
        return "conv-autoencoder"

    def describe(self) -> dict[str, Any]:
        """See `Trainer.describe`."""
        return {"trainer": "keras-conv", "keras": load_tensorflow().keras.__version__, **asdict(self)}

    def fit(self, train: Floats, validation: Floats, seed: int, progress: Progress) -> ConvWeights:
        """From (n, n_samples, n_channels) normalized windows, NaN = absent; the same seed and data give the same weights.

        Raises TrainingError where there is nothing to stop by, or the loss is not a number in the end.
        """
        if not len(train) or not len(validation):
            raise TrainingError(f"{len(train)} windows to learn from and {len(validation)} to stop by; both are needed")
        tf = load_tensorflow()
        tf.keras.utils.set_random_seed(seed)
        tf.config.experimental.enable_op_determinism()
        rng = np.random.default_rng(seed)
        layers = first_layers(train.shape[1], train.shape[2], self.width, rng)
        variables = [(tf.Variable(layer.kernel), tf.Variable(layer.bias)) for layer in layers]
        epoch, loss_of = _graphs(tf, layers, variables, self.learning_rate)
        return best_of_epochs(
            self,
            epoch=lambda: float(epoch(*self._corrupted(train, rng))),
            held_loss=lambda: float(loss_of(as_input(validation), _targets(validation))),
            weights=lambda: _with(layers, variables),
            progress=progress,
        )

    def _corrupted(self, train: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """One epoch's batches in a new order: (n_steps, batch, n_samples, n_channels) inputs and targets."""
        batch = min(self.batch, len(train))
        n_steps = len(train) * self.copies // batch
        order = np.concatenate([rng.permutation(len(train)) for _ in range(self.copies)])[: n_steps * batch]
        inputs = as_input(train)[order]
        inputs += np.float32(self.noise) * rng.standard_normal(inputs.shape, dtype=np.float32)
        blank = rng.random((len(inputs), 1, inputs.shape[2])) < self.blanked * (inputs.shape[2] > 1)
        inputs = np.where(blank, np.float32(0), inputs)
        shape = (n_steps, batch, *train.shape[1:])
        return inputs.reshape(shape), _targets(train)[order].reshape(shape)


def first_layers(n_samples: int, n_channels: int, width: int, rng: np.random.Generator) -> ConvWeights:
    """Two layers that shorten, two that lengthen, with random kernels (He et al., 2015) and no bias."""
    stride = 4 if n_samples >= _LONG else 2
    inner, shortest = math.ceil(n_samples / stride), math.ceil(math.ceil(n_samples / stride) / stride)
    code = int(np.clip(round(n_samples * n_channels / _CODE_SHARE / shortest), 1, width))
    plan: list[tuple[Literal["shorten", "lengthen"], int, int, int]] = [
        ("shorten", n_channels, width, inner),
        ("shorten", width, code, shortest),
        ("lengthen", code, width, inner),
        ("lengthen", width, n_channels, n_samples),
    ]
    layers = []
    for kind, n_in, n_out, n in plan:
        kernel = rng.standard_normal((2 * stride, n_in, n_out)) * np.sqrt(2 / (2 * stride * n_in))
        last = n_out == n_channels and n == n_samples
        bias = np.zeros(n_out, dtype=np.float32)
        layers.append(ConvLayer(kind, kernel.astype(np.float32), bias, stride, n, "linear" if last else "relu"))
    return layers


def _graphs(tf: Any, layers: ConvWeights, variables: list[tuple[Any, Any]], learning_rate: float) -> tuple[Epoch, Epoch]:
    """(one pass over batches that updates the variables, the loss of windows)."""
    flat = [variable for pair in variables for variable in pair]
    optimizer = tf.keras.optimizers.Adam(learning_rate)
    optimizer.build(flat)

    def network(x: Any) -> Any:
        x = x[:, :, tf.newaxis, :]
        for layer, (kernel, bias) in zip(layers, variables, strict=True):
            taps = kernel[:, tf.newaxis]
            taps = taps if layer.kind == "shorten" else tf.transpose(taps, [0, 1, 3, 2])
            x = tf_layer(tf, layer, taps, x) + bias
            x = tf.nn.relu(x) if layer.activation == "relu" else x
        return x[:, :, 0, :]

    def loss_of(inputs: Any, targets: Any) -> Any:
        there = tf.math.is_finite(targets)
        errors = tf.where(there, tf.square(tf.where(there, targets, 0.0) - network(inputs)), 0.0)
        return tf.reduce_sum(errors) / tf.maximum(tf.reduce_sum(tf.cast(there, tf.float32)), 1.0)

    @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]
    def epoch(inputs: Any, targets: Any) -> Any:
        total, n_steps = tf.constant(0.0), tf.shape(inputs)[0]
        for step in tf.range(n_steps):
            with tf.GradientTape() as tape:
                loss = loss_of(inputs[step], targets[step])
            optimizer.apply_gradients(zip(tape.gradient(loss, flat), flat, strict=True))
            total += loss
        return total / tf.cast(n_steps, tf.float32)

    held = tf.function(loss_of)
    return (
        lambda inputs, targets: epoch(tf.constant(inputs), tf.constant(targets)),
        lambda inputs, targets: held(tf.constant(inputs), tf.constant(targets)),
    )


def _with(layers: ConvWeights, variables: list[tuple[Any, Any]]) -> ConvWeights:
    """The layers with what the variables are now."""
    return [
        ConvLayer(layer.kind, kernel.numpy(), bias.numpy(), layer.stride, layer.n_samples, layer.activation)
        for layer, (kernel, bias) in zip(layers, variables, strict=True)
    ]


def _targets(z: Floats) -> Floats:
    """Clipped as the network's input is, but NaN where absent."""
    return np.where(np.isfinite(z), as_input(z), np.float32(np.nan))
