"""How the device stands: for the hub (check-in, health) and for whoever types `tocsin agent status`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

import msgspec

from agent.asset import AssetWatch
from agent.link_faults import LinkMonitor
from agent.pipeline import Pipeline
from agent.silence import SilenceMonitor, is_silent
from agent.sources.source import Source
from agent.status.health import Vitals
from agent.status.recent import Recent
from agent.status.survival import Survey
from agent.storage.holding import Holding
from agent.storage.outbox import Outbox
from agent.uplink.slots import SlotStore
from agent.uplink.uplink import Uplink
from models.contract.checkin import AssetReport, CheckIn, SlotName, SlotReport
from models.contract.clock import NS_PER_S, Stamp
from models.contract.items import Health, SensorFault


@dataclass(frozen=True, slots=True)
class Report:
    """Reads the parts; changes nothing. Safe from any thread: what it reads are single values."""

    version: str
    device_id: str
    pipeline: Pipeline
    outbox: Outbox
    slots: SlotStore
    links: LinkMonitor
    silence: SilenceMonitor
    vitals: Vitals
    sources: Sequence[Source]
    survey: Survey
    holding: Holding
    recent: Recent

    def checkin(self, at: Stamp) -> CheckIn:
        """See `models.contract.checkin.CheckIn`."""
        survival = self.survey.report(at)
        return CheckIn(
            at=at,
            epoch=self.outbox.epoch,
            agent_version=self.version,
            starts=self.outbox.starts,
            uptime_s=round(self.vitals.uptime_s, 1),
            rss_bytes=self.vitals.rss_bytes,
            peak_rss_bytes=self.vitals.peak_rss_bytes,
            backlog_items=self.outbox.backlog_items,
            backlog_bytes=self.outbox.backlog_bytes,
            assets=[_asset_report(watch, at.mono_ns) for watch in self.pipeline.assets.values()],
            slots=self._slot_reports(),
            failures=self.slots.failures,
            sources=self._source_lines(),
            survival_days=survival.days,
            survival=survival,
            storage=self.holding.trouble[:500],
            unstored_items=self.holding.held_items + self.holding.lost_items,
        )

    def health(self, sent_bytes: int) -> Health:
        """See `models.contract.items.Health`."""
        return Health(
            uptime_s=round(self.vitals.uptime_s, 1),
            rss_bytes=self.vitals.rss_bytes,
            peak_rss_bytes=self.vitals.peak_rss_bytes,
            backlog_items=self.outbox.backlog_items,
            backlog_bytes=self.outbox.backlog_bytes,
            readings=self.pipeline.counters.readings,
            windows=self.pipeline.counters.windows,
            raw_bytes=self.vitals.raw_bytes,
            sent_bytes=sent_bytes,
            frame_errors=self.links.frame_errors,
            sources=self._source_lines(),
        )

    def status(self, at: Stamp, uplink: Uplink | None) -> dict[str, Any]:
        """Everything that a person at the device may want to know, as JSON-able values."""
        counters = self.pipeline.counters
        return {
            "device": self.device_id,
            "version": self.version,
            "now_ns": at.wall_ns,
            "clock_synced": at.synced,
            "uptime_s": round(self.vitals.uptime_s, 1),
            "starts": self.outbox.starts,
            "rss_bytes": self.vitals.rss_bytes,
            "peak_rss_bytes": self.vitals.peak_rss_bytes,
            "cpu_s": round(self.vitals.cpu_s, 2),
            "cpu_share": _rounded(self.recent.cpu_share(), 4),
            "readings": counters.readings,
            "windows": counters.windows,
            "unknown_readings": counters.unknown,
            "raw_bytes": self.vitals.raw_bytes,
            "frame_errors": self.links.frame_errors,
            "backlog_items": self.outbox.backlog_items,
            "backlog_bytes": self.outbox.backlog_bytes,
            "survival": msgspec.to_builtins(self.survey.report(at)),
            "disk_bytes": self.outbox.database.file_bytes,
            "storage": self.holding.trouble,
            "held_items": self.holding.held_items,
            "lost_items": self.holding.lost_items,
            "lost_states": self.outbox.lost_states,
            "epoch": self.outbox.epoch,
            "sources": {source.name: self._source_status(source, at.mono_ns) for source in self.sources},
            "assets": {watch.asset: self._asset_status(watch, at.mono_ns) for watch in self.pipeline.assets.values()},
            "faults": [_fault_line(fault) for fault in self._open_faults()],
            "slots": {p: {h: getattr(s, h) and getattr(s, h).bundle_id for h in get_args(SlotName)}
                      for p, s in self.slots.profiles.items()},
            "refused_bundles": {failure.bundle_id: failure.reason for failure in self.slots.failures},
            "hub": _hub_status(uplink),
        }  # fmt: skip

    def _source_status(self, source: Source, mono_ns: int) -> dict[str, Any]:
        state, flow = source.state, self.recent.flow(source.name, mono_ns / NS_PER_S)
        return {
            "link": state.link,
            "detail": state.detail,
            "since_ns": state.since_ns or None,
            "readings_per_s": _rounded(flow.per_s, 2),
            "reading_age_s": _rounded(flow.age_s, 1),
            **state.counters,
        }

    def _asset_status(self, watch: AssetWatch, mono_ns: int) -> dict[str, Any]:
        learned, needed = watch.commissioned
        alerts = [{"id": alert.alert_id, "severity": alert.severity, "top": alert.top, "since_ns": alert.opened_ns,
                   "detail": alert.detail} for alert in watch.alerts]  # fmt: skip
        windows = self.recent.windows(watch.asset, mono_ns / NS_PER_S)
        rest = {"rest": "at rest", "starting": "starting"}.get(watch.phase, "")
        state: str = "silent" if is_silent(watch, mono_ns) else watch.state
        state = rest if rest and state == "normal" else state
        return {
            "profile": watch.profile.name,
            "state": state,
            "rest": rest,
            "commissioned": f"{learned}/{needed}",
            "learns": "windows" if watch.profile.learns_windows else "readings",
            "streaming": {channel: f"{learned}/{needed}" for channel, (learned, needed) in watch.streams.items()},
            "p_value": watch.p_value,
            "p_values": windows.p_values,
            "top": windows.top,
            "drifted": watch.drifted,
            "since_ns": watch.rest_since_ns if state == rest else watch.since_ns,
            "alert": alerts[0] if alerts else None,
            "alerts": alerts,
            "newest_reading_ns": watch.windower.newest_ns,
            "window_age_s": _rounded(windows.age_s, 1),
        }  # fmt: skip

    def _open_faults(self) -> list[SensorFault]:
        return [
            *self.links.open,
            *self.silence.open,
            *(fault for watch in self.pipeline.assets.values() for fault in watch.open_faults),
        ]

    def _source_lines(self) -> dict[str, str]:
        return {source.name: f"{source.state.link} {source.state.detail}".strip() for source in self.sources}

    def _slot_reports(self) -> list[SlotReport]:
        names: tuple[SlotName, ...] = get_args(SlotName)
        return [
            SlotReport(
                profile=profile,
                slot=name,
                bundle_id=held.bundle_id,
                n_windows=self.pipeline.counters.scored[held.bundle_id],
                score_us_median=round(held.score_us, 1),
            )
            for profile, slots in self.slots.profiles.items()
            for name in names
            if (held := getattr(slots, name)) is not None
        ]


def _asset_report(watch: AssetWatch, mono_ns: int) -> AssetReport:
    return AssetReport(
        asset=watch.asset,
        profile=watch.profile.name,
        spec_hash=watch.spec.hash,
        state="silent" if is_silent(watch, mono_ns) else watch.state,
        p_value=watch.p_value,
        since_ns=watch.since_ns,
    )


def _fault_line(fault: SensorFault) -> dict[str, Any]:
    return {"where": ".".join(filter(None, (fault.asset, fault.channel))) or fault.source, "fault": fault.fault,
            "since_ns": fault.opened_ns, "detail": fault.detail}  # fmt: skip


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


def _hub_status(uplink: Uplink | None) -> dict[str, Any] | None:
    if uplink is None:
        return None
    counters, checked_in_s = uplink.sync.counters, uplink.checkin_attempts.last_ok_s
    return {
        "enrolled": uplink.identity.enrolment is not None,
        "ca_pinned": uplink.identity.ca_file is not None,
        "key": uplink.identity.public_key.hex(),
        "rotating": uplink.identity.rotating,
        "last_sync_ns": counters.last_ok_ns or None,
        "checkin_age_s": None if checked_in_s is None else round(time.monotonic() - checked_in_s, 1),
        "sent_items": counters.sent_items,
        "sent_bytes": counters.sent_bytes,
        "rejected": counters.rejected,
        "set_aside": uplink.sync.aside.count(),
        "reasons": counters.reasons,
        "sync_error": uplink.sync_attempts.last_error,
        "checkin_error": uplink.checkin_attempts.last_error,
        "update_error": uplink.update_attempts.last_error,
    }
