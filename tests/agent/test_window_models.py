"""Models over whole windows on the device: calibrated on its own, told by channel, kept over a restart, refused by name."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from agent.asset import SavedState
from agent.judges import Serving, serving_of
from agent.sampling import is_sampled
from agent.uplink.slots import SlotStore
from agent.uplink.update import Updater
from hub.ingest.admission import fault_of
from models.bundle.archive import read_bundle
from models.bundle.selftest import Sizes
from models.contract.checkin import DesiredSlots
from models.contract.items import Aggregate, Alert, Body, Evidence, pack_floats, unpack_floats
from models.contract.profile import Profile
from models.detectors.kept_windows import KeptWindows
from models.errors import BundleError
from tests.agent.machine import PROFILE, Machine, only, p_values
from tests.agent.test_update import Shelf
from tests.agent.windows_model import window_bundle, window_detector, with_windows
from tests.builders import T0_NS, bundle, desired, items_of, rig

pytest.importorskip("tensorflow", reason="the model is made with the hub's packages")
KEEPING = with_windows(PROFILE, reference=30)
STEP = (0, -1.5, 0)
HOT = (0, 0, 5)


def serving() -> Serving:
    return serving_of(read_bundle(window_bundle()), window_detector())


def machine(profile: Profile = KEEPING, saved: SavedState | None = None, now_s: float = 0.0) -> Machine:
    made = Machine(profile, saved, now_s)
    made.pipeline.serve("rig", serving(), None)
    return made


def deciding(bodies: list[Body]) -> set[str]:
    return {body.scores[0].detector for body in only(Aggregate, bodies) if body.scores}


def test_it_decides_from_the_first_window_after_commissioning_and_is_quiet_while_nothing_is_wrong() -> None:
    rig_1 = machine().learned()
    bodies = rig_1.run(600)
    assert deciding(bodies) == {"rig-w1"}
    assert only(Alert, bodies) == []
    assert 0.1 < np.median([p for p in p_values(bodies) if p is not None]) < 0.95


def test_a_fault_rings_and_names_its_channel() -> None:
    rig_1 = machine().learned()
    (opened,) = only(Alert, rig_1.run(80, HOT))
    assert (opened.detector, opened.top[0][0]) == ("rig-w1", "temperature")
    assert sum(share for _, share in opened.top) == pytest.approx(1.0, abs=1e-3)
    assert [alert.alert_id for alert in only(Alert, rig_1.run(150))] == [opened.alert_id]


def test_a_channel_that_is_gone_is_left_out_and_the_others_are_scored() -> None:
    rig_1 = machine().learned()
    scores = [s for body in only(Aggregate, rig_1.run(60, blank=[0])) for s in body.scores[:1]]
    assert all(np.isfinite(score.score) for score in scores)
    assert only(Alert, rig_1.run(60, HOT, blank=[0]))[0].top[0][0] == "temperature"


def test_after_a_restart_it_says_the_same() -> None:
    before = machine().learned()
    before.run(10 - before.now_s % 10)
    before.pipeline.tick(10**12)
    state = msgspec.msgpack.decode(msgspec.msgpack.encode(before.watch.saved()), type=SavedState)
    after = machine(saved=state, now_s=before.now_s)
    assert after.run(100) == before.run(100)
    assert after.run(80, STEP) == before.run(80, STEP)


def test_a_device_that_was_commissioned_before_it_kept_windows_takes_the_next_good_ones() -> None:
    old = Machine().learned()
    rig_1 = machine(saved=old.watch.saved(), now_s=old.now_s)
    assert deciding(rig_1.run(100)) == {"baseline"}
    rig_1.run(30, STEP)  # nothing is learned of what looks wrong
    rig_1.run(330)
    assert deciding(rig_1.run(30)) == {"rig-w1"}
    assert deciding(rig_1.run(30, STEP)) == {"rig-w1"}


def test_to_commission_anew_forgets_the_windows_too() -> None:
    rig_1 = machine().learned()
    assert rig_1.watch.saved().windows
    rig_1.pipeline.recommission("rig-1")
    assert rig_1.watch.saved().windows == b""


# --- what is kept -------------------------------------------------------------------------------------------------


def test_what_is_kept_is_bounded_however_long_commissioning_takes_and_spread_over_it() -> None:
    kept = KeptWindows(with_windows(rig(), reference=20))
    for i in range(1000):
        kept.add(i, np.full((50, 3), float(i)))
        assert len(kept) < 40
    kept.settle(set(range(1000)))
    assert len(kept) == 20
    assert np.diff(kept.windows[:, 0, 0]).min() > 30
    data, ends_ns = kept.saved()
    other = KeptWindows(with_windows(rig(), reference=20))
    other.resume(data, ends_ns)
    assert other.windows.tobytes() == kept.windows.tobytes()
    torn = KeptWindows(with_windows(rig(), reference=20))
    torn.resume(data[:-4], ends_ns)
    assert len(torn) == 0


def test_windows_that_a_fault_turns_out_to_have_touched_go_again() -> None:
    kept = KeptWindows(with_windows(rig(), reference=20))
    for i in range(10):
        kept.add(i, np.zeros((50, 3)))
    kept.give_up(4)
    assert kept.saved()[1] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("plan", "says"),
    [
        ({"reference": 19}, "windows.reference: 0, or at least 20"),
        ({"reference": 1000}, r"windows.reference: at most \d+ windows of 2001 values"),
        ({"sample_share": 1.5}, "<= 1"),
    ],
    ids=str,
)
def test_a_plan_that_cannot_be_kept_is_refused(plan: dict[str, float], says: str) -> None:
    profile = msgspec.to_builtins(rig(window_s=10.0)) | {"windows": plan, "redundant": []}
    profile["windowing"]["rate_hz"] = 200 / 3
    with pytest.raises(msgspec.ValidationError, match=says):
        msgspec.convert(profile, Profile)


# --- what is sent -------------------------------------------------------------------------------------------------


def test_a_share_of_the_good_windows_is_sent_whole_and_no_other() -> None:
    profile = with_windows(PROFILE, reference=0, sample_share=0.5)
    rig_1 = Machine(profile)
    bodies = rig_1.run(2000)
    samples = [body for body in only(Evidence, bodies) if body.sample]
    assert 60 < len(samples) < 140
    assert {unpack_floats(sample.values, 3).shape for sample in samples} == {(50, 3)}
    assert [fault_of(item) for item in items_of(samples)] == [None] * len(samples)
    assert [body for body in only(Evidence, Machine(profile).run(2000)) if body.sample] == samples
    faulty = [body for body in only(Evidence, rig_1.run(300, STEP)) if body.sample]
    assert len(faulty) <= 3  # until the alert is open; then none of some fifteen
    assert [body for body in only(Evidence, rig_1.run(200, blank=[1])) if body.sample] == []


def test_which_windows_are_sent_depends_on_asset_and_time_alone() -> None:
    profile = with_windows(rig(), sample_share=0.1)
    ends = range(T0_NS, T0_NS + 10_000 * 10**10, 10**10)
    drawn = [{end for end in ends if is_sampled(asset, end, profile)} for asset in ("a", "b")]
    assert all(800 < len(each) < 1200 for each in drawn)
    assert len(drawn[0] & drawn[1]) < 200
    assert not any(is_sampled("a", end, rig()) for end in ends)


# --- what is refused ----------------------------------------------------------------------------------------------

OTHER_SIZE = Sizes(n_features=18, n_samples=40, n_channels=3, keeps_windows=True)


@pytest.mark.parametrize(
    ("sizes", "reason"),
    [
        (Sizes.of(rig()), "takes whole windows, and this device keeps none to calibrate it by: set reference = 60"),
        (OTHER_SIZE, "takes 150 values of a window of 3 channels; this profile has 120 values: 40 samples of 3 channels"),
    ],
    ids=["keeps none", "another size"],
)
def test_a_device_that_cannot_compute_it_says_why_and_keeps_its_slots(sizes: Sizes, reason: str, tmp_path: Path) -> None:
    slots, hub, served = SlotStore(tmp_path), Shelf(), []
    updater = Updater(slots, hub, {"rig": rig().spec_hash}, lambda *them: served.append(them), sizes={"rig": sizes})
    for bundle_id, archive in (("rig-v1", bundle("rig-v1")), ("rig-w1", window_bundle())):
        hub.files[bundle_id] = archive
        updater.reconcile([DesiredSlots(profile="rig", active=desired(archive, bundle_id), shadow=None)])
    assert [failure.bundle_id for failure in slots.failures] == ["rig-w1"]
    assert slots.failures[0].reason.startswith("incompatible: ")
    assert reason in slots.failures[0].reason
    held = SlotStore(tmp_path).of("rig").active
    assert held is not None
    assert held.bundle_id == "rig-v1"
    assert len(list(tmp_path.glob("bundles/*"))) == 1
    assert len(served) == 1


@pytest.mark.parametrize("changes", [{"n_channels": 0}, {"n_channels": 7}, {"input": "features"}], ids=str)
def test_a_manifest_that_contradicts_itself_is_refused(changes: dict[str, object]) -> None:
    from models.bundle.archive import pack_bundle

    read = read_bundle(window_bundle())
    spoilt = msgspec.structs.replace(read.manifest, **changes)
    with pytest.raises(BundleError, match=r"unreadable bundle: .* channels for 150 values"):
        read_bundle(pack_bundle(spoilt, read.model, read.golden, {}))


def test_windows_of_no_value_at_all_score_nothing() -> None:
    detector = window_detector()
    assert detector.score(np.full(150, np.nan, dtype=np.float32)).score == 0.0
    assert pack_floats(detector.score(np.zeros(150, dtype=np.float32)).contributions)
