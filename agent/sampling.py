"""The sampled share of windows that is sent to the hub whole, so that models over windows have something to learn from.

Which windows are drawn is told by a hash of the asset and the window's end: a replay draws the same ones, no state is kept, and
assets do not draw theirs at the same time.
"""

from __future__ import annotations

import hashlib
from typing import Final

from models.contract.items import SAMPLE, Evidence, pack_floats
from models.contract.profile import Profile
from models.detectors.quality import CleanWindow

_RANGE: Final = 2**32


def is_sampled(asset: str, end_ns: int, profile: Profile) -> bool:
    """Whether the window that ends then is one of the profile's share."""
    share = profile.windows.sample_share
    if share <= 0:
        return False
    drawn = hashlib.blake2b(f"{asset}\0{end_ns}".encode(), digest_size=4).digest()
    return int.from_bytes(drawn, "big") < share * _RANGE


def sample_of(asset: str, window: CleanWindow, profile: Profile) -> Evidence:
    """The whole window as evidence of no alert."""
    return Evidence(
        alert_id=SAMPLE,
        asset=asset,
        start_ns=window.start_ns,
        rate_hz=profile.windowing.rate_hz,
        channels=profile.channel_names,
        values=pack_floats(window.matrix),
        sample=True,
    )
