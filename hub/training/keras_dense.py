"""The embedded trainer: a small dense denoising autoencoder in Keras (Vincent et al., 2008).

It learns from corrupted copies, with noise added and whole features blanked, to give back the clean window; so it cannot
get by with copying its input, and it knows what to make of a channel that is missing.

An epoch runs as one graph: at this size, stepping from Python would take twenty times as long as the arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hub.training.framework import load_tensorflow
from hub.training.stopping import best_of_epochs
from hub.training.trainer import DenseLayer, DenseWeights, Floats, Progress, as_input
from models.bundle.manifest import Architecture

Epoch = Callable[[Floats, Floats], Any]  # (n_steps, batch, n_features) inputs and targets -> mean loss


@dataclass(frozen=True, slots=True)
class KerasDense:
    """`copies`: corrupted versions of each window, fresh in each epoch. `noise`: standard deviation, in the asset's own
    sigmas. `blanked`: share of features that are set to absent. `patience`: epochs without a validation loss that is
    better by the share `min_gain`; the best weights are kept.
    """

    max_epochs: int = 150
    patience: int = 10
    min_gain: float = 0.002
    batch: int = 128
    learning_rate: float = 2e-3
    copies: int = 4
    noise: float = 0.3
    blanked: float = 0.1

    @property
    def architecture(self) -> Architecture:
        return "dense-autoencoder"

    def describe(self) -> dict[str, Any]:
        """See `Trainer.describe`."""
        return {"trainer": "keras-dense", "keras": load_tensorflow().keras.__version__, **asdict(self)}

    def fit(self, train: Floats, validation: Floats, seed: int, progress: Progress) -> DenseWeights:
        """See `Trainer.fit`."""
        tf = load_tensorflow()
        tf.keras.backend.clear_session()
        tf.keras.utils.set_random_seed(seed)
        tf.config.experimental.enable_op_determinism()
        model = _network(tf.keras, train.shape[1])
        epoch = _epoch_graph(tf, model, self.learning_rate)
        rng = np.random.default_rng(seed)
        held_in, held_out = tf.constant(as_input(validation)), tf.constant(_targets(validation))
        best = best_of_epochs(
            self,
            epoch=lambda: float(epoch(*self._corrupted(train, rng))),
            held_loss=lambda: float(_masked_loss(tf, held_out, model(held_in))),
            weights=model.get_weights,
            progress=progress,
        )
        return _plain(best)

    def _corrupted(self, train: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """One epoch's batches in a new order: (n_steps, batch, n_features) inputs and targets."""
        batch = min(self.batch, len(train))
        n_steps = len(train) * self.copies // batch
        order = np.concatenate([rng.permutation(len(train)) for _ in range(self.copies)])[: n_steps * batch]
        inputs = as_input(train)[order]
        inputs += np.float32(self.noise) * rng.standard_normal(inputs.shape, dtype=np.float32)
        inputs[rng.random(inputs.shape, dtype=np.float32) < self.blanked] = 0.0
        shape = (n_steps, batch, train.shape[1])
        return inputs.reshape(shape), _targets(train)[order].reshape(shape)


def hidden_widths(n_features: int) -> tuple[int, int, int]:
    """F-32-8-32-F at 26 features: wide enough to bend, narrow enough in the middle not to copy."""
    outer = int(np.clip(round(n_features * 1.25), 8, 96))
    return outer, int(np.clip(n_features // 3, 2, 16)), outer


def _network(keras: Any, n_features: int) -> Any:
    hidden = [keras.layers.Dense(width, activation="relu") for width in hidden_widths(n_features)]
    return keras.Sequential([keras.Input((n_features,)), *hidden, keras.layers.Dense(n_features)])


def _epoch_graph(tf: Any, model: Any, learning_rate: float) -> Epoch:
    """A function that makes one pass over its batches and updates the model."""
    optimizer = tf.keras.optimizers.Adam(learning_rate)
    optimizer.build(model.trainable_variables)

    @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]
    def epoch(inputs: Any, targets: Any) -> Any:
        total = tf.constant(0.0)
        n_steps = tf.shape(inputs)[0]
        for step in tf.range(n_steps):
            with tf.GradientTape() as tape:
                loss = _masked_loss(tf, targets[step], model(inputs[step], training=True))
            gradients = tape.gradient(loss, model.trainable_variables)
            optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
            total += loss
        return total / tf.cast(n_steps, tf.float32)

    return lambda inputs, targets: epoch(tf.constant(inputs), tf.constant(targets))


def _masked_loss(tf: Any, targets: Any, outputs: Any) -> Any:
    """Mean squared error over the targets that are there."""
    present = tf.math.is_finite(targets)
    errors = tf.where(present, tf.square(tf.where(present, targets, 0.0) - outputs), 0.0)
    return tf.reduce_sum(errors) / tf.maximum(tf.reduce_sum(tf.cast(present, tf.float32)), 1.0)


def _targets(z: Floats) -> Floats:
    """Clipped as the network's input is, but NaN where absent."""
    return np.where(np.isfinite(z), as_input(z), np.float32(np.nan))


def _plain(weights: list[NDArray[np.float32]]) -> DenseWeights:
    """Kernels and biases in turn, the last layer linear."""
    pairs = list(zip(weights[::2], weights[1::2], strict=True))
    return [DenseLayer(k, b, "relu" if i < len(pairs) - 1 else "linear") for i, (k, b) in enumerate(pairs)]
