"""The operators' JSON. All times are Unix nanoseconds (`_ns`); scripts and pages format them as they like."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class AssetView(BaseModel):
    """An asset as its device reported it at its last check-in. `state`: commissioning, normal, alarm or silent; or not_judged,
    which the hub infers where the device says normal and judges no window, as of a machine at rest;
    then `since_ns` is when the hub heard so first."""

    asset: str
    profile: str
    spec_hash: str
    state: str
    p_value: float | None
    since_ns: int | None


class SlotView(BaseModel):
    """A bundle that a device holds."""

    profile: str
    slot: str
    bundle_id: str
    n_windows: int
    score_us_median: float | None


class FailureView(BaseModel):
    """A bundle that a device refused."""

    bundle_id: str
    reason: str
    at_ns: int


class ClonedView(BaseModel):
    """Two that speak under one device's name. `boots`: of the two; `epoch`: in which both write."""

    since_ns: int
    last_ns: int
    epoch: str
    boots: tuple[str, str]


class DeviceView(BaseModel):
    """`online`: seen within the last three check-ins. `survival`: how long it lasts without this hub and what waits there, as
    it said at its last check-in; null before the first, or from an agent that does not tell. `state`: active, suspended or
    revoked, with the operator's reason."""

    device_id: str
    site: str
    hardware: str
    agent_version: str
    enrolled_ns: int
    last_seen_ns: int
    online: bool
    state: str
    state_reason: str
    cloned: ClonedView | None
    survival: dict[str, Any] | None
    assets: list[AssetView]
    slots: list[SlotView]


class DeviceDetail(DeviceView):
    """`checkin`, `health`: the latest that the device sent, as it sent them. `claim_id`: the claim token that let it in;
    `profiles`: what that allows, null = anything. `key_since_ns`: when its key was last changed, null = never."""

    state_ns: int | None
    claim_id: str | None
    profiles: list[str] | None
    key_since_ns: int | None

    failures: list[FailureView]
    checkin: dict[str, Any] | None
    health: dict[str, Any] | None


class LaneView(BaseModel):
    """One lane of one epoch. `cursor`: everything up to it is accounted for. `missing`: [first, last] of each gap."""

    epoch: str
    lane: str
    cursor: int
    highest: int
    received: int
    evicted: int
    merged: int
    redelivered: int
    rejected: int
    n_missing: int
    missing: list[tuple[int, int]]
    updated_ns: int


class DeviceLedger(BaseModel):
    """`restarts`: epochs beyond the first, each of a device that was wiped or restored."""

    device_id: str
    restarts: int
    lanes: list[LaneView]


class FleetLedger(BaseModel):
    """The account of the whole fleet.

    `items`: sequence numbers accounted for, received, evicted or merged. `lake_pending`: log records that the lake's writer
    has not read yet. `lake_duplicates`: rows in the lake beyond one per identity.
    """

    devices: int
    restarts: int
    items: int
    received: int
    missing: int
    evicted: int
    merged: int
    redelivered: int
    rejected: int
    lake_rows: int
    lake_duplicates: int
    lake_pending: int


class Summary(BaseModel):
    """The fleet at a glance."""

    hub_id: str
    now_ns: int
    devices: int
    devices_online: int
    assets: dict[str, int] = Field(description="by state")
    alerts_open: dict[str, int] = Field(description="by severity")
    sensor_faults_open: int
    rollouts_running: int
    bundles: int
    ingest_pending: dict[str, int] = Field(description="log records that each consumer has not read yet")
    failures: dict[str, str] = Field(description="what is failing (ingest, lake, projector), and why")


class AlertView(BaseModel):
    """An alert as it stands; open while `closed_ns` is null. `detail`: of one by a single reading, that reading and the nearest
    value that was ever seen. `opened_ns`, `closed_ns` are corrected by what the device told of its clock; `time_quality` (of
    `opened_ns`): synced, hub, corrected, bounded, unknown, or sensor."""

    device_id: str
    alert_id: str
    asset: str
    profile: str
    detector: str
    severity: str
    opened_ns: int
    closed_ns: int | None
    p_value: float
    score: float
    top: list[tuple[str, float]]
    detail: str
    received_ns: int
    said_opened_ns: int | None
    said_closed_ns: int | None
    time_quality: str
    time_error_ns: int | None


class SensorFaultView(BaseModel):
    """A sensor fault as it stands; open while `closed_ns` is null."""

    device_id: str
    fault_id: str
    source: str
    asset: str
    channel: str
    fault: str
    detail: str
    opened_ns: int
    closed_ns: int | None
    said_opened_ns: int | None
    said_closed_ns: int | None
    time_quality: str
    time_error_ns: int | None


class QuarantineView(BaseModel):
    """An item that was refused, and why; its body is kept, `n_bytes` long."""

    device_id: str
    epoch: str
    lane: str
    seq: int
    kind: str
    reason: str
    received_ns: int
    n_bytes: int


class BundleView(BaseModel):
    """A published bundle. `run_id`: of the training that made it; null for one that was published by hand."""

    model_config = ConfigDict(extra="allow")

    bundle_id: str
    profile: str
    version: int
    spec_hash: str
    sha256: str
    size: int
    created_ns: int
    run_id: str | None


class BundleDetail(BundleView):
    """With its manifest and its model card."""

    manifest: dict[str, Any]
    card: dict[str, Any]


class RolloutView(BaseModel):
    """A rollout as it stands. `incumbent_id`: null is the baseline detector. `since_ns`: in this stage since."""

    model_config = ConfigDict(extra="allow")

    rollout_id: str
    profile: str
    bundle_id: str
    incumbent_id: str | None
    state: str
    ended: bool
    stage: str
    stage_index: int
    n_stages: int
    since_ns: int
    created_ns: int
    ended_ns: int | None
    reason: str


class RolloutDetail(RolloutView):
    """With its plan, what its gates say now, and what was decided so far."""

    plan: dict[str, Any]
    gates: list[dict[str, Any]]
    events: list[dict[str, Any]]


class TrainingRunView(BaseModel):
    """A run of training: running, done with a bundle, or failed with an error."""

    run_id: str
    profile: str
    state: str
    started_ns: int
    ended_ns: int | None
    record: dict[str, Any]
    error: str | None
    bundle_id: str | None


class TrainingRequest(BaseModel):
    """Train a new bundle for a profile."""

    profile: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\-]{0,63}$")


class TrainingStarted(BaseModel):
    """The run goes on in a process of its own; it shows among the runs once it has begun."""

    profile: str
    pid: int


class RolloutRequest(BaseModel):
    """Bring a bundle to its profile's devices; what is left out takes the service's defaults."""

    bundle_id: str = Field(max_length=64)
    skip_shadow: bool = False
    canaries: int | None = Field(None, ge=1, le=1_000_000)
    min_windows: int | None = Field(None, ge=1, le=1_000_000_000)
    waves: int = Field(1, ge=1, le=1000)


class Published(BaseModel):
    """The bundle that was published."""

    bundle_id: str


class Readiness(BaseModel):
    """Whether what comes in is stored and passed on. `failures`: what does not (ingest, lake, projector), and why."""

    ready: bool
    failures: dict[str, str]


Steering = Literal["pause", "resume", "abort", "rollback"]
