"""The device's dealings with the hub: patient when it fails, never in anybody's way, and finished before it stops."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from agent.storage.outbox import Outbox
from agent.uplink.identity import Enrolment, Identity
from agent.uplink.set_aside import SetAside
from agent.uplink.sync import Sync
from agent.uplink.uplink import Uplink
from models.contract.checkin import CheckIn, CheckInReply, DesiredSlots
from models.contract.envelope import open_sealed, read_sealed
from models.errors import ConfigError, LinkError
from tests.agent.hub_in_memory import MemoryHub
from tests.agent.outboxes import open_outbox, shut
from tests.builders import T0_NS, TurnedClock, aggregate, stamp
from tests.waiting import wait_until

HUB = Enrolment(hub_id="hub-1", hub_public_key=bytes(32))
REPLY = CheckInReply(hub_time_ns=T0_NS, next_checkin_s=60.0, slots=[DesiredSlots(profile="rig")])
CHECK_IN = CheckIn(at=stamp(), epoch="e", agent_version="1", starts=1, uptime_s=1.0, rss_bytes=1, peak_rss_bytes=1,
                   backlog_items=0, backlog_bytes=0)  # fmt: skip


@dataclass(frozen=True)
class Pace:
    sync_s: float = 0.01
    checkin_s: float = 0.01
    update_s: float = 0.01


RARELY = Pace(3600.0, 3600.0, 3600.0)


class Room:
    """An uplink with a hub in memory; `wished` is what the updater was asked for."""

    def __init__(self, directory: Path, outbox: Outbox, pace: Pace = RARELY) -> None:
        self.hub = MemoryHub(replies={"/v1/checkin": msgspec.msgpack.encode(REPLY)})
        identity = Identity(directory, "dev-1")
        identity.enrolment = HUB
        self.hub.device_key = identity._key.public_bytes
        self.outbox = outbox
        self.wished: list[list[DesiredSlots]] = []
        self.stopping = False
        self.enrol: Callable[[], Enrolment] = lambda: HUB
        updater = SimpleNamespace(reconcile=self.wished.append)
        self.uplink = Uplink(
            identity=identity,
            link=self.hub,
            sync=Sync(outbox, self.hub, TurnedClock(), "dev-1", identity.sign, SetAside(directory)),
            updater=updater,  # type: ignore[arg-type]
            enrol=self._enrol,
            checkin_body=lambda: CHECK_IN,
            stopping=lambda: self.stopping,
            pace=pace,
            drawn=lambda: 0.5,
        )

    def _enrol(self) -> Enrolment:
        return self.enrol()


@pytest.fixture
def room(tmp_path: Path, outbox_path: Path) -> Iterator[Room]:
    outbox = open_outbox(outbox_path)
    yield Room(tmp_path, outbox)
    shut(outbox)


def fail_with(error: Exception) -> Callable[[], Enrolment]:
    def enrol() -> Enrolment:
        raise error

    return enrol


def test_a_check_in_says_how_things_stand_and_the_next_update_works_on_what_is_desired(room: Room) -> None:
    room.uplink.run_update()
    assert room.wished == []
    room.uplink.run_checkin()
    assert room.wished == []
    room.uplink.run_update()
    ((path, body),) = room.hub.posts
    assert path == "/v1/checkin"
    assert open_sealed(read_sealed(body, "checkin"), room.hub._verify, CheckIn) == CHECK_IN
    assert room.wished == [REPLY.slots]


def test_a_check_in_passes_on_the_hub_s_time_and_how_far_it_may_be_off(room: Room) -> None:
    heard: list[tuple[int, int]] = []
    room.uplink.heard_hub_time = lambda hub_ns, error_ns: heard.append((hub_ns, error_ns))
    began_ns = time.monotonic_ns()
    room.uplink.run_checkin()
    took_ns = time.monotonic_ns() - began_ns
    ((hub_ns, error_ns),) = heard
    assert 0 <= hub_ns - T0_NS == error_ns <= took_ns / 2


def test_a_root_that_the_hub_sends_is_passed_on_with_its_signature(room: Room) -> None:
    heard: list[tuple[bytes, bytes]] = []
    room.uplink.heard_root = lambda root, signature: heard.append((root, signature))
    room.uplink.run_checkin()
    assert heard == []
    reply = msgspec.structs.replace(REPLY, root=b"root", root_signature=b"signature")
    room.hub.replies["/v1/checkin"] = msgspec.msgpack.encode(reply)
    room.uplink.run_checkin()
    assert heard == [(b"root", b"signature")]


def test_sync_empties_the_outbox(room: Room) -> None:
    room.outbox.append([aggregate()], stamp())
    room.uplink.run_sync()
    assert room.outbox.backlog_items == 0


@pytest.mark.parametrize(
    "error", [LinkError("refused"), LinkError("busy", 5.0), ConfigError("hub", "a device that is enrolled")]
)
def test_a_failure_is_told_once_waited_out_and_does_not_raise(
    error: Exception, room: Room, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    room.enrol = fail_with(error)
    attempts = room.uplink.sync_attempts
    for failures in (1, 2, 3):
        room.uplink.run_sync()
        assert attempts.failures == failures
        attempts.not_before_s = 0.0
    assert attempts.last_error == str(error)
    assert len(caplog.records) == 1
    room.enrol = lambda: HUB
    room.uplink.run_sync()
    assert (attempts.failures, attempts.last_error) == (0, "")
    assert "works again after 3 failures" in caplog.text


def test_while_it_waits_nothing_is_tried_and_the_other_job_goes_on(room: Room) -> None:
    room.outbox.append([aggregate()], stamp())
    room.uplink.sync_attempts.not_before_s = time.monotonic() + 100
    room.uplink.run_sync()
    assert room.hub.posts == []
    room.uplink.run_checkin()
    assert [path for path, _ in room.hub.posts] == ["/v1/checkin"]


@pytest.mark.parametrize("reply", [b"", b"<html>", b"\x81\xa1x" + b"\x91" * 100_000 + b"\xc0", b"\x81\xa5slots\xa2\xff\xfe"])
def test_a_reply_that_is_no_check_in_reply_is_a_failed_link(reply: bytes, room: Room) -> None:
    room.hub.replies["/v1/checkin"] = reply
    room.uplink.run_checkin()
    assert "no check-in reply" in room.uplink.checkin_attempts.last_error
    assert room.wished == []


def test_once_stopping_nothing_begins(room: Room) -> None:
    room.stopping = True
    room.uplink.run_checkin()
    assert room.hub.posts == []


def test_the_three_go_round_each_at_its_pace_until_they_are_stopped(room: Room, tmp_path: Path) -> None:
    room = Room(tmp_path, room.outbox, Pace())
    room.outbox.append([aggregate()], stamp())
    room.uplink.start()
    wait_until(lambda: room.wished and not room.outbox.backlog_items, what="a sync, a check-in and an update")
    room.outbox.append([aggregate(1)], stamp())
    wait_until(lambda: not room.outbox.backlog_items, what="another sync")
    room.stopping = True
    room.uplink.stop(60)
    assert all(not job._thread.is_alive() for job in room.uplink._jobs.values())


def test_what_is_urgent_does_not_wait_for_its_turn_but_for_what_the_hub_asked(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.uplink.attempts.FIRST_WITHIN_S", 3600.0)  # its turn would come while the test waits
    room.uplink.start()
    room.outbox.append([aggregate()], stamp())
    room.uplink.hurry_sync()
    wait_until(lambda: not room.outbox.backlog_items, what="a hurried sync")
    room.uplink.sync_attempts.failed(LinkError("busy", 100.0), time.monotonic(), 0.5)
    room.outbox.append([aggregate(1)], stamp())
    assert 99 < room.uplink.run_sync() < 151
    assert room.outbox.backlog_items == 1
    room.stopping = True
    room.uplink.stop(60)


def test_stopping_waits_for_what_is_under_way_and_no_longer_than_told(room: Room) -> None:
    under_way, go_on = threading.Event(), threading.Event()

    def slow() -> Enrolment:
        under_way.set()
        assert go_on.wait(60)
        return HUB

    room.enrol = slow
    room.uplink.start()
    room.uplink.hurry_sync()
    assert under_way.wait(60)
    room.stopping = True
    started_s = time.monotonic()
    room.uplink.stop(0.05)
    assert room.uplink.sync_attempts.busy.locked()
    assert time.monotonic() - started_s < 45
    go_on.set()
    room.uplink.stop(60)
    assert not room.uplink.sync_attempts.busy.locked()
