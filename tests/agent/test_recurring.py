"""A job that comes round: at its own pace, at once when it is hurried, and whatever happens in it."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from agent.uplink.recurring import Recurring
from tests.waiting import wait_until


class Job:
    """`wait_s`: what it answers; where `defect` is set, it raises that instead, once."""

    def __init__(self, wait_s: float, first_s: float) -> None:
        self.turns = 0
        self.wait_s = wait_s
        self.defect: Exception | None = None
        self.recurring = Recurring("job", self.turn, first_s)

    def turn(self) -> float:
        self.turns += 1
        defect, self.defect = self.defect, None
        if defect is not None:
            raise defect
        return self.wait_s


@pytest.fixture
def jobs() -> Iterator[list[Job]]:
    made: list[Job] = []
    yield made
    for job in made:
        job.recurring.stop()
        assert job.recurring.join(10)


def started(jobs: list[Job], wait_s: float, first_s: float = 0.0, defect: Exception | None = None) -> Job:
    job = Job(wait_s, first_s)
    job.defect = defect
    jobs.append(job)
    job.recurring.start()
    return job


def test_it_comes_round_as_often_as_it_says(jobs: list[Job]) -> None:
    job = started(jobs, wait_s=0.001)
    wait_until(lambda: job.turns > 20)


def test_it_waits_for_its_first_turn_unless_it_is_hurried(jobs: list[Job]) -> None:
    job = started(jobs, wait_s=3600.0, first_s=3600.0)
    assert job.turns == 0
    job.recurring.hurry()
    wait_until(lambda: job.turns == 1)


def test_a_defect_is_told_and_ends_nothing(jobs: list[Job], caplog: pytest.LogCaptureFixture) -> None:
    job = started(jobs, wait_s=0.001, defect=ZeroDivisionError("oops"))
    wait_until(lambda: "a defect" in caplog.text)
    assert "ZeroDivisionError: oops" in caplog.text
    assert job.turns == 1
    job.recurring.hurry()
    wait_until(lambda: job.turns > 3)


def test_once_stopped_it_has_no_further_turn(jobs: list[Job]) -> None:
    job = started(jobs, wait_s=0.001)
    wait_until(lambda: job.turns)
    job.recurring.stop()
    assert job.recurring.join(10)
    turns = job.turns
    job.recurring.hurry()
    assert job.turns == turns


def test_one_that_was_never_started_has_come_to_its_end() -> None:
    assert Recurring("job", threading.active_count).join(0)
