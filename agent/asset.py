"""One watched asset: from its closed windows to what is to be told about it.

    commissioning --(enough good windows)--> normal --(hysteresis opens)--> alarm --(hysteresis closes)--> normal

What a window's scores are and mean is the judges' business (`judges.py`); what they lead to is told here. Channels that are
also watched reading by reading have alerts of their own (`streams.py`), whether or not the windows are commissioned yet. Where
the profile says by what the machine runs, windows at rest and after a start are told, but lead to nothing: an open alert stays
open until the machine runs again (`models/quality/running.py`).
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Sequence
from typing import Final, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from agent.judges import Judges, Serving
from agent.sampling import is_sampled, sample_of
from agent.streams import SavedStreams, Streams, learned_least
from agent.timeline import restated
from models.contract.clock import NS_PER_S
from models.contract.items import (
    Aggregate,
    Alert,
    Body,
    ClockMark,
    Commissioning,
    Evidence,
    SensorFault,
    Severity,
    SlotScore,
    pack_floats,
    unpack_floats,
)
from models.contract.names import stable_id
from models.contract.profile import Profile
from models.detectors.calibration import MIN_SCORES
from models.detectors.commissioning import Learned, learn, learn_in_order
from models.detectors.faults import FaultTracker
from models.detectors.kept_windows import KeptWindows
from models.detectors.quality import CleanWindow, QualityControl, QualityMemory
from models.features.normal import LocalNormal
from models.features.spec import FeatureSpec
from models.features.window_normal import channel_shares
from models.grid import Grid
from models.quality.running import Phase
from models.raw_window import RawWindow
from models.windows import Windower

_EVIDENCE_WINDOWS: Final = 3
_MAX_EVIDENCE_BYTES: Final = 256 * 1024  # well within an envelope, however fast the channels
_SAVE_EVERY: Final = 10  # windows of commissioning that a power cut may cost
_DRIFTED: Final = 3.0
_MAX_DRIFTED: Final = 3
_CRITICAL: Final = 1e-2  # a single window this much less likely than one tolerated false alarm is critical
State = Literal["commissioning", "normal", "alarm"]


class SavedState(msgspec.Struct, frozen=True, kw_only=True):
    """What survives a restart. `vectors`: float32 bytes of the commissioning windows, or of the trusted ones once done.

    `start_ns`: of the first commissioning window. `ends_ns`: of each of them. `faults`: the open ones. `quality`: what is
    usual for the asset's sensors; None in states of older versions. `level`: float32 bytes, where normal lies now; empty where
    the profile's normal is fixed. `windows`, `window_ends_ns`: float32 bytes of the commissioning windows that are kept whole,
    and their ends; empty where the profile asks for none. `streams`: of the channels that are watched reading by reading.
    """

    spec_hash: str
    vectors: bytes
    done: bool
    alert: Alert | None = None
    start_ns: int = 0
    faults: list[SensorFault] = []
    ends_ns: list[int] = []
    quality: QualityMemory | None = None
    level: bytes = b""
    windows: bytes = b""
    window_ends_ns: list[int] = []
    streams: SavedStreams = SavedStreams()


def ended(saved: SavedState, at_ns: int) -> tuple[list[Body], SavedState]:
    """What is open in a state that nobody goes on from, closed: nobody else ever would; and the state without it. At the same
    time as they opened, where the clock has been set back behind that."""
    alerts = [*([saved.alert] if saved.alert else []), *saved.streams.alerts.values()]
    closed: list[Body] = [msgspec.structs.replace(each, closed_ns=max(at_ns, each.opened_ns)) for each in alerts]
    closed += [msgspec.structs.replace(each, closed_ns=max(at_ns, each.opened_ns)) for each in saved.faults]
    streams = msgspec.structs.replace(saved.streams, alerts={})
    return closed, msgspec.structs.replace(saved, alert=None, faults=[], streams=streams)


class AssetWatch:
    """Takes readings (through `windower`) and closed windows (`judge`); tells `state`, `p_value`, `since_ns`."""

    def __init__(self, asset: str, profile: Profile, boot_id: str = "") -> None:
        """`boot_id`: a device without a battery clock sees the same times again at each boot; ids must not repeat."""
        self.asset = asset
        self._boot_id = boot_id
        self.profile = profile
        self.spec = FeatureSpec(profile)
        self.windower = Windower(profile)
        self.channel_index = {name: i for i, name in enumerate(profile.channel_names)}
        self._quality = QualityControl(profile)
        self._grid = Grid(profile)
        self._faults = FaultTracker(asset)
        self._candidates: list[NDArray[np.float32]] = []
        self._candidate_ends_ns: list[int] = []
        self._candidates_start_ns = 0
        self._kept = KeptWindows(profile)
        self._learned: Learned | None = None
        self._judges = Judges(profile)
        self._streams = Streams(asset, profile, boot_id)
        self._follows = profile.features.follow_s is not None
        self._save_level_every = max(_SAVE_EVERY, round((profile.features.follow_s or 0.0) / profile.windowing.hop / 4))
        self._since_saved = 0
        self._alert: Alert | None = None
        hop_cells = max(1, round(profile.windowing.hop * profile.windowing.rate_hz))
        self._recent: deque[tuple[int, NDArray[np.float64]]] = deque(maxlen=_EVIDENCE_WINDOWS)
        self._hop_cells = hop_cells
        self._hop_ns = round(profile.windowing.hop * NS_PER_S)
        self.p_value: float | None = None
        self.since_ns: int | None = None
        self.phase: Phase = "running"  # of the newest window
        self.rest_since_ns: int | None = None
        self.dirty = False  # whether `saved` has changed since it was last taken
        self.forgotten: list[str] = []  # what of a saved state was of no use, in words

    # --- state ---------------------------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        if self.alerts:
            return "alarm"
        return "commissioning" if self.commissioning else "normal"

    @property
    def commissioning(self) -> bool:
        """Whether it is still being learned: its windows, or, where all channels are too rare for windows, its readings."""
        if self.profile.learns_windows:
            return self._learned is None
        learned, needed = self.commissioned
        return learned < needed

    @property
    def alert(self) -> Alert | None:
        """The open alert by windows."""
        return self._alert

    @property
    def alerts(self) -> list[Alert]:
        """All open alerts: the one by windows first, then those by single readings."""
        return [*([self._alert] if self._alert else []), *self._streams.alerts]

    @property
    def streams(self) -> dict[str, tuple[int, int]]:
        """Of each channel that is watched reading by reading: (readings learned from, readings needed until it is judged)."""
        return self._streams.learned

    @property
    def open_faults(self) -> list[SensorFault]:
        return self._faults.open

    @property
    def commissioned(self) -> tuple[int, int]:
        """(windows learned from so far, windows needed); readings, where the profile learns no windows."""
        if not self.profile.learns_windows:
            return learned_least(self.streams)
        needed = self.profile.commissioning.windows
        return (needed if self._learned else len(self._candidates)), needed

    def saved(self) -> SavedState:
        """What to keep; clears `dirty`."""
        self.dirty = False
        vectors = self._learned.reference if self._learned else np.array(self._candidates, dtype=np.float32)
        windows, window_ends_ns = self._kept.saved()
        return SavedState(
            spec_hash=self.spec.hash,
            vectors=pack_floats(vectors),
            done=self._learned is not None,
            alert=self._alert,
            start_ns=self._candidates_start_ns,
            faults=self.open_faults,
            ends_ns=self._candidate_ends_ns,
            quality=self._quality.memory(),
            level=b"" if (level := self._judges.level) is None else pack_floats(level),
            windows=windows,
            window_ends_ns=window_ends_ns,
            streams=self._streams.saved(),
        )

    def restore(self, saved: SavedState) -> bool:
        """Go on from `saved`; False, and commissioning starts anew, where it belongs to another feature spec."""
        if saved.spec_hash != self.spec.hash:
            return False
        vectors = np.array(unpack_floats(saved.vectors, self.spec.n_features))
        self._alert = saved.alert
        self._candidates_start_ns = saved.start_ns
        self._faults.resume(saved.faults)
        self._kept.resume(saved.windows, saved.window_ends_ns)
        if saved.quality is not None:
            self._quality.resume(saved.quality)
        if saved.done:  # its odd windows were dropped when it was learned; to look for odd ones again would drop more
            self._learned = Learned(LocalNormal.fit(vectors), vectors, self._usable_windows())
            level = unpack_floats(saved.level)
            self._calibrate(level if len(level) == self.spec.n_features else None)
        else:
            self._candidates = list(vectors)
            self._candidate_ends_ns = saved.ends_ns if len(saved.ends_ns) == len(vectors) else [0] * len(vectors)
        self._streams.restore(saved.streams)
        self.forgotten = self._streams.forgotten
        self.since_ns = min((alert.opened_ns for alert in self.alerts), default=None)
        return True

    @property
    def drifted(self) -> list[tuple[str, float]]:
        """(feature, how far its normal has gone since commissioning, in units of its spread then), the farthest first; only
        what has gone beyond `_DRIFTED`, and nothing where normal is fixed. Drift is told here, never as an alert."""
        moved = self._judges.moved()
        if moved is None:
            return []
        far = [i for i in np.argsort(-np.abs(np.nan_to_num(moved))) if abs(moved[i]) > _DRIFTED]
        return [(self.spec.names[i], round(float(moved[i]), 1)) for i in far[:_MAX_DRIFTED]]

    # --- models --------------------------------------------------------------------------------------------------

    def serve(self, active: Serving | None, shadow: Serving | None) -> None:
        """Let `active` decide (None = the baseline does) and `shadow` be scored beside it."""
        self._judges.serve(active, shadow)
        self._calibrate()

    def _calibrate(self, level: NDArray[np.float32] | None = None) -> None:
        if self._learned is not None:
            self._judges.calibrate(self._learned, alert_open=self._alert is not None, level=level)

    # --- clock ---------------------------------------------------------------------------------------------------

    def step(self, mark: ClockMark) -> None:
        """The device's clock was set. Where it dates this asset's readings, what is open is told by the new time."""
        if not self.windower.step(mark.before_ns - mark.mono_ns, mark.after_ns - mark.mono_ns):
            return
        if self._alert is not None:
            self._alert = msgspec.structs.replace(self._alert, opened_ns=restated(self._alert.opened_ns, mark))
        if self.since_ns is not None:
            self.since_ns = restated(self.since_ns, mark)
        self._streams.step(mark)
        self._faults.resume([_restated(fault, mark) for fault in self._faults.open])
        self.dirty = True

    # --- windows -------------------------------------------------------------------------------------------------

    def judge(self, raw: RawWindow) -> list[Body]:
        """Everything that one closed window leads to, in the order in which it should be told."""
        if raw.partial:
            return [self._cut_short(raw)]
        before = self.state
        window = self._quality.clean(raw, healthy=self._alert is None)
        told = self.spec.compute(window.matrix)
        vector = told if window.judged is window.matrix else self._compute(window.judged)
        if not window.ran:
            return self._unjudged(raw, window, told)
        self.phase, self.rest_since_ns = window.phase, None
        if self._recent and window.end_ns - self._recent[-1][0] != self._hop_ns:
            self._recent.clear()  # evidence has no gap inside
        self._recent.append((window.end_ns, window.matrix[-self._hop_cells :]))
        nonce = (self._boot_id, raw.end_mono_ns)
        bodies = self._fault_bodies(window, nonce)
        bodies += self._judge_readings(window, nonce)
        scores: list[SlotScore] = []
        top: list[tuple[str, float]] = []
        commissioning = self.commissioning
        if self._learned is None:
            bodies += self._commission(window, vector)
        elif np.isfinite(vector).any():
            scores, deciding = self._judges.score(vector, window.judged, window.phase == "stopping")
            top = self._channel_shares(deciding.contributions)[:3]
            bodies += self._decide(window.end_ns, scores[0], top, nonce)
            self._note_level()
            self._collect_windows(window)
        if self.state != before:
            self.since_ns = window.end_ns
        bodies.append(
            Aggregate(
                asset=self.asset,
                profile=self.profile.name,
                spec_hash=self.spec.hash,
                start_ns=window.start_ns,
                end_ns=window.end_ns,
                features=pack_floats(told),
                n_readings=window.n_readings,
                scores=scores,
                top=[channel for channel, _ in top],
                faulty=window.faulty,
                commissioning=commissioning,
                alarm=bool(self.alerts),
                n_late=window.n_late,
                end_mono_ns=raw.end_mono_ns,
            )
        )
        usual = not window.findings and not self.alerts and window.phase == "running"
        if usual and is_sampled(self.asset, window.end_ns, self.profile):
            bodies.append(sample_of(self.asset, window, self.profile))
        return bodies

    def _fault_bodies(self, window: CleanWindow, nonce: tuple[str, int]) -> list[Body]:
        bodies: list[Body] = [*self._faults.update(window.findings, window.start_ns, window.end_ns, nonce)]
        self.dirty = self.dirty or bool(bodies)
        return bodies

    def _cut_short(self, raw: RawWindow) -> Aggregate:
        """A window that a jump of the clock left too short to be judged: told for completeness, it decides nothing."""
        self._recent.clear()
        self._quality.forget_times()
        matrix, _ = self._grid.align(raw)
        return self._told_only(raw, self.spec.compute(matrix))

    def _unjudged(self, raw: RawWindow, window: CleanWindow, vector: NDArray[np.float32]) -> list[Body]:
        """A window in which the machine was at rest or had just started. What a stop shows in hindsight is taken back: windows
        of commissioning that may have been of it, and the row of odd ones that may have led to an alarm."""
        if self.profile.running is not None and self.phase in ("running", "stopping"):
            self._give_up_candidates(window.start_ns - round(self.profile.running.stop_s * NS_PER_S))
        self.phase, self.rest_since_ns, self.p_value = window.phase, window.rest_since_ns, None
        self._judges.rest()
        self._streams.pass_over(window)
        self._recent.clear()
        bodies = self._fault_bodies(window, (self._boot_id, raw.end_mono_ns))
        return [*bodies, self._told_only(raw, vector, window.faulty)]

    def _told_only(self, raw: RawWindow, vector: NDArray[np.float32], faulty: Sequence[str] = ()) -> Aggregate:
        """`partial` says that there is nothing to be learned from it; a hub from before there were rests understands that."""
        return Aggregate(
            asset=self.asset,
            profile=self.profile.name,
            spec_hash=self.spec.hash,
            start_ns=raw.start_ns,
            end_ns=raw.end_ns,
            features=pack_floats(vector),
            n_readings=raw.n_readings,
            faulty=list(faulty),
            commissioning=self.commissioning,
            alarm=bool(self.alerts),
            n_late=raw.n_late,
            partial=True,
            end_mono_ns=raw.end_mono_ns,
        )

    def _compute(self, matrix: NDArray[np.float64]) -> NDArray[np.float32]:
        """The features that are judged; none where all channels are too rare for windows."""
        if not self.profile.learns_windows:
            return np.full(self.spec.n_features, np.nan, dtype=np.float32)
        return self.spec.compute(matrix)

    def _judge_readings(self, window: CleanWindow, nonce: tuple[str, int]) -> list[Body]:
        """What the window's single readings lead to; an alert that opens brings the windows before it."""
        bodies: list[Body] = []
        for alert in self._streams.judge(window, nonce):
            bodies += [alert] if alert.closed_ns is not None else [alert, self._evidence(alert.alert_id)]
        self.dirty = self.dirty or self._streams.dirty
        return bodies

    def _channel_shares(self, contributions: NDArray[np.float32]) -> list[tuple[str, float]]:
        if self._judges.takes_windows:
            return channel_shares(contributions, self.spec.channels)
        return self.spec.channel_shares(contributions)

    def _usable_windows(self) -> NDArray[np.float32] | None:
        return self._kept.windows if self._kept.usable else None

    def _collect_windows(self, window: CleanWindow) -> None:
        """Where commissioning left too few whole windows for what the profile asks: take good ones from now on."""
        if self._learned is None or self._learned.windows is not None or not self.profile.windows.reference:
            return
        if window.findings or self._alert is not None or window.phase != "running":
            self._kept.give_up(window.since_ns)
            return
        self._kept.add(window.end_ns, window.judged)
        self.dirty = self.dirty or len(self._kept) % _SAVE_EVERY == 0
        if self._kept.complete:
            self._learned = dataclasses.replace(self._learned, windows=self._kept.windows)
            self._calibrate()

    def _note_level(self) -> None:
        """Keep where normal lies now and then, so that a restart does not ring for what has drifted since commissioning."""
        self._since_saved += 1
        if self._follows and self._since_saved >= self._save_level_every:
            self._since_saved = 0
            self.dirty = True

    def _commission(self, window: CleanWindow, vector: NDArray[np.float32]) -> list[Body]:
        """Collect a good window; once there are enough, learn from them. What a fault now shows to have touched goes again."""
        if window.findings:
            self._give_up_candidates(window.since_ns)
        if window.findings or not np.isfinite(vector).any():
            return []
        if not self._candidates:
            self._candidates_start_ns = window.start_ns
        self._candidates.append(vector)
        self._candidate_ends_ns.append(window.end_ns)
        self._kept.add(window.end_ns, window.judged)
        self.dirty = self.dirty or len(self._candidates) % _SAVE_EVERY == 0
        enough = len(self._candidates) >= self.profile.commissioning.windows
        return self.commission_now(window.end_ns) if enough else []

    def _give_up_candidates(self, since_ns: int) -> None:
        """Windows that end after a fault began, though it was only recognized later."""
        while self._candidate_ends_ns and self._candidate_ends_ns[-1] > since_ns:
            self._candidate_ends_ns.pop()
            self._candidates.pop()
            self.dirty = True
        self._kept.give_up(since_ns)

    def commission_now(self, end_ns: int) -> list[Body]:
        """Learn this asset's normal from the windows collected so far. Raises ValueError where they are fewer than 20."""
        if len(self._candidates) < MIN_SCORES:
            raise ValueError(f"{self.asset}: {len(self._candidates)} good windows; commissioning needs at least {MIN_SCORES}")
        learned = (learn_in_order if self._follows else learn)(np.array(self._candidates))
        ends_ns = np.array(self._candidate_ends_ns)
        self._kept.settle(set((ends_ns if learned.kept is None else ends_ns[learned.kept]).tolist()))
        self._learned = dataclasses.replace(learned, windows=self._usable_windows())
        self._candidates, self._candidate_ends_ns = [], []
        self._calibrate()
        self.dirty = True
        return [
            Commissioning(
                asset=self.asset,
                profile=self.profile.name,
                spec_hash=self.spec.hash,
                n_windows=len(self._learned.reference),
                start_ns=self._candidates_start_ns,
                end_ns=end_ns,
                location=pack_floats(self._learned.normal.location),
                scale=pack_floats(self._learned.normal.scale),
            )
        ]

    def recommission(self) -> list[Body]:
        """Forget this asset's normal and learn it anew from the next window on, as after maintenance. Closes open alerts."""
        at_ns = self.windower.newest_ns
        bodies: list[Body] = [*self._streams.forget(at_ns or 0)]
        if self._alert is not None:
            bodies.append(msgspec.structs.replace(self._alert, closed_ns=max(at_ns or 0, self._alert.opened_ns)))
        self._alert = self._learned = self.p_value = None
        self._candidates, self._candidate_ends_ns = [], []
        self._kept.clear()
        self._judges.forget()
        self._recent.clear()
        self.since_ns = at_ns
        self.dirty = True
        return bodies

    def _decide(self, end_ns: int, score: SlotScore, top: list[tuple[str, float]], nonce: tuple[str, int]) -> list[Body]:
        """Open, sharpen or close this asset's alert by the deciding detector's hysteresis."""
        self.p_value = score.p_value
        p = score.p_value if score.p_value is not None else 1.0
        if score.alarm and self._alert is None:
            alert_id = stable_id(self.asset, self.asset, score.detector, end_ns, *nonce)
            self.dirty = True
            self._alert = Alert(
                alert_id=alert_id, asset=self.asset, profile=self.profile.name, detector=score.detector,
                severity=self._severity(p), opened_ns=end_ns, p_value=p, score=score.score, top=top,
            )  # fmt: skip
            return [self._alert, self._evidence(alert_id)]
        if self._alert is None:
            return []
        if p < self._alert.p_value and self.phase != "stopping":  # a stop makes no fault graver
            self._alert = msgspec.structs.replace(
                self._alert, p_value=p, score=score.score, top=top, severity=self._severity(p)
            )
        if score.alarm:
            return []
        closed = msgspec.structs.replace(self._alert, closed_ns=end_ns)
        self._alert = None
        self.dirty = True
        return [closed]

    def _severity(self, p: float) -> Severity:
        return "critical" if p <= _CRITICAL / self._judges.bound else "warning"

    def _evidence(self, alert_id: str) -> Evidence:
        """The last few windows before the alert, as aligned values; of very fast channels, the last part of them."""
        values = np.concatenate([matrix for _, matrix in self._recent])
        values = values[-max(1, _MAX_EVIDENCE_BYTES // (4 * values.shape[1])) :]
        rate_hz = self.profile.windowing.rate_hz
        return Evidence(
            alert_id=alert_id,
            asset=self.asset,
            start_ns=self._recent[-1][0] - round(len(values) / rate_hz * 1e9),
            rate_hz=rate_hz,
            channels=self.profile.channel_names,
            values=pack_floats(values),
        )


def _restated(fault: SensorFault, mark: ClockMark) -> SensorFault:
    return msgspec.structs.replace(fault, opened_ns=restated(fault.opened_ns, mark))
