"""What an earlier life left open is closed by the next one, also where nobody goes on from it: it would stay open for ever."""

from __future__ import annotations

import signal
from pathlib import Path

import msgspec

from agent.asset import AssetWatch, SavedState, ended
from agent.streams import SavedStreams
from models.contract.config import load_profile
from models.contract.items import Alert, Item, SensorFault, decode_body
from tests.agent.agent_process import AgentProcess
from tests.agent.outboxes import open_outbox, shut
from tests.builders import alert, sensor_fault, stamp
from tests.waiting import wait_until

STATE = SavedState(spec_hash="0" * 16, vectors=bytes(8), done=False)
SILENT = SensorFault(
    fault_id="missing-1", source="", asset="here", channel="", fault="missing", opened_ns=stamp().wall_ns, detail="silent"
)


def closed(items: list[Item]) -> list[str]:
    bodies = [decode_body(item.kind, item.body) for item in items]
    closings = [body for body in bodies if isinstance(body, Alert | SensorFault) and body.closed_ns is not None]
    return sorted(body.alert_id if isinstance(body, Alert) else body.fault_id for body in closings)


def test_a_state_that_nobody_goes_on_from_is_left_with_nothing_open() -> None:
    streams = SavedStreams(memories={"x": b"kept"}, alerts={"x": alert(2)})
    left = msgspec.structs.replace(STATE, alert=alert(1), faults=[sensor_fault(1)], streams=streams)
    bodies, after = ended(left, 0)
    assert [body.closed_ns == body.opened_ns for body in bodies] == [True] * 3  # type: ignore[attr-defined]
    assert after == msgspec.structs.replace(STATE, streams=SavedStreams(memories={"x": b"kept"}))
    assert ended(after, 0) == ([], after)


def test_alerts_and_faults_that_a_restart_finds_open_are_closed_once(tmp_path: Path, empty_outbox: Path) -> None:
    """Of an asset whose profile has changed, of one that is configured no more, and of one that was silent and is heard."""
    agent = AgentProcess(tmp_path, empty_outbox)
    path = agent.state / "outbox.db"
    box = open_outbox(path)
    other = msgspec.structs.replace(sensor_fault(2), fault_id="fault-of-gone")
    states = {
        "here": msgspec.structs.replace(STATE, alert=msgspec.structs.replace(alert(1), alert_id="alert-of-here")),
        "gone": msgspec.structs.replace(STATE, faults=[other]),
        "": msgspec.structs.replace(STATE, faults=[SILENT]),
    }
    box.append([], stamp(), states)
    shut(box)
    try:
        agent.start()
        wait_until(lambda: len(closed(agent.stored_items())) >= 3, what="what was open to be closed")
        assert agent.status()["faults"] == []
        assert agent.signal(signal.SIGTERM) == 0
        agent.start()
        wait_until(lambda: agent.status()["readings"] > 5, what="readings")
        assert agent.signal(signal.SIGTERM) == 0
    finally:
        agent.close()
    assert closed(agent.stored_items()) == ["alert-of-here", "fault-of-gone", "missing-1"]
    box = open_outbox(path)
    assert [saved.faults for saved in box.saved_states().values()] == [[], [], []]
    assert box.saved_states()["here"].spec_hash == AssetWatch("here", load_profile("host")).spec.hash
    shut(box)
