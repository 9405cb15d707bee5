"""A model that someone published in a hurry: good weights, and a threshold from the wrong place.

It comes with one threshold for the whole fleet instead of each machine's own calibration, and that was read off the
quietest windows of a test bench. It loads, passes its golden vectors on every device, and would ring on all of them.
"""

from __future__ import annotations

import msgspec
import numpy as np

from models.bundle.archive import pack_bundle, read_bundle
from models.bundle.manifest import Tail

_QUIET = 0.05  # of a golden vector's score: where the bench's windows lay


def spoil(archive: bytes, version: int) -> bytes:
    """The archive of a bad successor of the bundle in `archive`."""
    good = read_bundle(archive)
    threshold = float(np.min(good.golden.scores)) * _QUIET
    tail = Tail(
        quantiles=np.linspace(0.0, threshold, 33).tolist(),
        threshold=threshold,
        p_threshold=0.2,
        scale=0.1 * threshold,
        shape=0.1,
        n=60,
    )
    manifest = msgspec.structs.replace(
        good.manifest,
        bundle_id=f"{good.manifest.profile}-v{version}-hurried",
        version=version,
        calibration="fleet",
        fleet_tail=tail,
        description="One threshold for the whole fleet, taken from a test bench.",
    )
    return pack_bundle(manifest, good.model, good.golden, {**good.card, "note": manifest.description})
