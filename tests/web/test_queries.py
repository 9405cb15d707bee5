"""The read models over a real state database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event, update

from hub.state.schema import assets, devices, rollouts
from hub.web.alert_rows import Share, read_alerts, read_faults
from hub.web.learning import grades, highlights, read_models
from hub.web.live import digest
from hub.web.overview import PARTS
from hub.web.part import Look
from hub.web.queries import read_fleet, read_ledger, read_tile, read_tiles
from hub.web.rollout_rows import read_rollouts
from tests.web.seeding import CARD, S, add_alert, add_asset, add_device, add_event, add_ledger, gate, seed_fleet

NOW = 1_800_000_000 * S
HEARD = NOW - 90 * S


@pytest.fixture
def connection(engine: Engine) -> Iterator[Connection]:
    with engine.begin() as connection:
        yield connection


@pytest.fixture
def seeded(connection: Connection) -> Connection:
    seed_fleet(connection, NOW)
    return connection


def test_the_fleet_is_counted_by_state(seeded: Connection) -> None:
    fleet = read_fleet(seeded, HEARD)
    assert fleet.states == {"alarm": 2, "silent": 2, "commissioning": 1, "not_judged": 0, "normal": 6}
    assert (fleet.n_devices, fleet.n_silent_devices, fleet.n_alerts, fleet.n_critical, fleet.n_faults) == (7, 1, 2, 1, 1)
    assert fleet.headline == "2 assets need attention"


def test_an_empty_hub_has_nothing_and_says_so(connection: Connection) -> None:
    fleet = read_fleet(connection, HEARD)
    assert (fleet.n_devices, fleet.n_assets, fleet.n_alerts) == (0, 0, 0)
    assert read_tiles(connection, HEARD).shown == ()
    assert read_alerts(connection).latest_closed is None
    assert (read_models(connection), read_rollouts(connection), read_ledger(connection)) == ((), (), ())


def test_an_asset_on_a_device_that_is_not_heard_is_silent_but_an_alarm_stays_one(connection: Connection) -> None:
    add_device(connection, "d", "s", NOW - 600 * S)
    add_asset(connection, "d", "calm", "pump", "normal", 0.5, NOW - 700 * S)
    add_asset(connection, "d", "ringing", "pump", "alarm", 1e-7, NOW - 700 * S)
    states = {tile.asset: (tile.state, tile.said) for tile in read_tiles(connection, HEARD).shown}
    assert states == {"ringing": ("alarm", "alarm"), "calm": ("silent", "normal")}


def test_an_alert_counts_before_the_check_in_that_says_so(connection: Connection) -> None:
    add_device(connection, "d", "s", NOW)
    add_asset(connection, "d", "a", "pump", "normal", 0.5, NOW - 700 * S)
    assert read_fleet(connection, HEARD).headline == "All is well"
    add_alert(connection, "d", "a", "pump", NOW - S)
    assert read_fleet(connection, HEARD).headline == "1 alert is open"
    tile = read_tile(connection, HEARD, "d", "a")
    assert tile is not None
    assert (tile.state, tile.said, tile.since_ns) == ("alarm", "normal", NOW - S)


def test_tiles_come_most_urgent_first_with_model_backlog_and_top_channel(seeded: Connection) -> None:
    tiles = read_tiles(seeded, HEARD).shown
    assert [tile.state for tile in tiles[:5]] == ["alarm", "alarm", "silent", "silent", "commissioning"]
    pump_2 = next(tile for tile in tiles if tile.asset == "pump-2")
    assert (pump_2.bundle_id, pump_2.version, pump_2.top) == ("pump-3-5f3a", 3, Share("vibration", 0.62))
    pump_5 = next(tile for tile in tiles if tile.asset == "pump-5")
    assert (pump_5.backlog_items, pump_5.backlog_bytes, pump_5.top) == (1204, 412_000, None)
    host = next(tile for tile in tiles if tile.asset == "this-machine")
    assert host.bundle_id is None


def test_tiles_are_cut_and_the_rest_is_counted(seeded: Connection) -> None:
    tiles = read_tiles(seeded, HEARD, limit=3)
    assert (len(tiles.shown), tiles.n_all) == (3, 11)
    only = read_tiles(seeded, HEARD, "silent")
    assert ({tile.asset for tile in only.shown}, only.n_all) == ({"fan-2", "fan-3"}, 2)


def test_a_device_that_never_checked_in_has_no_backlog_figure(connection: Connection) -> None:
    add_device(connection, "d", "s", NOW)
    connection.execute(update(devices).values(checkin=None))
    add_asset(connection, "d", "a", "pump", "normal", None, NOW)
    tile = read_tile(connection, HEARD, "d", "a")
    assert tile is not None
    assert (tile.backlog_items, tile.p_value) == (None, None)
    assert read_tile(connection, HEARD, "d", "unknown") is None


def test_open_alerts_come_critical_first_and_the_latest_closed_only_when_none_is_open(seeded: Connection) -> None:
    found = read_alerts(seeded)
    assert [(alert.asset, alert.severity, alert.site) for alert in found.shown] == [
        ("pump-2", "critical", "lyon"),
        ("pump-4", "warning", "brest"),
    ]
    assert found.latest_closed is None
    assert (len(read_alerts(seeded, limit=1).shown), read_alerts(seeded, limit=1).n_open) == (1, 2)


def test_shares_are_kept_within_their_frame(connection: Connection) -> None:
    add_alert(connection, "d", "a", "pump", NOW, top=[["x", 1.7], ["y", -0.2]])
    assert read_alerts(connection).shown[0].top == (Share("x", 1.0), Share("y", 0.0))


def test_sensor_faults_of_an_asset_include_those_of_its_device_sources(seeded: Connection) -> None:
    assert read_faults(seeded, "gw-brest-03", "pump-5").n_open == 1
    assert read_faults(seeded, "gw-brest-03", "fan-3").n_open == 0


def test_the_ledger_counts_what_lies_between_the_cursor_and_what_came_ahead(connection: Connection) -> None:
    add_ledger(connection, "a", "aggregates", 100, NOW, ahead=[[104, 105], [110, 110]])
    add_ledger(connection, "b", "aggregates", 50, NOW, n_redelivered=7)
    (lane,) = read_ledger(connection)
    assert (lane.n_received, lane.n_missing, lane.n_redelivered, lane.n_produced) == (153, 3 + 4, 7, 160)


def test_each_profile_tells_its_model_and_how_many_devices_hold_it(seeded: Connection) -> None:
    models = {model.profile: model for model in read_models(seeded)}
    assert sorted(models) == ["fan", "host", "motor", "pump"]
    pump = models["pump"]
    assert (pump.bundle_id, pump.version, pump.n_holding, pump.n_devices) == ("pump-1-5f3a", 1, 3, 4)
    assert [(v.version, v.fate) for v in pump.versions] == [(1, "current"), (2, "rolled_back"), (3, "")]
    assert (models["motor"].bundle_id, models["motor"].training) == (None, "running")


@pytest.mark.parametrize(
    "card", [None, [], {}, {"evaluation": 3}, {"evaluation": {"auc": 1, "false_alarms": None, "latency_us_median": "fast"}}]
)
def test_a_card_that_says_nothing_of_use_is_shown_without_figures(card: Any) -> None:
    assert (grades(card), highlights(card)) == ((), ())


def test_a_card_gives_its_grades_and_false_alarms() -> None:
    assert [(g.name, g.auc) for g in grades(CARD)] == [("int8", 0.962), ("float", 0.964), ("baseline", 0.883)]
    assert [f.text for f in highlights(CARD)] == ["1.2 %", "1,184", "41 µs"]


def test_a_rollout_shows_its_stages_and_what_both_models_made_of_the_same_windows(seeded: Connection) -> None:
    running, rolled_back, done = read_rollouts(seeded)
    assert [stage.progress for stage in running.stages] == ["done", "current", "ahead"]
    assert (running.verdict, [gate.verdict for gate in running.gates].count("wait")) == ("wait", 3)
    assert running.evidence is not None
    assert [(c.candidate, c.limit) for c in running.evidence.comparisons] == [(0.0, 0.089), (1 / 38, 0.159)]
    assert [stage.progress for stage in rolled_back.stages] == ["done", "failed", "ahead"]
    assert rolled_back.reason.startswith("alarm_rate: 71.4%")
    assert (done.incumbent_id, [stage.progress for stage in done.stages]) == (None, ["done"] * 3)


def test_a_halted_rollout_keeps_the_gates_that_stopped_it_and_tells_who_has_yet_to_return(seeded: Connection) -> None:
    seeded.execute(update(rollouts).where(rollouts.c.bundle_id == "pump-2-5f3a").values(state="halted", ended_ns=None))
    add_event(seeded, "pump-2-5f3a", "canary", "wait", NOW, [gate("x", "wait", "1 devices have yet to return")])
    halted = next(rollout for rollout in read_rollouts(seeded) if rollout.state == "halted")
    assert (halted.verdict, halted.returning) == ("halt", "1 devices have yet to return")


def read_digests(connection: Connection, heard_since_ns: int) -> dict[str, str]:
    return {name: part.digest(connection, Look(heard_since_ns)) for name, part in PARTS.items()}


def test_views_change_when_something_happened_and_not_when_time_passes(seeded: Connection) -> None:
    before = read_digests(seeded, HEARD)
    assert read_digests(seeded, HEARD + S) == before
    seeded.execute(update(assets).where(assets.c.asset == "pump-1").values(state="alarm"))
    changed = {name for name, known in read_digests(seeded, HEARD).items() if known != before[name]}
    assert changed == {"fleet", "tiles"}


def test_a_device_falling_silent_is_a_change_although_no_row_changed(seeded: Connection) -> None:
    assert digest(read_fleet(seeded, HEARD)) != digest(read_fleet(seeded, NOW))


@pytest.fixture
def statements(engine: Engine) -> Iterator[list[str]]:
    """The SQL that is run from here on."""
    ran: list[str] = []
    listen: Callable[..., None] = lambda _c, _cursor, sql, *_: ran.append(sql)  # noqa: E731
    event.listen(engine, "before_cursor_execute", listen)
    yield ran
    event.remove(engine, "before_cursor_execute", listen)


@pytest.mark.parametrize("part", PARTS)
def test_a_part_takes_as_many_statements_for_many_devices_as_for_few(
    connection: Connection, statements: list[str], part: str
) -> None:
    seed_fleet(connection, NOW)
    statements.clear()
    PARTS[part].read(connection, Look(HEARD))
    few = len(statements)
    for n in range(100):
        add_device(connection, f"d{n}", "s", NOW)
        add_asset(connection, f"d{n}", "a", "pump", "alarm", 1e-7, NOW)
        add_alert(connection, f"d{n}", "a", "pump", NOW)
    statements.clear()
    PARTS[part].read(connection, Look(HEARD))
    assert len(statements) <= few + 1  # a list that is cut is also counted
