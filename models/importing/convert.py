"""From a foreign TFLite model to a bundle: inspected, run, compared with what it was made from, and packed; or refused.

Invariants:
1. Nothing is packed that does not load here, lists an operator that the oldest supported runtime has not got, or does not fit
   the profile's spec.
2. Golden vectors are what the model says here and now of inputs that are given, or else drawn from a seed: equal arguments
   give equal bytes.
3. Where the float model is given too, int8 may cost at most 0.01 of AUC on faults injected into those inputs; else there is no
   bundle.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.bundle.archive import Golden, digest, pack_bundle, read_bundle
from models.bundle.manifest import Input, Manifest, Output, Scaling
from models.bundle.operators import operators, refuse_unsupported
from models.bundle.selftest import Sizes, TfliteDetector, load_detector, self_test
from models.contract.profile import Profile
from models.detectors.detector import DEFAULT_CLIP, huber, mean_of_farthest
from models.errors import BundleIncompatible
from models.runtime import FloatModel, Int8Model

_N_GOLDEN: Final = 16
_N_JUDGED: Final = 400
_TOLERANCE: Final = 0.1  # as of what the hub trains: runtimes differ by some codes
MAX_AUC_LOSS: Final = 0.01
_AS_MEASURED_CLIP: Final = 1e9  # values as measured have no sigmas to be clipped to: squares all the way
Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Plan:
    """What the caller says of a model. `share`: None = of features or channels an eighth, of values as measured all."""

    input: Input
    output: Output
    scaling: Scaling
    centered: bool = False
    share: float | None = None
    version: int = 1
    seed: int = 1


def inspect(model: bytes, profile: Profile, plan: Plan) -> Int8Model:
    """The model, loaded. Raises BundleIncompatible naming what to do: no TFLite model, an operator that devices have not got,
    float input or output, another size than the profile's, outputs that are neither a reconstruction nor a score."""
    refuse_unsupported(model)
    loaded = Int8Model(model)
    sizes = Sizes.of(profile)
    wanted = sizes.n_features if plan.input == "features" else sizes.n_samples * sizes.n_channels
    if loaded.n_inputs != wanted:
        has = f"{wanted} features" if plan.input == "features" else f"{sizes.n_samples} samples of {sizes.n_channels} channels"
        raise BundleIncompatible(
            f"the model takes {loaded.n_inputs} values {list(loaded.input.shape)}; profile {profile.name} has {has}: choose "
            "--input, or change the profile's features, rate_hz or window_s (--profiles-dir has those of your own)"
        )
    expected = loaded.n_inputs if plan.output == "reconstruction" else 1
    if loaded.n_outputs != expected:
        what = f"a reconstruction has {expected}, as the input" if plan.output == "reconstruction" else "a score has one"
        raise BundleIncompatible(f"the model gives {loaded.n_outputs} values; {what}: choose --output")
    if plan.input == "window" and not profile.windows.reference:
        raise BundleIncompatible(
            f"profile {profile.name} keeps no whole windows, so devices would refuse the bundle: set reference = 60 in its "
            "[windows]"
        )
    return loaded


def import_model(
    model: bytes,
    profile: Profile,
    plan: Plan,
    *,
    name: str,
    samples: Floats | None = None,
    float_model: bytes | None = None,
    created_ns: int = 0,
) -> bytes:
    """The bundle's archive. `samples`: (n, n_inputs) as the model takes them, of normal running; None = drawn from the seed.

    `float_model`: what the model was quantized from. Raises BundleIncompatible, SelfTestFailed.
    """
    loaded = inspect(model, profile, plan)
    given = samples is not None
    inputs = _drawn(loaded, plan) if samples is None else _checked(samples, loaded.n_inputs)
    manifest = _manifest(model, profile, plan, loaded.n_inputs, created_ns)
    placeholder = Golden(inputs[:1], np.zeros(1))
    detector = load_detector(read_bundle(pack_bundle(manifest, model, placeholder, {})), profile.spec_hash, Sizes.of(profile))
    evaluation: dict[str, Any] = {"inputs": "given" if given else "drawn", "auc_loss": None}
    if float_model is not None:
        evaluation |= compare(detector, float_model, manifest, inputs, plan.seed)
        if evaluation["auc_loss"] > MAX_AUC_LOSS:
            raise BundleIncompatible(
                f"int8 loses {evaluation['auc_loss']:.3f} of AUC against the float model; at most {MAX_AUC_LOSS}: convert it "
                "with a representative dataset that reaches as far out as faults do"
            )
    golden_inputs = inputs[np.linspace(0, len(inputs) - 1, min(_N_GOLDEN, len(inputs))).astype(int)]
    golden = Golden(golden_inputs, np.array([detector.score(z).score for z in golden_inputs]))
    archive = pack_bundle(manifest, model, golden, _card(name, model, loaded, plan, evaluation))
    bundle = read_bundle(archive)
    self_test(bundle, load_detector(bundle, profile.spec_hash, Sizes.of(profile)))
    return archive


