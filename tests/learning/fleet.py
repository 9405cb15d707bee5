"""A fleet in virtual time against the hub's real state: devices check in, do what they are told, and send windows.

Only the models are pretended: a bundle's behaviour on a device is the share of windows in which it rings.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from sqlalchemy import Engine, insert

from hub.devices.checkin import Told, take_checkins
from hub.rollout.desired import load_desired
from hub.rollout.evidence import StageEvidence
from hub.rollout.service import RolloutService
from hub.state.schema import bundles
from hub.state.schema import devices as devices_table
from models.contract.checkin import AssetReport, BundleFailure, CheckIn, CheckInReply, SlotReport
from models.contract.clock import Stamp
from models.contract.items import BASELINE, Aggregate, SlotScore
from tests.learning.pumps import PUMP, T0_NS, device_row, record_of

S = 1_000_000_000


@dataclass
class Device:
    """`refuses`: bundle ids that fail its self-test. `score_us`: what scoring costs there. `stuck`: it swaps no slot."""

    device_id: str
    site: str = "site-0"
    hardware: str = "rpi"
    online: bool = True
    starts: int = 1
    score_us: float = 40.0
    rss_bytes: int = 60 * 2**20
    active: str | None = None
    shadow: str | None = None
    refuses: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)
    faulty: bool = False
    commissioning: bool = False
    seq: int = 0
    epoch: str = "e1"
    stuck: bool = False

    def take(self, reply: CheckInReply) -> None:
        """Swap slots as told; what fails its self-test is refused and the slot kept."""
        for slots in reply.slots if not self.stuck else ():
            wanted = {"active": slots.active, "shadow": slots.shadow}
            told = {bundle.bundle_id for bundle in wanted.values() if bundle}
            self.failed = {bundle_id: reason for bundle_id, reason in self.failed.items() if bundle_id in told}
            for slot, bundle in wanted.items():
                if bundle is not None and bundle.bundle_id in self.refuses:
                    self.failed[bundle.bundle_id] = "self-test"
                else:
                    setattr(self, slot, bundle.bundle_id if bundle else None)


class Fleet:
    """`rings`: bundle id -> share of windows in alarm and with a low p-value; the baseline and unknown ids never ring.
    `p_value`: of windows in which nothing rings."""

    def __init__(self, engine: Engine, devices: Iterable[Device], seed: int = 1) -> None:
        self.engine = engine
        self.devices = {device.device_id: device for device in devices}
        self.rings: dict[str, float] = {}
        self.p_value = 0.5
        self.now_ns = T0_NS
        self._rng = np.random.default_rng(seed)
        for device in self.devices.values():
            self.join(device)
        self.check_in()

    def join(self, device: Device) -> Device:
        """One that enrols."""
        self.devices[device.device_id] = device
        with self.engine.begin() as connection:
            row = device_row(device.device_id, device.site, device.hardware, last_seen_ns=0)
            connection.execute(insert(devices_table).values(row))
        return device

    @property
    def service(self) -> RolloutService:
        """A new one each time: what it knows is in the database, or it knows nothing."""
        return RolloutService(self.engine)

    def publish(self, bundle_id: str, version: int, rings: float = 0.0) -> str:
        """A bundle's row, without an archive behind it."""
        self.rings[bundle_id] = rings
        row = {
            "bundle_id": bundle_id,
            "profile": PUMP.name,
            "version": version,
            "spec_hash": PUMP.spec_hash,
            "sha256": f"{version:064x}",
            "size": 1000,
            "created_ns": self.now_ns,
            "signed_ns": self.now_ns,
            "manifest": {},
            "card": {},
        }
        with self.engine.begin() as connection:
            connection.execute(insert(bundles).values(row))
        return bundle_id

    def check_in(self) -> None:
        """Every device that is online: once to be told, and once more to tell how it went."""
        for device in self.devices.values():
            for _ in range(2 if device.online else 0):
                with self.engine.begin() as connection:
                    said = self._checkin(device)
                    told = Told(device.device_id, said, 0)
                    [reply] = take_checkins(connection, [told], load_desired, 5.0, self.now_ns)
                    assert isinstance(reply, CheckInReply)
                device.take(reply)

    def send_windows(self, n: int) -> None:
        """`n` windows of every device, scored by all that it holds, the one that decides first."""
        records = []
        for device in self.devices.values():
            for _ in range(n):
                device.seq += 1
                records.append(record_of(device.device_id, device.seq, self._aggregate(device)))
        with self.engine.begin() as connection:
            StageEvidence().apply(connection, records)

    def step(self, windows: int = 5, seconds: float = 10.0) -> None:
        """Time passes: check-ins, windows, and one look by the hub."""
        self.now_ns += round(seconds * S)
        self.check_in()
        self.send_windows(windows if windows else 0)
        self.service.tick(self.now_ns)

    def run(self, rollout_id: str, until: str, max_steps: int = 60, windows: int = 5) -> list[str]:
        """Step until the rollout's state is `until`; the stages it went through."""
        stages: list[str] = []
        for _ in range(max_steps):
            found = self.service.get(rollout_id)
            if not stages or stages[-1] != found["stage"]:
                stages.append(found["stage"])
            if found["state"] == until:
                return stages
            self.step(windows)
        raise AssertionError(f"not {until} after {max_steps} steps: {found}")

    def active(self) -> dict[str, str | None]:
        return {device.device_id: device.active for device in self.devices.values()}

    def _checkin(self, device: Device) -> CheckIn:
        held = [("active", device.active), ("shadow", device.shadow)]
        slots = [
            SlotReport(profile=PUMP.name, slot=slot, bundle_id=bundle_id, n_windows=20, score_us_median=device.score_us)  # type: ignore[arg-type]
            for slot, bundle_id in held
            if bundle_id
        ]
        asset = AssetReport(asset="pump-1", profile=PUMP.name, spec_hash=PUMP.spec_hash, state="normal")
        return CheckIn(
            root_version=1,
            at=Stamp(self.now_ns, self.now_ns, f"boot-{device.starts}", True),
            epoch=device.epoch,
            agent_version="0.1.0",
            starts=device.starts,
            uptime_s=10.0,
            rss_bytes=device.rss_bytes,
            peak_rss_bytes=1,
            backlog_items=0,
            backlog_bytes=0,
            assets=[asset],
            slots=slots,
            failures=[BundleFailure(bundle_id=bundle_id, reason=reason) for bundle_id, reason in device.failed.items()],
        )

    def _aggregate(self, device: Device) -> Aggregate:
        detectors = [name for name in (device.active, device.shadow) if name]
        ordered = [*detectors, BASELINE] if device.active else [BASELINE, *detectors]
        start_ns = self.now_ns + device.seq
        return Aggregate(
            asset="pump-1",
            profile=PUMP.name,
            spec_hash=PUMP.spec_hash,
            start_ns=start_ns,
            end_ns=start_ns + 10 * S,
            features=b"",
            n_readings=250,
            scores=[self._score(name) for name in ordered],
            faulty=["flow"] if device.faulty else [],
            commissioning=device.commissioning,
        )

    def _score(self, detector: str) -> SlotScore:
        ringing = bool(self._rng.random() < self.rings.get(detector, 0.0))
        return SlotScore(
            detector=detector, score=9.0 if ringing else 0.5, p_value=1e-6 if ringing else self.p_value, alarm=ringing
        )
