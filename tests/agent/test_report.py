"""What the device says of itself, to the hub and to whoever asks: put together from its real parts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from agent.link_faults import LinkMonitor
from agent.silence import SilenceMonitor, silent_after_ns
from agent.sources.source import Burst, SourceState
from agent.status.flash import FlashMeter
from agent.status.health import Vitals
from agent.status.recent import Recent
from agent.status.report import Report
from agent.status.status_text import status_lines
from agent.status.survival import Survey
from agent.storage.holding import Holding
from agent.uplink.slots import Held, ProfileSlots, SlotStore
from models.contract.checkin import CheckIn, Unsent
from models.contract.clock import Stamp
from models.contract.items import decode_body, encode_body
from tests.agent.machine import Machine
from tests.agent.outboxes import open_outbox, shut
from tests.builders import T0_NS, aggregate, stamp


@dataclass
class StillSource:
    name: str = "line"
    state: SourceState = SourceState("down", "unplugged", T0_NS, {"readings": 7})  # noqa: RUF009  # frozen

    def start(self, deliver: object) -> None: ...

    def stop(self) -> None: ...


@pytest.fixture
def machine() -> Machine:
    return Machine().learned()


@pytest.fixture
def report(machine: Machine, outbox_path: Path, tmp_path: Path) -> Iterator[Report]:
    outbox = open_outbox(outbox_path)
    report = Report(
        version="0.1.0", device_id="dev-1", pipeline=machine.pipeline, outbox=outbox, slots=SlotStore(tmp_path),
        links=LinkMonitor(), silence=SilenceMonitor(), vitals=Vitals(), sources=[StillSource()],
        holding=Holding(outbox),
        recent=Recent(), survey=Survey(outbox, FlashMeter(tmp_path), tmp_path, None),
    )  # fmt: skip
    yield report
    shut(outbox)


def soon() -> Stamp:
    """A second after the last reading was heard, which `Machine` says was at 0; the wall clock is far from that."""
    return stamp(1.0)


def test_a_check_in_travels_as_it_is(report: Report) -> None:
    report.outbox.append([aggregate()], stamp())
    report.slots.put("rig", ProfileSlots(active=Held("rig-v1", "a" * 64, 56.4321)))
    report.slots.refuse("rig-v2", "self-test: no")
    report.survey.note(0.0)
    said = report.checkin(soon())
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(said), type=CheckIn) == said
    assert [(asset.asset, asset.state) for asset in said.assets] == [("rig-1", "normal")]
    assert [(slot.slot, slot.bundle_id, slot.score_us_median) for slot in said.slots] == [("active", "rig-v1", 56.4)]
    assert [failure.bundle_id for failure in said.failures] == ["rig-v2"]
    assert (said.backlog_items, said.starts, said.sources) == (1, 1, {"line": "down unplugged"})
    assert said.survival is not None
    assert said.survival.lanes["aggregates"].items == 1
    assert said.survival.oldest == Unsent(kind="aggregate", lane="aggregates", age_s=1.0)


def test_an_asset_is_silent_once_nothing_has_come_for_a_while_by_the_clock_that_does_not_jump(
    report: Report, machine: Machine
) -> None:
    limit_ns = silent_after_ns(machine.watch)
    for mono_ns, state in ((limit_ns, "normal"), (limit_ns + 1, "silent")):
        at = Stamp(wall_ns=T0_NS + 10**18, mono_ns=mono_ns, boot_id="boot", synced=True)
        assert report.checkin(at).assets[0].state == state
        assert report.status(at, None)["assets"]["rig-1"]["state"] == state


def test_a_status_is_json_and_reads_well(report: Report) -> None:
    report.links.heard(Burst(source="line", frame_errors=3, last_error="wrong CRC"), stamp())
    status = json.loads(json.dumps(report.status(soon(), None)))
    assert status["frame_errors"] == 3
    assert status["faults"] == [{"where": "line", "fault": "link", "since_ns": T0_NS, "detail": "wrong CRC"}]
    text = "\n".join(status_lines(status))
    assert "  ● rig-1 (rig): normal" in text
    assert "  ! line: link for 1 s wrong CRC" in text
    assert "  source line: down unplugged, 7 readings" in text


def test_a_status_tells_what_has_happened_of_late(report: Report) -> None:
    start_s = stamp(0.0).mono_ns / 1e9
    report.recent.note(start_s, 1.0, {"line": 7})
    report.recent.note(start_s + 2.0, 1.5, {"line": 27})
    score = msgspec.structs.replace(aggregate().scores[0], p_value=0.01234)
    window = msgspec.structs.replace(aggregate(), asset="rig-1", top=["flow"], scores=[score])
    report.recent.hear(start_s + 2.0, [window])
    status = json.loads(json.dumps(report.status(stamp(5.0), None)))
    line, rig = status["sources"]["line"], status["assets"]["rig-1"]
    assert (line["readings_per_s"], line["reading_age_s"], line["since_ns"], line["readings"]) == (10.0, 3.0, T0_NS, 7)
    assert (rig["window_age_s"], rig["top"], rig["p_values"]) == (3.0, ["flow"], [0.012])
    assert status["cpu_share"] == 0.25
    assert status["cpu_s"] > 0


def test_health_is_an_item_like_any(report: Report) -> None:
    health = report.health(sent_bytes=5)
    assert decode_body("health", encode_body(health)) == health
    assert health.rss_bytes > 10_000_000
    assert health.peak_rss_bytes >= health.rss_bytes * 0.5
    assert health.readings == report.pipeline.counters.readings > 0
