"""The pages of the data: what they tell, to whom, and what they cost."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pyarrow.dataset as ds
import pytest
from sqlalchemy import Connection, Engine, insert, update

from hub.audit.log import AuditBroken, record, verify_latest
from hub.lake.days import DAY_NS
from hub.lake.lake import DeltaLake
from hub.settings import CatalogueEntry
from hub.state.schema import audit_entries, commissionings, device_days, quarantine, sensor_faults
from hub.training.drift import MIN_WINDOWS, channel_drift, normals_of
from hub.web.data.catalogue import FEATURES, read_catalogue
from hub.web.data.completeness import MAX_DEVICES, place_gap, read_completeness
from hub.web.data.views import MAX_PAIRS, read_keeping, read_quality, read_received
from hub.web.kept import Kept
from models.contract.config import load_profile
from models.contract.items import pack_floats
from models.contract.profile import PerChannel
from models.features.spec import FeatureSpec
from tests.hub.operating import add_user, sign_in
from tests.waiting import PATIENCE_S, wait_until
from tests.web.seeding import FLEET, S, add_ledger
from tests.web.seeding_data import WINDOWS_A_DAY, seed_data

HOSTILE = '"><script>alert(1)</script>'
PARTS = ("data_lake", "data_completeness", "data_quality", "data_drift", "data_received", "data_keeping")
DEVICES = [device for device, *_ in FLEET]


@pytest.fixture
def data(fleet: Engine, lake: DeltaLake, now_ns: int) -> Engine:
    seed_data(fleet, lake, now_ns, DEVICES)
    return fleet


@pytest.fixture
def connection(data: Engine) -> Iterator[Connection]:
    with data.begin() as connection:
        yield connection


def shown(client: httpx.Client, part: str) -> str:
    """The part, once it is worked out."""
    wait_until(lambda: "being worked out" not in client.get(f"/parts/{part}").text, what=part)
    return client.get(f"/parts/{part}").text


def test_an_empty_hub_has_pages_of_data_that_say_so(operator: httpx.Client) -> None:
    assert operator.get("/data").status_code == 200
    assert "Nothing has been received yet" in shown(operator, "data_completeness")
    assert "Nothing is in quarantine" in shown(operator, "data_keeping")
    assert "in the audit log" in operator.get("/data/audit").text
    assert "Centrifugal pump" in operator.get("/data/catalogue").text


def test_each_part_tells_its_figures_and_the_command_that_gives_them(data: Engine, operator: httpx.Client) -> None:
    said = {part: shown(operator, part) for part in PARTS}
    for part, words in {
        "data_lake": ("1,540 rows", "365 days", "tocsin hub lake status"),
        "data_completeness": ("3 devices", "of 7 lost", "5,000", "tocsin hub ledger"),
        "data_quality": ("a whole source", "spike", "tocsin hub sensor-faults"),
        "data_drift": ("15 %", "retrain_drift_share", "tocsin hub triggers"),
        "data_received": ("aggregate", "360 items", "tocsin hub query"),
        "data_keeping": ("9 items", "end_ns before start_ns", "edge-host", "1 erasure done", "tocsin hub quarantine"),
    }.items():
        for word in words:
            assert word in said[part], (part, word)


def test_lost_windows_are_placed_on_their_days_and_add_up(connection: Connection, now_ns: int) -> None:
    found = read_completeness(connection, now_ns // DAY_NS)
    assert [row.device_id for row in found.rows[:3]] == ["gw-lyon-02", "gw-brest-01", "gw-lyon-03"]
    evicted, merged, gap = found.rows[:3]
    assert [(cell.day - found.last_day, cell.n_lost) for cell in evicted.days if cell.n_lost] == [(-13, 2500), (-12, 2500)]
    assert [(cell.day - found.last_day, cell.n_merged, cell.share) for cell in merged.days if cell.n_merged] == [
        (-9, 4320, 0.5)
    ]
    [(day, lost, share)] = [(cell.day - found.last_day, cell.n_lost, cell.share) for cell in gap.days if cell.n_lost]
    assert (day, lost, round(share or 0, 3)) == (-4, 3000, round((WINDOWS_A_DAY - 3000) / WINDOWS_A_DAY, 3))
    assert (gap.n_missing, found.n_whole, found.n_devices) == (3000, 4, 7)


@pytest.mark.parametrize(
    ("gap", "days"),
    [((5, 6), [1]), ((9, 12), [1, 2]), ((25, 30), [2, 3, 4]), ((1, 2), [1]), ((60, 70), [4]), ((15, 16), [2])],
)
def test_a_gap_lies_on_the_days_of_its_neighbours(gap: tuple[int, int], days: list[int]) -> None:
    spans = [(1, 3, 8), (2, 13, 24), (4, 31, 50)]
    assert list(place_gap(gap, spans)) == days
    assert list(place_gap(gap, [])) == []


def test_only_the_worst_devices_are_shown(data: Engine, now_ns: int) -> None:
    with data.begin() as connection:
        for k in range(60):
            add_ledger(connection, f"x{k:03}", "aggregates", 100, now_ns, n_evicted=k)
        found = read_completeness(connection, now_ns // DAY_NS)
    assert (len(found.rows), found.n_devices) == (MAX_DEVICES, 67)
    assert found.rows[3].device_id == "x059"


def test_faults_are_counted_by_channel_and_day(connection: Connection, now_ns: int) -> None:
    quality = read_quality(connection, now_ns // DAY_NS)
    assert [(pair.channel, pair.fault, pair.n_faults) for pair in quality.pairs[:2]] == [
        ("flow", "spike", 14),
        ("pressure", "stuck", 10),
    ]
    assert sum(bar.total for bar in quality.faults) == 36
    assert len(quality.faults) == 30
    profile, n, faulty = quality.shares[1]
    assert (profile, 0.03 < faulty / n < 0.06) == ("pump", True)
    assert len(quality.pairs) <= MAX_PAIRS


def test_what_was_refused_is_told_by_reason(connection: Connection) -> None:
    keeping = read_keeping(connection)
    assert [n for _, _, n in keeping.reasons] == [7, 2]
    assert (keeping.n_quarantined, len(keeping.latest), keeping.n_erased) == (9, 8, 1)
    assert keeping.latest[0].received_ns > keeping.latest[-1].received_ns


def test_what_came_is_told_in_bytes_by_day(connection: Connection, now_ns: int) -> None:
    received = read_received(connection, now_ns // DAY_NS)
    assert [kind for kind, _, _ in received.kinds] == ["aggregate", "evidence", "health", "alert"]
    assert len(received.days) == 30
    assert received.days[-1].total > received.days[0].total


# --- drift by channel -----------------------------------------------------------------------------------------------


def test_the_channel_that_moved_is_named(connection: Connection, tmp_path: Path, now_ns: int) -> None:
    import pyarrow as pa

    from hub.lake.tables import SCHEMAS

    profile = load_profile("pump")
    spec = FeatureSpec(profile)
    normal = np.zeros(spec.n_features)
    moved = np.where([name.startswith("vibration.std") for name in spec.names], 5.0, 0.1)
    rows = []
    for asset in ("a", "b"):
        values = {"device_id": "d", "asset": asset, "spec_hash": spec.hash, "profile": "pump", "n_windows": 60}
        learned = {"location": pack_floats(normal), "scale": pack_floats(np.ones(spec.n_features))}
        connection.execute(insert(commissionings).values(**values, start_ns=1, end_ns=2, **learned))
        for k in range(MIN_WINDOWS + (asset == "a")):
            row = dict.fromkeys(SCHEMAS["aggregates"].names)
            times = {
                "start_ns": now_ns - (k + 2) * S,
                "end_ns": now_ns - k * S,
                "day": np.datetime64(now_ns, "ns").astype("M8[D]").item(),
            }
            told = {"features": moved.tolist(), "faulty": [], "commissioning": False, "alarm": False, "partial": False}
            rows.append({**row, **values, **times, **told})
    [row.pop("n_windows") for row in rows]
    windows = ds.dataset(pa.Table.from_pylist(rows, schema=SCHEMAS["aggregates"]))
    found = channel_drift(profile, normals_of(connection, profile), windows, now_ns)
    worst = max(found, key=lambda channel: channel.shift)
    assert (worst.channel, worst.feature, worst.n_assets, worst.n_moved, round(worst.shift, 3)) == (
        "vibration",
        "std",
        2,
        2,
        5.0,
    )
    assert all(channel.n_moved == 0 for channel in found if channel is not worst)
    assert channel_drift(profile, {}, windows, now_ns) == []


# --- the catalogue --------------------------------------------------------------------------------------------------


def test_the_catalogue_tells_units_ranges_owners_and_profiles_that_only_devices_know(
    connection: Connection, tmp_path: Path
) -> None:
    (tmp_path / "broken.toml").write_text("name = 3")
    told = {"pump": CatalogueEntry(owner="line 4", description="Feed water", channels={"flow": "at the outlet"})}
    found = {view.name: view for view in read_catalogue(connection, tmp_path, told)}
    pump = found["pump"]
    assert (pump.owner, pump.n_features, pump.n_assets, pump.channels[0].description) == ("line 4", 35, 5, "at the outlet")
    assert (pump.channels[0].unit, pump.channels[0].least, pump.channels[0].most) == ("m3/h", 0.0, 120.0)
    assert "broken.toml" in found["broken"].problem
    assert len(FeatureSpec(load_profile("pump")).names) == pump.n_features


def test_every_feature_that_a_profile_may_have_is_told_in_words() -> None:
    from typing import get_args

    assert set(FEATURES) == set(get_args(PerChannel))


# --- the audit log --------------------------------------------------------------------------------------------------


def test_the_audit_log_is_for_admins_and_can_be_narrowed_and_paged(data: Engine, operator: httpx.Client) -> None:
    text = operator.get("/data/audit").text
    assert text.count("<tr>") == 51
    older = operator.get("/data/audit?before=12").text
    assert "Older entries" not in older
    only = operator.get("/data/audit", params={"action": "data.erase"}).text
    assert ("gw-old" in only, "rollout.pass</a>" in only) == (True, False)
    assert "No entry is like that" in operator.get("/data/audit", params={"actor": HOSTILE}).text
    assert "<script>alert" not in operator.get("/data/audit", params={"actor": HOSTILE, "before": HOSTILE}).text


@pytest.mark.parametrize("role", ["viewer", "operator"])
def test_others_neither_see_the_audit_log_nor_are_offered_it(data: Engine, stranger: httpx.Client, role: str) -> None:
    add_user(data, "vera", role)  # type: ignore[arg-type]
    sign_in(stranger, "vera")
    assert stranger.get("/data/audit").status_code == 403
    page = stranger.get("/data").text + shown(stranger, "data_keeping")
    assert "/data/audit" not in page
    assert stranger.get("/data/catalogue").status_code == 200


def test_the_chain_is_checked_by_a_button(data: Engine, operator: httpx.Client) -> None:
    assert "entries, the newest ones, are as they were written" in operator.get("/data/audit?verify=yes").text
    with data.begin() as connection:
        connection.execute(update(audit_entries).where(audit_entries.c.number == 30).values(subject="other"))
    assert "entry 30 is not what was written" in operator.get("/data/audit?verify=yes").text


def test_the_newest_of_the_chain_are_followed_on_the_word_of_the_one_before(engine: Engine) -> None:
    with engine.begin() as connection:
        assert verify_latest(connection, 5)[0] == 0
        for k in range(20):
            record(connection, at_ns=k, actor="hub", action="a", subject="b")
        assert [verify_latest(connection, n)[0] for n in (5, 20, 500)] == [5, 20, 20]
        connection.execute(update(audit_entries).where(audit_entries.c.number == 10).values(actor="x"))
        assert verify_latest(connection, 5)[0] == 5  # what is older is not looked at
        with pytest.raises(AuditBroken, match="entry 10"):
            verify_latest(connection, 15)
        connection.execute(audit_entries.delete().where(audit_entries.c.number == 20))
        with pytest.raises(AuditBroken, match="the last ones are missing"):
            verify_latest(connection, 5)


# --- figures that are kept ------------------------------------------------------------------------------------------


def test_nobody_waits_for_figures_and_they_are_worked_out_once_at_a_time() -> None:
    go, calls = threading.Event(), []

    def work() -> int:
        calls.append(1)
        go.wait(PATIENCE_S)
        return 7

    kept = Kept(work, max_age_s=1000, patience_s=0.01)
    assert [kept.get(), kept.get()] == [None, None]
    go.set()
    wait_until(lambda: kept.get() == 7, what="the figure")
    assert len(calls) == 1


def test_old_figures_are_shown_until_there_are_new_ones_and_a_failure_keeps_them() -> None:
    results = iter([1, OSError("gone"), 3])

    def work() -> int:
        found = next(results)
        if isinstance(found, OSError):
            raise found
        return found

    kept = Kept(work, max_age_s=0.0, patience_s=PATIENCE_S)
    assert kept.get() == 1
    wait_until(lambda: not kept._working, what="the failure")
    assert kept.get() == 1


def test_figures_that_cannot_be_had_are_told_as_such() -> None:
    def work() -> int:
        raise OSError("the lake is gone")

    kept = Kept(work, max_age_s=1, patience_s=PATIENCE_S)
    wait_until(lambda: kept.view() == {"now": None, "failed": "the lake is gone"}, what="the failure")


def test_hostile_names_are_text(data: Engine, operator: httpx.Client, now_ns: int) -> None:
    with data.begin() as connection:
        connection.execute(update(sensor_faults).values(channel=HOSTILE, fault=HOSTILE))
        connection.execute(update(quarantine).values(reason=HOSTILE))
        row = {"n_windows": 1, "n_merged": 0, "n_faulty": 0, "n_late": 0, "first_seq": 1, "last_seq": 1}
        connection.execute(insert(device_days).values(device_id=HOSTILE, epoch="e", day=now_ns // DAY_NS, **row))
        add_ledger(connection, HOSTILE, "aggregates", 10, now_ns, n_evicted=10**9)
        record(connection, at_ns=now_ns, actor=HOSTILE, action="a", subject=HOSTILE, details={"x": HOSTILE})
    for path in (*(f"/parts/{part}" for part in ("data_completeness", "data_quality", "data_keeping")), "/data/audit"):
        text = shown(operator, path[7:]) if path.startswith("/parts") else operator.get(path).text
        assert "<script>alert" not in text, path
        assert "&lt;script&gt;alert(1)" in text, path


def test_the_pages_carry_strict_headers_and_no_inline_script_or_style(data: Engine, operator: httpx.Client) -> None:
    paths = ["/data", "/data/catalogue", "/data/audit", "/value", "/rollouts", "/rollouts/roll-pump-3-5f3a", "/rollouts/new"]
    for path in (*paths, "/rollouts/roll-pump-3-5f3a/abort", *(f"/parts/{part}" for part in (*PARTS, "value", "rollout_list"))):
        reply = operator.get(path)
        assert reply.status_code == 200, path
        assert "default-src 'none'" in reply.headers["content-security-policy"]
        assert not re.search(r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son\w+=", reply.text), path


@pytest.mark.parametrize(
    "path", ["/data", "/data/catalogue", "/data/audit", "/value", "/rollouts", "/rollouts/x", "/rollouts/new"]
)
def test_strangers_are_sent_to_sign_in(stranger: httpx.Client, path: str) -> None:
    assert stranger.get(path).headers["location"] == "/signin"
