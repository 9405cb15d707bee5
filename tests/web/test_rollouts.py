"""The pages of rollouts: what they tell, who may steer, and how much they may cost."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

import httpx
import pytest
from sqlalchemy import Connection, Engine, func, insert, select, update

from hub.operators.rights import ROLES, Role
from hub.rollout.gates import Counts, DeviceFigures, GateSettings, StageFigures, judge, overall
from hub.rollout.history import MAX_POINTS, note_point, points_of
from hub.rollout.machine import TRANSITIONS, Event, Plan, Stage, State
from hub.rollout.store import Rollout
from hub.state.schema import bundles, devices, rollouts
from hub.web.line_plot import HEIGHT, WIDTH, line_plot
from hub.web.part import Look
from hub.web.rollouts.cohort import MAX_CELLS
from hub.web.rollouts.list import MAX_ROWS, read_rollout_list
from hub.web.rollouts.view import read_rollout, rollout_digest, steps_of
from tests.hub.operating import add_user, sign_in
from tests.web.seeding import S, add_rollout
from tests.web.seeding_rollouts import Trial, add_pumps, publish, seed_rollouts

HOSTILE = '"><script>alert(1)</script>'


@pytest.fixture
def running(engine: Engine, now_ns: int) -> Trial:
    return seed_rollouts(engine, now_ns)


def own(client: httpx.Client) -> dict[str, str]:
    return {"Origin": str(client.base_url).rstrip("/")}


def look(rollout_id: str, now_ns: int) -> Look:
    return Look(now_ns - 90 * S, {"rollout": rollout_id})


def test_an_empty_hub_says_what_rollouts_are_and_what_to_do_first(operator: httpx.Client) -> None:
    text = operator.get("/rollouts").text
    assert "No rollout yet" in text
    assert "There is no bundle to roll out" in text


def test_all_rollouts_are_listed_newest_first_with_how_far_they_came(running: Trial, operator: httpx.Client) -> None:
    text = operator.get("/rollouts").text
    assert "1 rollout under way" in text
    assert text.index("pump-v3-r1") < text.index("pump-v2-r1") < text.index("pump-v1-r1")
    assert "40 devices · in place of v1" in text
    assert "windows in alarm, incumbent 0.0%, limit 5.0%" in text


def test_long_lists_come_a_page_at_a_time_and_every_rollout_once(engine: Engine, now_ns: int) -> None:
    seen: list[str] = []
    with engine.begin() as connection:
        for k in range(2 * MAX_ROWS + 3):
            add_rollout(connection, f"pump-{k}", None, now_ns - (k // 2) * S, state="done")  # two at a time
        before = ""
        while True:
            found = read_rollout_list(connection, Look(0, {"before": before}))
            seen += [row.rollout_id for row in found.rows]
            before = found.older
            if not before:
                break
    assert (len(seen), len(set(seen)), found.n_all) == (2 * MAX_ROWS + 3, 2 * MAX_ROWS + 3, 2 * MAX_ROWS + 3)


def test_a_place_in_the_list_that_is_none_is_answered(operator: httpx.Client) -> None:
    for before in ("x", "1.", "-5.a", "9" * 30 + ".a", "1." + "a" * 99, HOSTILE):
        reply = operator.get("/rollouts", params={"before": before})
        assert (reply.status_code, "<script>alert" in reply.text) == (200, False), before


def test_the_cohort_tells_who_has_taken_the_model_up_and_who_has_not(running: Trial, now_ns: int) -> None:
    running.refuse("d-0010", "self-test: vector 3 differs")
    with running.engine.begin() as connection:
        page = read_rollout(connection, look(running.id, now_ns))
    assert page is not None
    counts = dict(page.cohort.counts)
    assert (counts["offline"], counts["refused"], counts["ahead"]) == (6, 1, 17)
    assert sum(counts.values()) == page.cohort.n_devices == 40
    first = page.cohort.groups[0].cells[0]
    assert (first.device_id, first.uptake, first.reason) == ("d-0010", "refused", "self-test: vector 3 differs")


def test_what_stopped_a_rollout_is_told_with_its_figures_over_time(running: Trial, now_ns: int) -> None:
    with running.engine.begin() as connection:
        page = read_rollout(connection, look("pump-v2-r1", now_ns))
    assert page is not None
    story = page.stories[0]
    alarm = next(strip for strip in story.strips if strip.gate == "alarm rate")
    assert [verdict for verdict, _ in alarm.ticks][-1] == "halt"
    what, plot = story.plots[0]
    assert what == "windows in alarm"
    assert "the new model 40 %" in plot.words
    assert "may reach 5.0 %" in plot.words
    assert dict(page.cohort.counts) == {"returned": 6, "ahead": 34}


def test_evidence_is_told_against_the_least_that_is_needed(running: Trial, now_ns: int) -> None:
    with running.engine.begin() as connection:
        page = read_rollout(connection, look(running.id, now_ns))
    assert page is not None
    windows, enough, holding, _ = page.progress
    assert (windows.needed, enough.needed, holding.gathered) == (60, 13, 11)
    assert 0.8 < holding.share < 0.9


def test_the_digest_changes_when_something_happened_and_not_when_time_passes(running: Trial, now_ns: int) -> None:
    with running.engine.begin() as connection:
        before = rollout_digest(connection, look(running.id, now_ns))
        assert rollout_digest(connection, look(running.id, now_ns + S)) == before
        connection.execute(update(devices).where(devices.c.device_id == "d-0010").values(last_seen_ns=now_ns - 9000 * S))
        silent = rollout_digest(connection, look(running.id, now_ns))
    running.step()
    with running.engine.begin() as connection:
        after = rollout_digest(connection, look(running.id, now_ns))
    assert len({before, silent, after}) == 3
    assert rollout_digest(running.engine.connect(), look("none", now_ns)) == ""


@pytest.fixture
def browser(running: Trial, stranger: httpx.Client, request: pytest.FixtureRequest) -> tuple[Role, httpx.Client]:
    role: Role = request.param
    add_user(running.engine, "someone", role)
    assert sign_in(stranger, "someone").status_code == 303
    return role, stranger


@pytest.mark.parametrize("browser", ROLES, indirect=True)
def test_steering_and_starting_are_offered_to_those_who_may(browser: tuple[Role, httpx.Client], running: Trial) -> None:
    role, client = browser
    may = role != "viewer"
    assert (f'action="/rollouts/{running.id}/pause"' in client.get(f"/rollouts/{running.id}").text) == may
    assert ("Look at its plan" in client.get("/rollouts").text) == may
    assert client.get("/rollouts/new?bundle=pump-2-5f3a").status_code == (200 if may else 403)
    assert client.get(f"/rollouts/{running.id}/rollback").status_code == (200 if may else 403)
    foreign = client.post("/rollouts", data={"bundle": "pump-2-5f3a"}, headers={"Origin": "https://evil.example"})
    assert foreign.status_code == 401
    reply = client.post(f"/rollouts/{running.id}/pause", headers=own(client))
    assert reply.status_code == (303 if may else 403)
    if may:
        assert reply.headers["location"] == f"/rollouts/{running.id}"
        assert "paused" in client.get(f"/rollouts/{running.id}").text


def test_rolling_back_is_asked_for_first_and_then_done(running: Trial, operator: httpx.Client) -> None:
    asked = operator.get(f"/rollouts/{running.id}/rollback").text
    assert "Every device returns to what it ran before" in asked
    assert "17 devices holding it" in asked
    reply = operator.post(f"/rollouts/{running.id}/rollback", headers=own(operator))
    assert reply.headers["location"] == f"/rollouts/{running.id}"
    assert "rolled back by hand" in operator.get(reply.headers["location"]).text
    assert "there is nothing to pause" in operator.get(f"/rollouts/{running.id}/pause").text
    assert operator.get(f"/rollouts/{running.id}/explode").status_code == 404
    assert operator.get("/rollouts/none/pause").status_code == 404
    assert operator.post("/rollouts/none/pause", headers=own(operator)).status_code == 409


def test_a_rollout_is_started_as_its_plan_was_shown(engine: Engine, operator: httpx.Client, now_ns: int) -> None:
    add_pumps(engine, 20, now_ns)
    bundle_id = publish(engine, 1, now_ns)
    shown = operator.get("/rollouts/new", params={"bundle": bundle_id, "canaries": "3", "waves": "2", "min_windows": "99"}).text
    assert all(words in shown for words in ("3 devices", "9 devices", "8 devices", 'value="99"'))
    fields = {"bundle": bundle_id, "canaries": "3", "waves": "2", "min_windows": "99", "skip_shadow": "yes"}
    reply = operator.post("/rollouts", data=fields, headers=own(operator))
    assert (reply.status_code, reply.headers["location"]) == (303, "/rollouts/pump-v1-r1")
    with engine.begin() as connection:
        plan = Plan.from_json(connection.execute(select(rollouts.c.plan)).scalar_one())
    assert ([len(stage.devices) for stage in plan.stages], plan.gates.min_windows) == ([3, 9, 8], 99)
    again = operator.post("/rollouts", data={"bundle": bundle_id}, headers=own(operator))
    assert again.status_code == 409
    assert "abort it or let it end first" in again.text


def test_a_bundle_that_is_none_is_told_and_starts_nothing(engine: Engine, operator: httpx.Client) -> None:
    for bundle in ("nope", HOSTILE, "x" * 5000):
        shown = operator.get("/rollouts/new", params={"bundle": bundle[:500]})
        started = operator.post("/rollouts", data={"bundle": bundle}, headers=own(operator))
        for reply in (shown, started):
            assert (reply.status_code, "<script>alert" in reply.text) == (409, False)
    with engine.begin() as connection:
        assert connection.execute(select(func.count()).select_from(rollouts)).scalar_one() == 0
    assert operator.post("/rollouts", content=b"x" * 20_000, headers=own(operator)).status_code == 413


def test_hostile_names_are_text(running: Trial, operator: httpx.Client, now_ns: int) -> None:
    running.refuse("d-0010", HOSTILE)
    with running.engine.begin() as connection:
        connection.execute(update(devices).values(hardware=HOSTILE, site=HOSTILE))
        connection.execute(update(bundles).where(bundles.c.version == 2).values(profile=HOSTILE))
        connection.execute(update(rollouts).where(rollouts.c.rollout_id == running.id).values(reason=HOSTILE))
    for path in ("/rollouts", f"/rollouts/{running.id}", "/rollouts/new?bundle=pump-2-5f3a"):
        text = operator.get(path).text
        assert "<script>alert" not in text, path
        assert "&lt;script&gt;alert(1)" in text, path


def test_only_steps_that_the_service_would_take_are_offered() -> None:
    events: dict[str, Event] = {"pause": "pause", "resume": "resume", "rollback": "halt", "abort": "abort"}
    states: tuple[State, ...] = get_args(State)
    for state in states:
        assert set(steps_of(state)) == {step for step, event in events.items() if (state, event) in TRANSITIONS}


# --- points over time ----------------------------------------------------------------------------------------------


@pytest.fixture
def connection(engine: Engine) -> Iterator[Connection]:
    with engine.begin() as connection:
        yield connection


def judged(connection: Connection, at: int, n_windows: int, present: bool = True) -> None:
    figures = StageFigures(GateSettings(), [DeviceFigures("d", present, Counts(n_windows=n_windows))])
    plan = Plan(stages=[Stage(name="shadow", mode="shadow", devices=["d"])])
    rollout = Rollout("r", "pump", "b", None, "running", 0, 0, plan, 0, None, "")
    verdicts = judge(figures)
    note_point(connection, rollout, overall(verdicts)[0], verdicts, at)


def test_points_are_kept_when_a_verdict_changes_or_windows_have_grown(connection: Connection) -> None:
    for at, (n, present) in enumerate(
        [(100, True), (100, True), (101, True), (102, True), (102, False), (102, False)], start=1
    ):
        judged(connection, at, n, present)
    assert [(point.at_ns, point.n_windows) for point in points_of(connection, "r")] == [(1, 100), (4, 102), (5, 102)]


def test_a_gate_that_cannot_make_up_its_mind_does_not_fill_the_table(connection: Connection) -> None:
    for at in range(1, 2 * MAX_POINTS):
        judged(connection, at, 100, present=at % 2 == 0)
    points = points_of(connection, "r")
    assert MAX_POINTS // 2 <= len(points) <= MAX_POINTS
    assert (points[0].at_ns, points[-1].at_ns) == (1, 2 * MAX_POINTS - 1)


def test_a_plot_stays_in_its_frame_and_keeps_its_ends() -> None:
    plot = line_plot(list(range(1000)), [("a", [k / 500 for k in range(1000)])], most_top=1.0)
    places = [tuple(map(float, place.split(","))) for place in plot.lines[0].points.split()]
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in places)
    assert (places[0], places[-1], plot.top) == ((0.0, float(HEIGHT)), (float(WIDTH), 0.0), 1.0)
    one = line_plot([5], [("a", [0.5])])
    assert one.lines[0].points.count(",") == 2
    assert line_plot([], []).lines == ()


def test_five_thousand_devices_make_a_bounded_page(engine: Engine, operator: httpx.Client, now_ns: int) -> None:
    add_pumps(engine, 5000, now_ns)
    running = Trial(engine, publish(engine, 1, now_ns), now_ns)
    running.step()
    page = operator.get(f"/rollouts/{running.id}")
    assert page.status_code == 200
    assert all(words in page.text for words in ("500 devices", "4,500", "+ "))
    assert len(page.text) < 200_000
    assert page.text.count('<use href="#uptake-') < 6 * MAX_CELLS + 20


def test_a_rollout_without_devices_that_are_known_has_a_page(engine: Engine, operator: httpx.Client, now_ns: int) -> None:
    with engine.begin() as connection:
        add_rollout(connection, "pump-9", None, now_ns)
        connection.execute(insert(bundles).values(_bundle("pump-9")))
    text = operator.get("/rollouts/roll-pump-9").text
    assert "None of its devices is known" in text
    assert "No gate has judged yet" in text


def _bundle(bundle_id: str) -> dict[str, object]:
    told = {"bundle_id": bundle_id, "profile": "pump", "version": 9, "spec_hash": "s", "sha256": "a", "size": 1}
    return told | {"created_ns": 1, "signed_ns": 1, "manifest": {}, "card": {}}
