"""What the page of one asset shows: its state, alerts and sensor faults, and its device."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, select

from hub.rollout.machine import OPEN
from hub.state.schema import commissionings, device_slots, devices, rollouts
from hub.web.alert_rows import FaultRow, read_faults
from hub.web.asset.alerts import AssetAlert, read_asset_alerts
from hub.web.queries import Tile, read_tile
from hub.web.standing import standing_of
from models.contract.config import load_profile
from models.errors import ConfigError


@dataclass(frozen=True, slots=True)
class SlotView:
    """A slot of the asset's profile on its device."""

    slot: str
    bundle_id: str
    score_us_median: float | None


@dataclass(frozen=True, slots=True)
class Learned:
    """The latest commissioning that the hub has."""

    n_windows: int
    start_ns: int
    end_ns: int


@dataclass(frozen=True, slots=True)
class AssetView:
    """One asset and its device. `title`: what people call such assets. `rollout_id`: one of its profile that is under way, "" =
    none. `standing`: why the device is kept out, or that it was cloned; "" = all is well."""

    tile: Tile
    title: str
    alerts: tuple[AssetAlert, ...]
    faults: tuple[FaultRow, ...]
    slots: tuple[SlotView, ...]
    learned: Learned | None
    rollout_id: str
    hardware: str
    agent_version: str
    sources: tuple[tuple[str, str], ...]
    rss_bytes: int | None
    survival_days: float | None
    flash_bytes_per_day: float | None
    flash_years: float | None
    standing: str


def read_asset(
    connection: Connection, heard_since_ns: int, device_id: str, asset: str, profiles_dir: Path | None = None
) -> AssetView | None:
    """None where the hub does not know the asset."""
    tile = read_tile(connection, heard_since_ns, device_id, asset)
    if tile is None:
        return None
    device = connection.execute(select(devices).where(devices.c.device_id == device_id)).one()
    row = read_commissioning(connection, device_id, asset)
    checkin = device.checkin or {}
    flash = (checkin.get("survival") or {}).get("flash") or {}
    return AssetView(
        tile=tile,
        title=profile_title(tile.profile, profiles_dir),
        alerts=read_asset_alerts(connection, device_id, asset),
        faults=read_faults(connection, device_id, asset).shown,
        slots=_slots(connection, device_id, tile.profile),
        learned=Learned(row.n_windows, row.start_ns, row.end_ns) if row else None,
        rollout_id=_open_rollout(connection, tile.profile),
        hardware=device.hardware,
        agent_version=device.agent_version,
        sources=tuple(sorted((checkin.get("sources") or {}).items())),
        rss_bytes=checkin.get("rss_bytes"),
        survival_days=checkin.get("survival_days"),
        flash_bytes_per_day=flash.get("agent_bytes_per_day"),
        flash_years=flash.get("years"),
        standing=standing_of(device),
    )


def profile_title(profile: str, profiles_dir: Path | None) -> str:
    """What people call this kind of asset; its bare name where only the devices have the profile."""
    try:
        return load_profile(profile, profiles_dir).title or profile
    except ConfigError:
        return profile


def _slots(connection: Connection, device_id: str, profile: str) -> tuple[SlotView, ...]:
    chosen = select(device_slots.c.slot, device_slots.c.bundle_id, device_slots.c.score_us_median)
    rows = connection.execute(
        chosen.where(device_slots.c.device_id == device_id, device_slots.c.profile == profile).order_by(device_slots.c.slot)
    )
    return tuple(SlotView(*row) for row in rows)


def read_commissioning(connection: Connection, device_id: str, asset: str) -> Row[Any] | None:
    """The latest of the asset, under whatever feature spec; None = the hub has none."""
    wanted = (commissionings.c.device_id == device_id) & (commissionings.c.asset == asset)
    return connection.execute(select(commissionings).where(wanted).order_by(commissionings.c.end_ns.desc()).limit(1)).first()


def _open_rollout(connection: Connection, profile: str) -> str:
    here = (rollouts.c.profile == profile) & rollouts.c.state.in_(OPEN)
    newest = select(rollouts.c.rollout_id).where(here).order_by(rollouts.c.created_ns.desc()).limit(1)
    return connection.execute(newest).scalar() or ""
