"""A profile: a kind of asset, its channels, and how they become windows, features and decisions.

Profiles are TOML files; the built-in ones are in `models/profiles`. Both sides read the same file, and the hash of what
shapes the feature vector travels with every aggregate and bundle, so a vector is never scored by a model of another spec.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from models.contract.names import MAX_CHANNELS, MAX_WINDOW_VALUES, Name

Positive = Annotated[float, Meta(gt=0)]
Fraction = Annotated[float, Meta(ge=0, le=1)]
PerChannel = Literal[
    "mean", "last", "std", "range", "slope", "roughness", "skew", "kurtosis", "crest",
    "octave1", "octave2", "octave3", "octave4", "octave5", "octave6", "envelope", "envelope_hz",
]  # fmt: skip
Cross = Literal["correlation"]

FEATURE_IMPLEMENTATION: Final = 2  # changes whenever the arithmetic in models/features/spec.py does
MIN_REFERENCE: Final = 20  # windows, to tell a distribution of scores from (models/detectors/calibration.py)
MAX_REFERENCE_BYTES: Final = 2 * 1024 * 1024  # of an asset
MAX_STREAMING_HZ: Final = 10.0  # one by one, a reading costs 15 to 40 µs
STREAMING_THRESHOLD: Final = 0.9
_BELOW: Final = 0.8  # of `above`
BUILTIN_DIR: Final = Path(__file__).resolve().parent.parent / "profiles"
# By these sensors and loggers say "no value": fillers, integers at their end (also as tenths), what a DS18B20 answers
# without power (85) or without a bus (-127).
DEFAULT_SENTINELS: Final = (
    -9999.0, 9999.0, -999.0, 999.0, -99999.0, 99999.0, 32767.0, -32768.0, 65535.0, 3276.7, -3276.8, 6553.5, -127.0, 85.0,
)  # fmt: skip


class _Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Config readers reject unknown keys: a misspelt key must not silently mean the default."""


class Channel(_Strict, frozen=True, kw_only=True):
    """One signal. `min`, `max`: physical range in `unit`, outside of which a value is the sensor's fault.

    `resolution`: the sensor's step; a channel that stays within it for `stuck_after_s` is stuck. None = never judged stuck.
    `sentinels`: values by which the sensor says "no value"; None = `DEFAULT_SENTINELS`, each where it is implausible.
    `rate_hz`: where it differs from the profile's grid. `optional`: not every such asset has it; it is missing only where
    it has been there before. `dynamics`: "inert" cannot jump or turn rough by itself (the temperature of a mass, the level
    of a tank): such a change is the sensor's. "abrupt" does so by its nature (a setpoint, a computer's load): neither
    `step` nor `noise` is judged.
    """

    name: Name
    unit: str = ""
    min: float | None = None
    max: float | None = None
    resolution: float = 0.0
    stuck_after_s: Positive | None = None
    rate_hz: Positive | None = None
    optional: bool = False
    sentinels: tuple[float, ...] | None = None
    dynamics: Literal["inert", "usual", "abrupt"] = "usual"


class Redundant(_Strict, frozen=True, kw_only=True):
    """Channels that measure the same thing. `tolerance`: how far two may be apart, in their unit; None = learned."""

    channels: Annotated[tuple[Name, ...], Meta(min_length=2)]
    tolerance: Positive | None = None


class Windowing(_Strict, frozen=True, kw_only=True):
    """`rate_hz`: the grid on which channels are aligned. `hop_s` from one window's end to the next; None = `window_s`.

    `lateness_s`: how long a window waits, in event time, for stragglers. A channel is missing in a window where less than
    `min_coverage` of its grid is filled or a gap is longer than `max_gap_s`; other gaps are interpolated.
    """

    rate_hz: Positive
    window_s: Positive
    hop_s: Positive | None = None
    lateness_s: Annotated[float, Meta(ge=0)] = 1.0
    max_gap_s: Annotated[float, Meta(ge=0)] = 1.0
    min_coverage: Fraction = 0.5

    @property
    def hop(self) -> float:
        return self.hop_s or self.window_s

    @property
    def n_samples(self) -> int:
        """Rows of a window's matrix."""
        return max(2, round(self.window_s * self.rate_hz))


class Features(_Strict, frozen=True, kw_only=True):
    """Which features, in which order: per channel, then across channels.

    `follow_s`: the time constant with which an asset's normal follows slow drift (models/features/drift.py); None = normal
    is what it was while commissioning.
    """

    per_channel: tuple[PerChannel, ...] = ("mean", "std", "range", "slope", "roughness")
    cross: tuple[Cross, ...] = ()
    follow_s: Positive | None = None


class CommissioningPlan(_Strict, frozen=True, kw_only=True):
    """`windows`: how many windows of normal running an asset needs before it is judged."""

    windows: Annotated[int, Meta(ge=20, le=5000)] = 60


class RunningPlan(_Strict, frozen=True, kw_only=True):
    """By what an asset tells that it runs (models/quality/running.py). `channel`: at `above` or more it runs; below `below`,
    None = 0.8 of `above`, it is at rest; in between it does as it did.

    `settle_s`: after a start nothing is judged for so long. `stop_s`: how long stopping takes: an alert that opens while
    the channel falls lower than is usual waits so long for whether that is a stop.
    """

    channel: Name
    above: Positive
    below: Positive | None = None
    settle_s: Annotated[float, Meta(ge=0)] = 60.0
    stop_s: Annotated[float, Meta(ge=0)] = 30.0

    def __post_init__(self) -> None:
        if self.below is not None and self.below >= self.above:
            raise ValueError(f"running.below: {self.below:g} must be less than above, {self.above:g}")

    @property
    def lower(self) -> float:
        """Below it the asset is at rest."""
        return _BELOW * self.above if self.below is None else self.below


