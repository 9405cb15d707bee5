"""What several tests here need: features of simulated windows, and reading a serial port to the end."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import serial
from numpy.typing import NDArray

from firmware_sim.assets.asset import Asset
from firmware_sim.faults.fault import Fault
from models.contract.config import load_profile
from models.features.spec import FeatureSpec
from tests.waiting import wait_until

RATE_HZ = 5.0  # of the machines that are not heard but measured


def rate_of(profile: str) -> float:
    """Samples a second, as the profile says."""
    return load_profile(profile).windowing.rate_hz


def feature_vectors(asset: Asset, first_s: float, n_windows: int, faults: Sequence[Fault] = ()) -> NDArray[np.float64]:
    """(n_windows, n_features) of the windows from `first_s` on."""
    spec, windowing = FeatureSpec(asset.profile), asset.profile.windowing
    per_window = round(windowing.window_s * windowing.rate_hz)
    t_s = first_s + np.arange(n_windows * per_window) / windowing.rate_hz
    samples = np.stack(list(asset.simulate(t_s, faults).values()), axis=1)
    windows = samples.reshape(n_windows, per_window, -1)
    return np.stack([spec.compute(window) for window in windows]).astype(np.float64)


def read_serial(port: serial.Serial, n_bytes: int, timeout_s: float = 60.0) -> bytes:
    """At least `n_bytes` from an open port with a short timeout."""
    got = bytearray()

    def enough() -> bool:
        got.extend(port.read(max(1, port.in_waiting)))
        return len(got) >= n_bytes

    wait_until(enough, timeout_s, f"{n_bytes} bytes from {port.port}")
    return bytes(got)


def read_to_hang_up(port: serial.Serial, timeout_s: float = 60.0) -> bytes:
    """Everything until the other side closes."""
    got = bytearray()

    def hung_up() -> bool:
        try:
            got.extend(port.read(max(1, port.in_waiting)))
        except (serial.SerialException, OSError):
            return True
        return False

    wait_until(hung_up, timeout_s, f"the end of {port.port}")
    return bytes(got)
