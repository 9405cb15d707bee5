"""What the page of one asset shows: its state, alerts and sensor faults, and its device."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, select

from hub.devices.clones import cloned_of, cloned_text
from hub.state.schema import commissionings, device_slots, devices
from hub.web.inbox import AlertRow, FaultRow, read_asset_alerts, read_faults
from hub.web.queries import Tile, read_tile
from models.contract.config import load_profile
from models.errors import ConfigError


@dataclass(frozen=True, slots=True)
class SlotView:
    """A slot of the asset's profile on its device."""

    slot: str
    bundle_id: str
    score_us_median: float | None


@dataclass(frozen=True, slots=True)
class AssetView:
    """One asset and its device. `title`: what people call such assets.
    `learned_from`: windows of the latest commissioning that the hub has, None = none yet."""

    tile: Tile
    title: str
    alerts: tuple[AlertRow, ...]
    faults: tuple[FaultRow, ...]
    slots: tuple[SlotView, ...]
    learned_from: int | None
    hardware: str
    agent_version: str
    sources: tuple[tuple[str, str], ...]
    rss_bytes: int | None
    survival_days: float | None
    flash_bytes_per_day: float | None
    flash_years: float | None
    standing: str  # why the device is kept out, or that it was cloned; empty = all is well


def read_asset(
    connection: Connection, heard_since_ns: int, device_id: str, asset: str, profiles_dir: Path | None = None
) -> AssetView | None:
    """None where the hub does not know the asset."""
    tile = read_tile(connection, heard_since_ns, device_id, asset)
    if tile is None:
        return None
    device = connection.execute(select(devices).where(devices.c.device_id == device_id)).one()
    checkin = device.checkin or {}
    flash = (checkin.get("survival") or {}).get("flash") or {}
    return AssetView(
        tile=tile,
        title=profile_title(tile.profile, profiles_dir),
        alerts=read_asset_alerts(connection, device_id, asset),
        faults=read_faults(connection, device_id, asset).shown,
        slots=_slots(connection, device_id, tile.profile),
        learned_from=_learned_from(connection, device_id, asset),
        hardware=device.hardware,
        agent_version=device.agent_version,
        sources=tuple(sorted((checkin.get("sources") or {}).items())),
        rss_bytes=checkin.get("rss_bytes"),
        survival_days=checkin.get("survival_days"),
        flash_bytes_per_day=flash.get("agent_bytes_per_day"),
        flash_years=flash.get("years"),
        standing=_standing(device),
    )


def _standing(device: Any) -> str:
    if device.state != "active":
        reason = f": {device.state_reason}" if device.state_reason else ""
        return f"This device is {device.state}{reason}. Nothing of it is taken in."
    cloned = cloned_of(device.writers)
    return cloned_text(device.device_id, cloned) if cloned else ""


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


def _learned_from(connection: Connection, device_id: str, asset: str) -> int | None:
    latest = select(commissionings.c.n_windows).where(commissionings.c.device_id == device_id, commissionings.c.asset == asset)
    return connection.execute(latest.order_by(commissionings.c.end_ns.desc()).limit(1)).scalar_one_or_none()
