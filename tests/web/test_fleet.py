"""The fleet's pages: what a filter finds, how a list goes on, what a look costs, and that no name becomes markup."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from html import unescape

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, event, update

from benchmarks.large_fleet import seed_many
from hub.audit.log import record
from hub.devices.standing import take_step
from hub.operators.rights import ROLES
from hub.state.schema import assets, devices
from hub.web.fleet.filter import FleetFilter, fleet_filter
from hub.web.fleet.list import COLUMNS, read_list
from hub.web.fleet.map import fleet_digest, read_map
from hub.web.fleet.pages import PARTS
from hub.web.part import Look
from hub.web.queries import STATES, read_fleet
from tests.hub.operating import add_user, sign_in
from tests.web.seeding import S, add_asset, add_device, seed_fleet

NOW = 1_800_000_000 * S
HEARD = NOW - 90 * S
HOSTILE = "\"><script>alert('1')<b>&"


@pytest.fixture
def connection(engine: Engine) -> Iterator[Connection]:
    with engine.begin() as connection:
        yield connection


@pytest.fixture
def seeded(connection: Connection) -> Connection:
    seed_fleet(connection, NOW)
    return connection


def found(connection: Connection, query: str) -> set[str]:
    """The assets that an address shows, and that map and list agree about them."""
    wanted = fleet_filter(dict(httpx.QueryParams(query)))
    shown = read_map(connection, HEARD, wanted)
    cells = {asset for site in shown.sites for comb in site.combs for _, asset, _ in comb.cells}
    listed = read_list(connection, HEARD, wanted)
    assert {row.asset for row in listed.rows} == cells
    assert shown.n_all == listed.n_all == len(cells)
    assert shown.n_fleet == listed.n_fleet == 11
    return cells


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("state=alarm", {"pump-2", "pump-4"}),
        ("state=silent", {"fan-2", "fan-3"}),
        ("site=office", {"this-machine"}),
        ("profile=motor&site=brest", {"motor-1", "motor-2"}),
        ("model=fan-1-5f3a", {"fan-1", "fan-2"}),
        ("model=baseline", {"motor-1", "motor-2", "fan-3", "this-machine"}),
        ("silent=1", {"fan-2"}),
        ("backlog=1", {"fan-3", "pump-5"}),
        ("q=GW-LYON-02", {"pump-3", "fan-1"}),
        ("q=offi", {"this-machine"}),
        ("q=%25", set()),
        ("q=_", set()),
    ],
)
def test_a_filter_finds_the_same_in_map_and_list(seeded: Connection, query: str, names: set[str]) -> None:
    assert found(seeded, query) == names


def test_what_an_address_does_not_mean_filters_nothing(seeded: Connection) -> None:
    assert len(found(seeded, "state=nonsense&sort=nonsense&dir=x&after=%00%00&view=x")) == 11


def test_the_map_is_by_site_and_profile_and_tells_states_as_of_now(seeded: Connection) -> None:
    shown = read_map(seeded, HEARD, FleetFilter())
    assert [(site.name, [comb.profile for comb in site.combs]) for site in shown.sites] == [
        ("brest", ["fan", "motor", "pump"]),
        ("lyon", ["fan", "pump"]),
        ("office", ["host"]),
    ]
    assert dict(shown.sites[1].states) == {"alarm": 1, "silent": 1}


def test_a_map_of_too_many_shows_the_most_urgent_and_of_too_many_sites_none(
    seeded: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = read_map(seeded, HEARD, FleetFilter(), limit=4)
    assert (shown.n_all, shown.n_shown) == (11, 4)
    assert {state for site in shown.sites for comb in site.combs for _, _, state in comb.cells} == {"alarm", "silent"}
    monkeypatch.setattr("hub.web.fleet.map.MAX_SITES", 2)
    together = read_map(seeded, HEARD, FleetFilter())
    assert (together.by_site, [site.name for site in together.sites], together.n_shown) == (False, [""], 11)


@pytest.mark.parametrize("column", [column.name for column in COLUMNS])
@pytest.mark.parametrize("descending", [False, True])
def test_pages_of_a_list_hold_every_asset_once_in_order(connection: Connection, column: str, descending: bool) -> None:
    seed_many(connection, NOW, 40)
    connection.execute(update(devices).where(devices.c.device_id == "gw-00001").values(backlog_items=None, survival_days=None))
    wanted = FleetFilter(view="list", sort=column, descending=descending)
    whole = read_list(connection, HEARD, wanted, n_rows=100)
    rows, after = list[object](), ""
    while True:
        page = read_list(connection, HEARD, replace(wanted, after=after), n_rows=7)
        rows += page.rows
        after = page.next_after
        if not after:
            break
    assert tuple(rows) == whole.rows
    assert len({(row.device_id, row.asset) for row in whole.rows}) == whole.n_all == 80
    assert whole.next_after == ""
    if column == "survival":
        days = [row.survival_days for row in whole.rows if row.survival_days is not None]
        assert days == sorted(days, reverse=descending)
    if column == "heard":
        seen = [row.last_seen_ns for row in whole.rows]
        assert seen == sorted(seen, reverse=descending)


@given(st.text(max_size=80))
def test_a_cursor_that_was_made_up_begins_at_the_first_page(after: str) -> None:
    from hub.web.fleet.list import decoded

    key = decoded(FleetFilter(sort="backlog", after=after))
    assert key is None or isinstance(key[0], int | float)


@given(
    st.builds(FleetFilter, state=st.sampled_from(["", "alarm"]), site=st.text(max_size=9).map(str.strip), silent=st.booleans())
)
def test_an_address_says_what_it_was_made_of(wanted: FleetFilter) -> None:
    assert fleet_filter(dict(httpx.QueryParams(wanted.query().removeprefix("?")))) == wanted


def test_the_digest_changes_with_a_state_and_not_with_a_check_in(seeded: Connection) -> None:
    known = fleet_digest(seeded, HEARD)
    seeded.execute(update(devices).where(devices.c.device_id == "gw-lyon-01").values(last_seen_ns=NOW))
    seeded.execute(update(assets).values(p_value=0.3))
    assert fleet_digest(seeded, HEARD) == known
    later = fleet_digest(seeded, HEARD + 80 * S)  # a device falls silent by the clock alone
    seeded.execute(update(assets).where(assets.c.asset == "fan-1").values(state="commissioning"))
    assert len({known, later, fleet_digest(seeded, HEARD)}) == 3


def test_the_headline_s_counts_are_those_of_the_map(connection: Connection) -> None:
    seed_many(connection, NOW, 300)
    counted = dict.fromkeys(STATES, 0)
    for site in read_map(connection, HEARD, FleetFilter()).sites:
        for comb in site.combs:
            for _, _, state in comb.cells:
                counted[state] += 1
    assert read_fleet(connection, HEARD).states == counted


@pytest.mark.parametrize("part", ["fleetmap", "fleetlist", "device"])
def test_a_part_takes_as_many_statements_for_many_devices_as_for_few(connection: Connection, part: str) -> None:
    statements: list[str] = []
    event.listen(connection, "before_cursor_execute", lambda *args: statements.append(args[2]))
    counts = []
    for n in (3, 200):
        connection.execute(devices.delete())
        connection.execute(assets.delete())
        if n == 3:
            seed_many(connection, NOW, 3)
        else:
            for number in range(n):
                add_device(connection, f"gw-{number:05}", "s", NOW)
                add_asset(connection, f"gw-{number:05}", "a", "pump", "normal", 0.5, NOW)
        statements.clear()
        PARTS[part].read(connection, Look(HEARD, {"device": "gw-00001"}))
        PARTS[part].digest(connection, Look(HEARD, {"device": "gw-00001"}))
        counts.append(len(statements))
    assert counts[0] == counts[1] <= 24


@pytest.mark.parametrize("path", ["/fleet", "/fleet?view=list"])
def test_an_empty_hub_says_what_to_do(operator: httpx.Client, path: str) -> None:
    text = operator.get(path).text
    assert "No device has said yet what it watches" in text
    assert 'href="/"' in text


def test_the_device_page_tells_all_that_is_known(fleet: Engine, operator: httpx.Client) -> None:
    text = unescape(operator.get("/devices/gw-brest-03").text)
    for words in ("1,204 items, 412.0 kB", "212 days", "source plc", "stuck", "204 on the way or lost", "pump-1-5f3a", "fan-3"):
        assert words in text, words
    assert operator.get("/devices/no-such").status_code == 404
    assert "heard of no device" in operator.get("/devices/no-such").text
    assert operator.get("/parts/device?device=no-such").status_code == 404


def test_only_who_may_read_the_audit_log_sees_it_on_the_device_s_page(
    fleet: Engine, stranger: httpx.Client, now_ns: int
) -> None:
    with fleet.begin() as connection:
        take_step(connection, "gw-lyon-01", "suspend", reason="in repair", actor="user:ann", now_ns=now_ns)
        record(connection, at_ns=now_ns, actor="user:ann", action="device.other", subject="gw-lyon-02")
    for role in ROLES:
        add_user(fleet, f"a-{role}", role)
        stranger.cookies.clear()
        assert sign_in(stranger, f"a-{role}").status_code == 303
        page = stranger.get("/devices/gw-lyon-01").text
        assert "This device is suspended: in repair" in page
        assert ("device.suspend" in page) == (role == "admin")
        assert "device.other" not in page
        assert stranger.get("/parts/deviceaudit?device=gw-lyon-01").status_code == (200 if role == "admin" else 404)


def test_hostile_names_are_text_everywhere(engine: Engine, operator: httpx.Client, now_ns: int) -> None:
    with engine.begin() as connection:
        add_device(connection, HOSTILE, HOSTILE, now_ns, sources={HOSTILE: HOSTILE}, storage=HOSTILE)
        add_asset(connection, HOSTILE, HOSTILE, HOSTILE, "alarm", 1e-7, now_ns)
    links = re.findall(r'href="(/devices/[^"]+)"', operator.get("/fleet?view=list").text)
    for path in ("/fleet", "/fleet?view=list", links[0], f"/fleet?{httpx.QueryParams({'q': HOSTILE, 'site': HOSTILE})}"):
        response = operator.get(path)
        assert response.status_code == 200
        assert "<script>alert" not in response.text
        assert "&lt;script&gt;alert" in response.text
        assert not re.search(r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son\w+=", response.text)


def test_pages_travel_compressed_where_the_browser_takes_that(fleet: Engine, operator: httpx.Client) -> None:
    plain = operator.get("/fleet", headers={"Accept-Encoding": "identity"})
    packed = operator.get("/fleet", headers={"Accept-Encoding": "gzip"})
    assert ("content-encoding" in plain.headers, packed.headers["content-encoding"]) == (False, "gzip")
    assert packed.headers["vary"] == plain.headers["vary"] == "Accept-Encoding"
    assert packed.num_bytes_downloaded < plain.num_bytes_downloaded / 2
    clock = re.compile(r'data-now-ms="\d+"|<time.*?</time>|as of [0-9T:Z-]+')
    assert clock.sub("", packed.text) == clock.sub("", plain.text)