def compare(detector: TfliteDetector, float_model: bytes, manifest: Manifest, inputs: Floats, seed: int) -> dict[str, Any]:
    """int8 against float on `inputs` and on copies with a fault: a tenth of the values, those that follow each other, moved by
    one to three spreads of all. {"auc": {"int8", "float"}, "auc_loss", "score_correlation"}."""
    exact = FloatModel(float_model)
    if exact.n_inputs != detector.n_features:
        raise BundleIncompatible(f"the float model takes {exact.n_inputs} values, the int8 one {detector.n_features}")
    normal = inputs[:_N_JUDGED]
    faulty = _with_faults(normal, np.random.default_rng(seed))
    scores = {
        "int8": tuple(np.array([detector.score(z).score for z in x]) for x in (normal, faulty)),
        "float": tuple(np.array([_float_score(exact, manifest, z) for z in x]) for x in (normal, faulty)),
    }
    areas = {name: round(_auc(*pair), 5) for name, pair in scores.items()}
    by_int8, by_float = (np.concatenate(pair) for pair in scores.values())
    return {
        "auc": areas,
        "auc_loss": round(areas["float"] - areas["int8"], 5),
        "score_correlation": round(float(np.corrcoef(by_int8, by_float)[0, 1]), 5),
    }


def _float_score(exact: FloatModel, manifest: Manifest, z: Floats) -> float:
    out = exact.run(np.clip(z, -manifest.clip, manifest.clip))
    if manifest.output == "score":
        return float(out[0])
    contributions = huber(z - out, manifest.clip)
    if manifest.n_channels:
        contributions = contributions.reshape(-1, manifest.n_channels).mean(axis=0)
    return mean_of_farthest(contributions, manifest.share)


def _with_faults(normal: Floats, rng: np.random.Generator) -> Floats:
    faulty = normal.copy()
    n, n_values = faulty.shape
    length, spread = max(1, n_values // 10), float(normal.std())
    for row, start in enumerate(rng.integers(0, n_values - length + 1, n)):
        faulty[row, start : start + length] += spread * rng.uniform(1, 3) * rng.choice([-1.0, 1.0])
    return faulty


def _auc(normal: NDArray[np.float64], faulty: NDArray[np.float64]) -> float:
    ordered = np.sort(normal)
    below = np.searchsorted(ordered, faulty, side="left") + np.searchsorted(ordered, faulty, side="right")
    return float(below.mean() / (2 * len(ordered)))


def _drawn(loaded: Int8Model, plan: Plan) -> Floats:
    """(n, n_inputs): of a model of normalized values standard normal ones, a quarter of them stretched threefold; of one of
    values as measured, such as fill the middle of the range that its input is quantized for."""
    rng = np.random.default_rng(plan.seed)
    x = rng.standard_normal((_N_JUDGED, loaded.n_inputs))
    if plan.scaling == "local":
        x[::4] *= 3.0
    else:
        to = loaded.input
        low, high = (
            (float(end) - float(to.zero)) * float(to.scale) for end in (np.iinfo(to.dtype).min, np.iinfo(to.dtype).max)
        )
        x = np.clip((low + high) / 2 + x * (high - low) / 8, low, high)
    return x.astype(np.float32)


def _checked(samples: Floats, n_inputs: int) -> Floats:
    if samples.ndim < 2 or not len(samples) or samples[0].size != n_inputs or not np.isfinite(samples).all():
        raise BundleIncompatible(f"samples of shape {list(samples.shape)}: (n, {n_inputs}) finite numbers are expected")
    return np.ascontiguousarray(samples.reshape(len(samples), -1), dtype=np.float32)


def _manifest(model: bytes, profile: Profile, plan: Plan, n_inputs: int, created_ns: int) -> Manifest:
    measured = plan.scaling == "none"
    share = plan.share if plan.share is not None else (1.0 if measured else 1 / 8)
    return Manifest(
        bundle_id=f"{profile.name[:40]}-v{plan.version}-{digest(model)[:8]}",
        profile=profile.name,
        version=plan.version,
        created_ns=created_ns,
        spec_hash=profile.spec_hash,
        n_features=n_inputs,
        n_channels=len(profile.channels) if plan.input == "window" else 0,
        architecture="imported",
        input=plan.input,
        output=plan.output,
        scaling=plan.scaling,
        centered=plan.centered,
        share=share,
        clip=_AS_MEASURED_CLIP if measured else DEFAULT_CLIP,
        score_tolerance=_TOLERANCE,
        model_sha256=digest(model),
        golden_sha256="0" * 64,  # filled in where it is packed
    )


def _card(name: str, model: bytes, loaded: Int8Model, plan: Plan, evaluation: dict[str, Any]) -> dict[str, Any]:
    return {
        "title": f"Imported: {name}",
        "intended_use": "As its makers say; nothing is known here of the data that it was trained on.",
        "model": {
            "architecture": "imported",
            "int8_bytes": len(model),
            "input": list(loaded.input.shape),
            "output": list(loaded.output.shape),
            "dtype": loaded.input.dtype.name,
            "operators": [f"{operator.name} v{operator.version}" for operator in operators(model)],
        },
        "imported_as": {"input": plan.input, "output": plan.output, "scaling": plan.scaling, "seed": plan.seed},
        "evaluation": evaluation,
    }