class WindowsPlan(_Strict, frozen=True, kw_only=True):
    """Whole windows, for models that take these instead of features. Off by default: they cost memory, flash and traffic.

    `reference`: how many commissioning windows a device keeps whole, to calibrate such models by; 0 = it refuses them.
    `sample_share`: of the windows without a sensor fault or an alarm, the share that is sent to the hub whole, to learn from.
    """

    reference: Annotated[int, Meta(ge=0, le=1000)] = 0
    sample_share: Fraction = 0.0


class DecisionPlan(_Strict, frozen=True, kw_only=True):
    """`false_alarms_per_month`: the operator's dial, per asset. However strong the evidence, an alert opens only after
    `open_windows` suspicious windows in a row; it closes after `close_windows` calm ones (models/detectors/decision.py)."""

    false_alarms_per_month: Positive = 1.0
    open_windows: Annotated[int, Meta(ge=1)] = 2
    close_windows: Annotated[int, Meta(ge=1)] = 3


class StreamingPlan(_Strict, frozen=True, kw_only=True):
    """Channels that are also watched reading by reading, without model or commissioning (models/detectors/streaming.py).

    `channels`: of the profile, each at most `MAX_STREAMING_HZ`. `threshold`: of the score at which an alert opens. The dial of
    `decision` does not govern it: how often it rings on healthy readings depends on the channel (docs/detection.md).
    """

    channels: tuple[Name, ...] = ()
    threshold: Annotated[float, Meta(gt=0, lt=1)] = STREAMING_THRESHOLD


class Profile(_Strict, frozen=True, kw_only=True):
    """See the module's text; `title` is what people read."""

    name: Name
    channels: Annotated[tuple[Channel, ...], Meta(min_length=1, max_length=MAX_CHANNELS)]
    windowing: Windowing
    title: str = ""
    redundant: tuple[Redundant, ...] = ()
    features: Features = Features()
    commissioning: CommissioningPlan = CommissioningPlan()
    running: RunningPlan | None = None
    windows: WindowsPlan = WindowsPlan()
    decision: DecisionPlan = DecisionPlan()
    streaming: StreamingPlan = StreamingPlan()

    def __post_init__(self) -> None:
        for i, group in enumerate(self.redundant):
            for name in group.channels:
                if name not in self.channel_names or group.channels.count(name) > 1:
                    raise ValueError(f"redundant[{i}].channels: {name!r} must be a channel of the profile, and named once")
        if self.running is not None and self.running.channel not in self.channel_names:
            raise ValueError(f"running.channel: {self.running.channel!r} must be a channel of the profile")
        self._check_windows()
        self._check_streaming()

    def _check_windows(self) -> None:
        reference, n_values = self.windows.reference, self.windowing.n_samples * len(self.channels)
        if 0 < reference < MIN_REFERENCE:
            raise ValueError(f"windows.reference: 0, or at least {MIN_REFERENCE}")
        if (reference or self.windows.sample_share) and n_values > MAX_WINDOW_VALUES:
            raise ValueError(f"windows: one of {n_values} values is too large to keep whole; at most {MAX_WINDOW_VALUES}")
        if reference * n_values * 4 > MAX_REFERENCE_BYTES:
            most = MAX_REFERENCE_BYTES // (4 * n_values)
            raise ValueError(f"windows.reference: at most {most} windows of {n_values} values")

    def _check_streaming(self) -> None:
        rates_hz = {channel.name: self.rate_of(channel) for channel in self.channels}
        for i, name in enumerate(self.streaming.channels):
            if name not in rates_hz or self.streaming.channels.count(name) > 1:
                raise ValueError(f"streaming.channels[{i}]: {name!r} must be a channel of the profile, and named once")
            if rates_hz[name] > MAX_STREAMING_HZ:
                raise ValueError(
                    f"streaming.channels[{i}]: {name!r} comes {rates_hz[name]:g} times a second; at most {MAX_STREAMING_HZ:g}: "
                    "leave it to the windows, or state the rate_hz at which it really comes"
                )

    def rate_of(self, channel: Channel) -> float:
        """Readings a second, as declared; of the grid where nothing is."""
        return channel.rate_hz or self.windowing.rate_hz

    @property
    def period_s(self) -> float:
        """How long it takes until another reading is due, of the channel that comes most often."""
        return 1 / max(map(self.rate_of, self.channels))

    def is_rare(self, channel: Channel) -> bool:
        """Whether the channel is left to the streaming detector: it is watched by that, and comes less than twice a window."""
        few = self.rate_of(channel) * self.windowing.window_s < 2
        return few and channel.name in self.streaming.channels

    @property
    def learns_windows(self) -> bool:
        """Whether any channel is judged by windows."""
        return not all(map(self.is_rare, self.channels))

    @property
    def channel_names(self) -> list[str]:
        return [channel.name for channel in self.channels]

    @property
    def spec_hash(self) -> str:
        """16 hex digits over what shapes the feature vector: channels, windowing, features. Not titles, limits or decisions."""
        shape = [
            FEATURE_IMPLEMENTATION,
            self.channel_names,
            self.windowing.rate_hz,
            self.windowing.window_s,
            self.windowing.hop,
            self.features,
        ]
        return hashlib.sha256(msgspec.json.encode(shape, order="deterministic")).hexdigest()[:16]
