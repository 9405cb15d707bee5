"""A generative model that makes more of a few faulty windows: a variational autoencoder, and how each fault is off from it.

    window = decoder(latent) + offset[kind] + noise[kind]

1. How features move together is learned from many normal windows (Kingma and Welling, 2014).
2. How a kind of fault is off is learned from the few faulty ones, in turns: what a window would be without the fault, by the
   autoencoder; then what is left over of all windows of the kind, its mean and its spread.
3. A new faulty window is drawn from the prior: it varies as normal windows do, and is off as the few are.

Why the kind is no input of the networks, as in a conditional autoencoder (Sohn et al., 2015): tried so, four windows of a kind
were learned by heart, and what was drawn varied half as much as windows do; with an offset that was trained along, the decoder
learned half of the fault as if it were normal.

Windows are (n, n_features), in units of the asset's own normal, clipped as the detectors' input is. What none of the few
shows, it cannot invent; how a fault shows at another load than theirs, it does not know.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hub.training.framework import load_tensorflow
from hub.training.trainer import DenseLayer, DenseWeights, Floats, as_input, forward
from models.errors import TrainingError

MIN_NORMAL: Final = 50
MIN_FAULTY: Final = 3
_MAX_KINDS: Final = 64
_TURNS: Final = 10
_AS_MANY: Final = 5.0  # windows' worth of belief that a faulty window is as noisy as a normal one
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class FaultGenerator:
    """`latent`: width of what varies. `kl`: weight of the prior. `steps`: of Adam, each on `batch` normal windows."""

    latent: int = 6
    width: int = 48
    kl: float = 0.3
    steps: int = 1500
    batch: int = 64
    learning_rate: float = 2e-3

    def fit(self, normal: Floats, faulty: Floats, kinds: Ints, seed: int) -> FittedGenerator:
        """`kinds`: (n_faulty,) which fault each window shows, from 0 on. The same data and seed give the same generator, on the
        same libraries. Raises TrainingError on fewer than 50 normal or 3 faulty windows, or kinds that are not 0, 1, 2 …"""
        _check(normal, faulty, kinds)
        encoder, decoder = self._autoencoder(as_input(normal), seed)

        def rebuilt(windows: Floats) -> Floats:
            return forward(decoder, forward(encoder, windows)[:, : self.latent])

        usual = np.square(as_input(normal) - rebuilt(as_input(normal))).mean(axis=0)
        learned = [_off(as_input(faulty[kinds == kind]), as_input(normal), rebuilt, usual) for kind in np.unique(kinds)]
        offset, noise = (np.array(each, dtype=np.float32) for each in zip(*learned, strict=True))
        return FittedGenerator(decoder, self.latent, offset, noise)

    def _autoencoder(self, windows: Floats, seed: int) -> tuple[DenseWeights, DenseWeights]:
        """Encoder, of which the first half of the outputs are means, and decoder."""
        tf = load_tensorflow()
        tf.keras.backend.clear_session()
        tf.keras.utils.set_random_seed(seed)
        tf.config.experimental.enable_op_determinism()
        encoder = self._network(tf.keras, windows.shape[1], 2 * self.latent)
        decoder = self._network(tf.keras, self.latent, windows.shape[1])
        rng = np.random.default_rng(seed)
        noise = rng.standard_normal((self.steps, self.batch, self.latent), dtype=np.float32)
        batches = windows[rng.integers(0, len(windows), (self.steps, self.batch))]
        _training(tf, encoder, decoder, self.kl, self.learning_rate)(batches, noise)
        return _plain(encoder.get_weights()), _plain(decoder.get_weights())

    def _network(self, keras: Any, n_in: int, n_out: int) -> Any:
        layers = [keras.layers.Dense(self.width, activation="relu") for _ in range(2)]
        return keras.Sequential([keras.Input((n_in,)), *layers, keras.layers.Dense(n_out)])


@dataclass(frozen=True, slots=True, eq=False)
class FittedGenerator:
    """`offset`, `noise`: (n_kinds, n_features), how each kind is off, and the standard deviation of what the decoder does not
    tell: without it windows would be smoother than any that was seen."""

    decoder: DenseWeights
    latent: int
    offset: Floats
    noise: Floats

    def draw(self, n: int, rng: np.random.Generator) -> tuple[Floats, Ints]:
        """(n, n_features) faulty windows and (n,) their kinds, each kind as often as any other."""
        kinds = np.arange(n, dtype=np.int64) % len(self.offset)
        windows = forward(self.decoder, rng.standard_normal((n, self.latent), dtype=np.float32)) + self.offset[kinds]
        return as_input(windows + self.noise[kinds] * rng.standard_normal(windows.shape, dtype=np.float32)), kinds


def _check(normal: Floats, faulty: Floats, kinds: Ints) -> None:
    if len(normal) < MIN_NORMAL or len(faulty) < MIN_FAULTY:
        raise TrainingError(
            f"{len(normal)} normal and {len(faulty)} faulty windows; to make more of, at least {MIN_NORMAL} and {MIN_FAULTY}"
        )
    present = np.unique(kinds)
    if len(kinds) != len(faulty) or len(present) > _MAX_KINDS or not np.array_equal(present, np.arange(len(present))):
        raise TrainingError(f"kinds of faulty windows: one for each, 0 to at most {_MAX_KINDS - 1} without a gap")


def _off(faulty: Floats, normal: Floats, rebuilt: Callable[[Floats], Floats], usual: Floats) -> tuple[Floats, Floats]:
    """(offset, noise) of one kind. `usual`: variance of what is left over of normal windows, on which the noise leans."""
    offset = faulty.mean(axis=0) - normal.mean(axis=0)
    for _ in range(_TURNS):
        offset = (faulty - rebuilt(as_input(faulty - offset))).mean(axis=0)
    left = np.square(faulty - rebuilt(as_input(faulty - offset)) - offset)
    return offset, np.sqrt((left.sum(axis=0) + _AS_MANY * usual) / (len(faulty) + _AS_MANY))


def _training(tf: Any, encoder: Any, decoder: Any, kl: float, learning_rate: float) -> Callable[[Floats, Floats], None]:
    """A function that makes one step on each batch; one graph, for stepping from Python would take far longer."""
    optimizer = tf.keras.optimizers.Adam(learning_rate)
    variables = [*encoder.trainable_variables, *decoder.trainable_variables]
    optimizer.build(variables)

    @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]
    def train(windows: Any, noise: Any) -> None:
        for step in tf.range(tf.shape(windows)[0]):
            with tf.GradientTape() as tape:
                mean, log_var = tf.split(encoder(windows[step]), 2, axis=1)
                log_var = tf.clip_by_value(log_var, -8.0, 4.0)
                missed = windows[step] - decoder(mean + tf.exp(log_var / 2) * noise[step])
                off_prior = tf.reduce_sum(tf.square(mean) + tf.exp(log_var) - 1 - log_var, axis=1) / 2
                loss = tf.reduce_mean(tf.reduce_sum(tf.square(missed), axis=1) / 2 + kl * off_prior)
            gradients = tape.gradient(loss, variables)
            optimizer.apply_gradients(zip(gradients, variables, strict=True))

    return lambda windows, noise: train(tf.constant(windows), tf.constant(noise))


def _plain(weights: list[NDArray[np.float32]]) -> DenseWeights:
    """Kernels and biases in turn, the last layer linear."""
    pairs = list(zip(weights[::2], weights[1::2], strict=True))
    return [DenseLayer(k, b, "relu" if i < len(pairs) - 1 else "linear") for i, (k, b) in enumerate(pairs)]
