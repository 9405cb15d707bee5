"""Light devices in virtual time: they keep the rules that real agents keep, whatever happens to them."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.uplink.attempts import Attempts
from firmware_sim.load.ask import Ask
from firmware_sim.load.content import Look, shape_of
from firmware_sim.load.device import LightDevice
from firmware_sim.load.draws import Draws
from firmware_sim.load.ideal import IdealHub
from firmware_sim.load.life import Setting
from firmware_sim.load.outbox import Boot, LightOutbox
from firmware_sim.load.pace import Pace
from firmware_sim.load.plan import FleetEvent, FleetPlan
from firmware_sim.load.play import exchanges, make_devices
from hub.ingest.admission import fault_of
from models.contract.checkin import CheckInReply, DesiredBundle, DesiredSlots
from models.contract.claim import ClaimToken
from models.contract.config import load_profile
from models.contract.envelope import read_sealed
from models.contract.items import BASELINE, Aggregate, Eviction, Item, decode_body
from models.errors import LinkError
from models.features.spec import FeatureSpec

T0_NS = 1_767_225_600_000_000_000
PUMP = shape_of("pump")
ARCHIVE = b"a bundle, as far as a light device looks into one"
QUIET: dict[str, Any] = {"alerts_per_day": 0, "sensor_faults_per_day": 0}


def fleet(plan: FleetPlan, seed: int = 1, speed: float = 1.0) -> tuple[list[LightDevice], IdealHub, Setting]:
    setting = Setting(plan, PUMP, seed, T0_NS)
    return make_devices(setting, speed, ClaimToken("c1", bytes(32), "")), IdealHub(keep=True), setting


def one(**plan: Any) -> tuple[LightDevice, IdealHub]:
    """A device that the hub has let in."""
    devices, hub, _ = fleet(FleetPlan(devices=1, **plan))
    (device,) = devices
    ask = device.enrol()
    device.answered(0.0, ask, 200, hub.answer(ask, T0_NS).data)
    return device, hub


def play(device: LightDevice, hub: IdealHub, until_s: float) -> None:
    """Let the two talk until then, all going well; at the end everything is in."""
    while (now_s := max(0.0, device.next_s)) <= until_s:
        exchange(device, hub, now_s)
    device.sync_now(until_s)
    while device.next_s <= until_s:
        exchange(device, hub, until_s)


def exchange(device: LightDevice, hub: IdealHub, now_s: float) -> None:
    ask = device.turn(now_s)
    if ask is None:
        return
    if ask.how in ("unreachable", "half"):
        device.failed(now_s, ask)
        return
    answer = hub.answer(ask, T0_NS)
    device.answered(now_s, ask, answer.status, answer.data)


def next_ingest(device: LightDevice) -> tuple[float, Ask]:
    """When the device wants to send items next, and what; it does nothing else before."""
    while True:
        now_s = max(0.0, device.next_s)
        ask = device.turn(now_s)
        if ask is not None and ask.kind == "ingest":
            return now_s, ask
        if ask is not None:
            device.failed(now_s, ask)


def holes(hub: IdealHub) -> list[object]:
    return [(key, account.cursor, account.ahead) for key, account in hub.lanes.items() if account.ahead]


EVERYTHING = (
    FleetEvent(kind="hub_unreachable", start_s=600, end_s=900, share=0.5),
    FleetEvent(kind="reboot", start_s=1000, share=0.3),
    FleetEvent(kind="crash", start_s=1100, share=0.3),
    FleetEvent(kind="wipe", start_s=1200, share=0.2),
    FleetEvent(kind="power_cut", start_s=1300, end_s=1500, share=0.3),
    FleetEvent(kind="full_disk", start_s=1700, end_s=2300, share=0.3),
    *(FleetEvent(kind=kind, start_s=0, severity=0.15) for kind in ("late", "damaged", "duplicated", "half_open")),
)


# --- what is the same for the same seed -----------------------------------------------------------------------------


def test_same_seed_same_envelopes_and_another_seed_others() -> None:
    plan = FleetPlan(devices=4, assets=2, sync_s=60, backlog_s=900, alerts_per_day=40, events=EVERYTHING)
    said = []
    for seed in (1, 1, 2):
        devices, hub, setting = fleet(plan, seed)
        said.append([line["digest"] for line in exchanges(devices, hub, setting, 1.0, 1800) if "digest" in line])
    assert said[0] == said[1]
    assert not set(said[0]) & set(said[2])


def test_a_profile_s_vector_is_as_long_as_a_real_device_computes_it() -> None:
    for name in ("pump", "motor", "fan", "compressor", "host"):
        spec = FeatureSpec(load_profile(name))
        assert (shape_of(name).n_features, shape_of(name).spec_hash) == (spec.n_features, spec.hash)


@given(st.integers(0, 2**40), st.floats(0.2, 10_000), st.lists(st.sampled_from([None, 0.0, 3.0, 90.0]), max_size=8))
def test_turns_are_paced_as_a_real_agent_s(seed: int, every_s: float, failures: list[float | None]) -> None:
    real, light, draws = Attempts.paced(every_s), Pace(every_s), Draws(seed)
    now_s, drawn = 100.0, draws.one()
    real.first(now_s, drawn)
    light.started(now_s, drawn)
    for asked_s in failures:
        assert light.next_s == pytest.approx(real.next_s)
        now_s, drawn = max(now_s, light.next_s), draws.one()
        real.failed(LinkError("no", asked_s), now_s, drawn)
        light.failed(now_s, drawn, asked_s)
    assert light.next_s == pytest.approx(real.next_s)
    real.succeeded(now_s, drawn, 5.0)
    light.succeeded(now_s, drawn, 5.0)
    assert light.next_s == pytest.approx(real.next_s)


# --- nothing is missing ---------------------------------------------------------------------------------------------


def test_everything_at_once_and_no_lane_has_a_hole_nor_a_number_two_items() -> None:
    plan = FleetPlan(devices=10, sync_s=60, backlog_s=900, alerts_per_day=40, sensor_faults_per_day=40, events=EVERYTHING)
    devices, hub, setting = fleet(plan)
    said = Counter(line["how"] for line in exchanges(devices, hub, setting, 1.0, 3000))
    assert {"whole", "damaged", "half", "repeated", "unreachable"} == set(said)
    assert holes(hub) == []
    assert [device.device_id for device in devices if device.life.outbox.epoch not in {key[1] for key in hub.lanes}] == []
    kinds = Counter[str]()
    for account in hub.lanes.values():
        kinds.update(account.kinds)
    assert {"aggregate", "health", "alert", "evidence", "sensor_fault", "commissioning", "clock"} <= set(kinds)


@settings(deadline=None, max_examples=15)
@given(st.lists(st.sampled_from(["taken", "lost", "unanswered", "busy", "refused"]), max_size=25), st.integers(0, 1000))
def test_whatever_the_line_does_each_number_comes_once_and_none_is_left_out(fates: Sequence[str], seed: int) -> None:
    plan = FleetPlan(devices=1, sync_s=30, backlog_s=7_000, alerts_per_day=300, sensor_faults_per_day=300)
    devices, hub, _ = fleet(plan, seed)
    (device,) = devices
    hub.answer(device.enrol(), T0_NS)
    waiting, now_s = list(fates), 0.0
    while waiting:
        now_s = max(now_s, device.next_s)
        ask = device.turn(now_s)
        if ask is None:
            continue
        fate = waiting.pop()
        if fate == "busy":
            device.answered(now_s, ask, 429, b"{}", 2.0)
        elif fate == "refused":
            device.answered(now_s, ask, 503, b"")
        elif fate == "lost":
            device.failed(now_s, ask)
        else:
            answer = hub.answer(ask, T0_NS)
            if fate == "unanswered":
                device.failed(now_s, ask)
            else:
                assert not device.answered(now_s, ask, answer.status, answer.data).n_rejected
    play(device, hub, now_s + 100)
    outbox = device.life.outbox
    for (_, epoch, lane), account in hub.lanes.items():
        assert (epoch, account.cursor, account.ahead) == (outbox.epoch, outbox.cursors[lane], [])  # type: ignore[index]
    assert device.waiting() == 0


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 40), st.sampled_from(["look", "pause", "lose"])), max_size=8), st.data())
def test_the_same_number_is_the_same_item_however_batches_are_cut(steps: list[tuple[int, str]], data: st.DataObject) -> None:
    first = T0_NS // PUMP.hop_ns
    boot, window = Boot("b", T0_NS - 10**9, 1), first
    whole = LightOutbox(PUMP, "gw", 7, 3, 5, 10**6, "e1")
    whole.begin(window, boot, Look())
    for n, what in steps:
        window += n
        if what == "lose":
            whole.pause(window)
            whole.lose(n + 1, 0, 1, boot.stamp(T0_NS))
        elif what == "pause":
            whole.pause(window)
            window += 3
        whole.begin(window, boot, Look(alarm=n % 3))
    now_ns = (window + 20) * PUMP.hop_ns
    other = whole.copy()
    items = whole.pending(now_ns, 10**6)
    assert [item.seq for item in items] == list(range(1, len(items) + 1))
    assert [fault_of(item) for item in items if fault_of(item)] == []
    again: list[Item] = []
    while other.waiting(now_ns)["aggregates"]:
        batch = other.pending(now_ns, data.draw(st.integers(1, 200)))
        again += batch
        other.acknowledge({"aggregates": batch[-1].seq})
    assert again == items


def test_what_the_outbox_cannot_hold_is_told_by_an_eviction() -> None:
    outage = FleetEvent(kind="hub_unreachable", start_s=0, end_s=20_000)
    device, hub = one(sync_s=60, outbox_windows=500, events=(outage,), **QUIET)
    play(device, hub, 21_000)
    assert holes(hub) == []
    account = hub.lanes[device.device_id, device.life.outbox.epoch, "aggregates"]
    assert account.kinds["eviction"] == 1
    produced = 21_000 // 10 + 21_000 // 300
    assert account.cursor == pytest.approx(produced, abs=2)
    assert produced - sum(account.kinds.values()) > 1400


def test_what_a_full_disk_did_not_take_is_counted_and_told() -> None:
    full = FleetEvent(kind="full_disk", start_s=1000, end_s=31_000)
    device, hub = one(sync_s=60, checkin_s=60, events=(full,), **QUIET)
    play(device, hub, 20_000)
    checkin = hub.checkins[device.device_id]
    assert checkin.storage.startswith("[Errno 28]")
    assert checkin.unstored_items == pytest.approx(1900, abs=10)
    play(device, hub, 32_000)
    assert holes(hub) == []
    assert hub.checkins[device.device_id].storage == ""
    told = [item for item in sent_items(hub) if item.kind == "eviction"]
    (eviction,) = (decode_body(item.kind, item.body) for item in told)
    assert isinstance(eviction, Eviction)
    assert (eviction.reason, eviction.n_items) == ("disk full", 3000 - 2000)


def sent_items(hub: IdealHub) -> list[Item]:
    return [item for batch in hub.batches for item in batch.items]


# --- the hub's wishes -----------------------------------------------------------------------------------------------


def test_a_pause_that_the_hub_asks_for_is_kept_also_by_what_is_urgent() -> None:
    device, _ = one(sync_s=60, checkin_s=10_000, backlog_s=600, alerts_per_day=3000, sensor_faults_per_day=0)
    asked_s, ask = next_ingest(device)
    outcome = device.answered(asked_s, ask, 429, b'{"type": "urn:tocsin:busy", "detail": "too much"}', 45.0)
    assert (outcome.refused, outcome.detail) == ("429 busy", "too much")
    again_s, _ = next_ingest(device)
    assert asked_s + 45.0 <= again_s <= asked_s + 45.0 + 22.5


def test_the_hub_s_pace_slows_check_ins_down() -> None:
    device, _ = one(checkin_s=10, sync_s=10_000, **QUIET)
    while (ask := device.turn(device.next_s)) is None or ask.kind != "checkin":
        pass
    reply = CheckInReply(hub_time_ns=T0_NS, next_checkin_s=200.0)
    device.answered(100.0, ask, 200, msgspec.msgpack.encode(reply))
    assert 250 <= device.next_s <= 350


def test_each_damaged_envelope_is_refused_and_sent_again_whole() -> None:
    device, hub = one(sync_s=20, events=(FleetEvent(kind="damaged", start_s=0, severity=0.5),), **QUIET)
    play(device, hub, 4000)
    assert holes(hub) == []


def test_copies_of_a_card_write_different_items_under_one_number() -> None:
    plan = FleetPlan(devices=1, sync_s=20, checkin_s=20, events=(FleetEvent(kind="clone", start_s=300),), **QUIET)
    devices, hub, setting = fleet(plan)
    lines = list(exchanges(devices, hub, setting, 1.0, 900))
    boots = {line["boot"] for line in lines}
    assert len(boots) == 2
    assert {line["epoch"] for line in lines if "epoch" in line} == {devices[0].life.outbox.epoch}
    starts = [batch.items[0].at.boot_id for batch in hub.batches]
    assert set(starts) == boots


# --- bundles --------------------------------------------------------------------------------------------------------


def bundle(name: str) -> DesiredBundle:
    return DesiredBundle(name, hashlib.sha256(ARCHIVE).hexdigest(), len(ARCHIVE))


def desire(hub: IdealHub, active: str | None = None, shadow: str | None = None) -> None:
    wanted = {name: bundle(name) for name in (active, shadow) if name}
    hub.slots = [DesiredSlots(profile="pump", active=wanted.get(active or ""), shadow=wanted.get(shadow or ""))]
    hub.archives |= {f"/v1/tuf/targets/pump/{b.sha256}.{b.bundle_id}.bundle": ARCHIVE for b in wanted.values()}


def slots_of(device: LightDevice, hub: IdealHub) -> dict[str, str]:
    return {report.slot: report.bundle_id for report in hub.checkins[device.device_id].slots}


def newest_detectors(hub: IdealHub) -> list[str]:
    bodies = [decode_body(item.kind, item.body) for item in hub.batches[-1].items if item.kind == "aggregate"]
    assert isinstance(bodies[-1], Aggregate)
    return [score.detector for score in bodies[-1].scores]


def test_a_desired_bundle_is_scored_in_shadow_then_decides_and_what_was_there_stays_as_previous() -> None:
    device, hub = one(sync_s=20, checkin_s=20, **QUIET)
    desire(hub, shadow="pump-1")
    play(device, hub, 200)
    assert slots_of(device, hub) == {"shadow": "pump-1"}
    assert newest_detectors(hub) == [BASELINE, "pump-1"]
    desire(hub, active="pump-1", shadow="pump-2")
    play(device, hub, 400)
    assert newest_detectors(hub) == ["pump-1", BASELINE, "pump-2"]
    desire(hub, active="pump-2")
    play(device, hub, 600)
    assert slots_of(device, hub) == {"active": "pump-2", "previous": "pump-1"}
    desire(hub)
    play(device, hub, 800)
    assert slots_of(device, hub) == {"previous": "pump-2"}
    assert newest_detectors(hub) == [BASELINE]


def test_a_refused_bundle_is_told_and_what_serves_stays() -> None:
    refusal = FleetEvent(kind="refused_bundle", start_s=0, bundle="pump-2*")
    device, hub = one(sync_s=20, checkin_s=20, events=(refusal,), **QUIET)
    desire(hub, active="pump-1")
    play(device, hub, 200)
    desire(hub, active="pump-2-x")
    play(device, hub, 400)
    checkin = hub.checkins[device.device_id]
    assert slots_of(device, hub) == {"active": "pump-1"}
    assert [(failure.bundle_id, failure.reason[:9]) for failure in checkin.failures] == [("pump-2-x", "self-test")]


def test_another_archive_than_the_one_asked_for_is_refused() -> None:
    device, hub = one(sync_s=20, checkin_s=20, **QUIET)
    desire(hub, active="pump-1")
    hub.archives = dict.fromkeys(hub.archives, ARCHIVE[:-1] + b"!")
    play(device, hub, 200)
    assert slots_of(device, hub) == {}
    assert hub.checkins[device.device_id].failures[0].reason.startswith("corrupt")


def test_a_bad_bundle_rings_in_the_share_that_was_asked_for_and_the_incumbent_does_not() -> None:
    bad = FleetEvent(kind="bad_bundle", start_s=0, severity=0.4, bundle="*-bad")
    device, hub = one(sync_s=20, checkin_s=20, events=(bad,), **QUIET)
    desire(hub, active="pump-1", shadow="pump-2-bad")
    play(device, hub, 15_000)
    bodies = [decode_body(item.kind, item.body) for item in sent_items(hub) if item.kind == "aggregate"]
    scores = [{s.detector: s for s in body.scores} for body in bodies if isinstance(body, Aggregate) and len(body.scores) == 3]
    assert len(scores) > 1400
    assert sum(s["pump-2-bad"].alarm for s in scores) / len(scores) == pytest.approx(0.4, abs=0.08)
    assert sum(s["pump-1"].alarm for s in scores) == 0
    low = sum((s["pump-1"].p_value or 1) <= 0.01 for s in scores) / len(scores)
    assert low == pytest.approx(0.01, abs=0.008)


def test_a_batch_is_within_what_an_envelope_may_hold() -> None:
    device, _ = one(profile="pump", assets=64, backlog_s=86_400, sync_s=0.1, checkin_s=10_000, **QUIET)
    _, ask = next_ingest(device)
    assert ask.n_items == 500
    assert ask.body is not None
    assert read_sealed(ask.body, "ingest").device_id == device.device_id
