"""A bad hub against the real agent, over real sockets: what stayed on disk meanwhile, and what the hub has in the end."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.uplink.hub_link import HttpHubLink
from agent.uplink.set_aside import SetAside
from agent.uplink.sync import Sync
from models.contract.items import LANES, decode_body
from models.errors import LinkError
from tests.agent.agent_process import CONFIG, AgentProcess
from tests.agent.faulty_hub import Fault, FaultyHub, status
from tests.agent.outboxes import open_outbox, shut
from tests.builders import TurnedClock, aggregate, alert, signing_key
from tests.waiting import wait_until

HUB = """
[hub]
url = "{url}"
join_token_file = "token"
sync_s = 0.2
checkin_s = 0.2
update_s = 0.2
health_s = 0.1
timeout_s = {timeout_s}
"""
FAULTS = {
    "500": Fault(answer=status("500 Oops")),
    "500 after storing": Fault(stores=True, answer=status("500 Oops")),
    "429": Fault(answer=status("429 Too Many Requests")),
    "429 with a pause": Fault(answer=status("429 Too Many Requests", "Retry-After: 1")),
    "503 until a date": Fault(
        answer=status("503 Busy", "Date: Thu, 26 Nov 2026 21:00:00 GMT", "Retry-After: Thu, 26 Nov 2026 21:00:01 GMT")
    ),
    "garbage": Fault(stores=True, answer=b"\x00\x01\x02\xff garbage\r\n\r\n"),
    "a page of some proxy": Fault(answer=status("200 OK", body=b"<html>please sign in</html>")),
    "half a response": Fault(stores=True, answer=b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"),
    "half a header": Fault(stores=True, answer=b"HTTP/1.1 200 OK\r\nConte"),
    "reset before storing": Fault(resets=True),
    "reset after storing": Fault(stores=True, resets=True),
    "hung up": Fault(stores=True),
    "silence": Fault(hangs=True),
    "silence after storing": Fault(stores=True, hangs=True),
}


@pytest.fixture
def hub() -> Iterator[FaultyHub]:
    made = FaultyHub().open()
    yield made
    made.close()


def start(folder: Path, empty_outbox: Path, hub: FaultyHub, timeout_s: float) -> AgentProcess:
    (folder / "token").write_text("open sesame")
    agent = AgentProcess(folder, empty_outbox, CONFIG + HUB.format(url=hub.url, timeout_s=timeout_s))
    agent.start()
    return agent


def on_disk(agent: AgentProcess) -> dict[str, list[tuple[int, int]]]:
    """(first_seq, seq) of each stored item by lane, whose files passed every check and whose bodies were decoded."""
    items = agent.stored_items()
    for item in items:
        decode_body(item.kind, item.body)
    return {lane: [(item.first_seq, item.seq) for item in items if item.lane == lane] for lane in LANES}


def account(agent: AgentProcess, hub: FaultyHub) -> None:
    """Every number from 1 on is at the hub, or on disk and whole; none has gone from disk that the hub has not."""
    for lane, stored in on_disk(agent).items():
        at_hub = hub.memory.seen[lane]
        assert at_hub == set(range(1, len(at_hub) + 1)), f"{lane}: a hole at the hub"
        if stored:
            numbers = [seq for first, last in stored for seq in range(first, last + 1)]
            assert numbers == list(range(numbers[0], numbers[-1] + 1)), f"{lane}: a hole on disk"
            assert numbers[0] <= len(at_hub) + 1, f"{lane}: lost between disk and hub"


@pytest.mark.parametrize("name", FAULTS)
def test_nothing_is_lost_and_nothing_counts_twice(name: str, hub: FaultyHub, tmp_path: Path, empty_outbox: Path) -> None:
    fault = FAULTS[name]
    agent = start(tmp_path, empty_outbox, hub, timeout_s=0.5)
    try:
        wait_until(lambda: hub.memory.cursors["aggregates"] >= 2, what="items at the hub")
        hub.fault = fault
        wait_until(lambda: hub.n_faults >= 2, 60, "the agent to try again")
        before = len(hub.memory.seen["aggregates"])
        account(agent, hub)
        told = agent.status()
        assert told is not None
        assert told["hub"]["sync_error"]
        assert told["backlog_items"] > 0
        n_checkins = len(hub.checkins)
        wait_until(lambda: len(hub.checkins) > n_checkins, what="a check-in meanwhile")
        hub.fault = None
        wait_until(lambda: len(hub.memory.seen["aggregates"]) > before + 5, 60, "new items at the hub")
        wait_until(lambda: not agent.status()["hub"]["sync_error"], what="the error to be over")
        assert agent.signal(signal.SIGTERM) == 0
    finally:
        agent.close()
    account(agent, hub)
    assert hub.memory.rejected == []
    assert hub.memory.redelivered or not fault.stores
    assert not (agent.state / "set-aside").exists()
    assert "Traceback" not in agent.log.read_text()


def test_a_hanging_hub_does_not_delay_the_end(hub: FaultyHub, tmp_path: Path, empty_outbox: Path) -> None:
    agent = start(tmp_path, empty_outbox, hub, timeout_s=600.0)
    try:
        wait_until(lambda: hub.memory.cursors["aggregates"] >= 1, what="an item at the hub")
        hub.fault = Fault(hangs=True)
        wait_until(lambda: hub.n_faults, what="the agent to wait for an answer")
        started_s = time.monotonic()
        assert agent.signal(signal.SIGTERM) == 0
        assert time.monotonic() - started_s < 45, "not the ten minutes for which it would wait for an answer"
    finally:
        agent.close()
    account(agent, hub)
    assert "Traceback" not in agent.log.read_text()


def test_a_hub_that_was_gone_for_an_hour_gets_the_hour(tmp_path: Path, outbox_path: Path) -> None:
    hub = FaultyHub().open()
    hub.memory.device_key = signing_key().public_bytes
    outbox, clock, link = open_outbox(outbox_path), TurnedClock(), HttpHubLink(hub.url, 60.0)
    sync = Sync(outbox, link, clock, "dev-1", signing_key().sign, SetAside(tmp_path))
    outbox.append([aggregate()], clock.now())
    sync.drain()
    hub.close()
    for turn in range(360):  # ten machines, a window each ten seconds, an alert now and then
        clock.now_s += 10.0
        outbox.append([*(aggregate(turn) for _ in range(10)), *([alert(turn)] if turn % 60 == 0 else [])], clock.now())
        if turn % 30 == 0:
            with pytest.raises(LinkError):
                sync.drain()
    assert outbox.backlog_items == 3606
    hub.open()
    sync.drain()
    assert outbox.backlog_items == 0
    assert hub.memory.cursors == {"aggregates": 3601, "alerts": 6, "evidence": 0}
    assert hub.memory.redelivered == 0
    assert list(hub.memory.bodies["alerts"].values()) == [alert(turn) for turn in range(0, 360, 60)]
    link.close()
    shut(outbox)
    hub.close()
