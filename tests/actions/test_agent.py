"""A real agent process with no network beyond this machine and no hub: a pump fails, and everything configured happens."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from agent.actions.home_assistant import unique_id
from agent.status.control import ask
from firmware_sim.links.broker import Broker
from firmware_sim.links.pty import PtyLink
from firmware_sim.scenario import AssetPlan, FaultPlan, Scenario
from firmware_sim.virtual import make_nodes
from models.contract.items import Action, Alert, SensorFault, decode_body
from tests.actions.conftest import Listener, NotingProgram, Received
from tests.agent.outboxes import stored_items
from tests.ports import own_port
from tests.waiting import wait_until

pytestmark = pytest.mark.slow

# Event time, which the agent works in: ten minutes to commission, then a stuck sensor, then a pump that clogs and is cleared.
SCENARIO = Scenario(
    assets=(AssetPlan(name="pump-1", link="serial", format="jsonl"),),
    faults=(
        FaultPlan(asset="pump-1", kind="stuck", channel="flow", start_s=100, end_s=140),
        FaultPlan(asset="pump-1", kind="stuck", channel="flow", start_s=720, end_s=760),
        FaultPlan(asset="pump-1", kind="blockage", start_s=850, end_s=950),
    ),
    duration_s=1100,
)
TOML = """\
[device]
id = "gw-1"
state_dir = "state"

[[assets]]
id = "pump-1"
profile = "pump"

[[serial]]
name = "line"
port = "{port}"
asset = "pump-1"

[[actions]]
name = "lamp"
on = "alert"
when = ["opened", "closed"]
min_interval_s = 0
  [actions.mqtt]
  port = {mqtt}
  timeout_s = 60
  topic = "lamp/{{asset}}"
  payload = "ON"
  payload_closed = "OFF"

[[actions]]
name = "stop"
on = "alert"
min_interval_s = 3600
  [actions.serial]
  port = "{relay}"
  timeout_s = 60
  command = "STOP {{asset}}\\n"

[[actions]]
name = "hook"
on = "alert"
  [actions.webhook]
  url = "{hook}"
  timeout_s = 60

[[actions]]
name = "script"
on = "sensor_fault"
faults = ["stuck"]
  [actions.program]
  command = {command}
  timeout_s = 60

[[actions]]
name = "rehearsal"
on = "alert"
dry_run = true
  [actions.webhook]
  url = "{hook}"

[[actions]]
name = "nobody"
on = "alert"
  [actions.mqtt]
  port = {nobody}
  timeout_s = 60

[home_assistant]
port = {mqtt}
"""


class Agent:
    """`tocsin agent run` in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / "state"
        with (folder / "log").open("ab") as log:
            command = [sys.executable, "-m", "tocsin", "agent", "run", "--config", str(folder / "tocsin.toml")]
            self.process = subprocess.Popen(command, stdout=log, stderr=log)

    def status(self) -> dict[str, Any]:
        """One who is held up for longer than `ask` is patient is asked again."""
        told = wait_until(lambda: ask(self.state) or self.process.poll() is not None, 60, "the agent to answer")
        assert isinstance(told, dict), (self.folder / "log").read_text()
        return told

    def shown(self) -> str | None:
        """The status as a person reads it; None where the agent was held up for longer than the command waits."""
        command = [sys.executable, "-m", "tocsin", "agent", "status", "--config", str(self.folder / "tocsin.toml")]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
        return None if done.returncode == 3 else done.stdout

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def bodies(self, kind: type) -> list[Any]:
        items = [item for item in stored_items(self.state / "outbox.db") if item.lane == "alerts"]
        return [body for body in (decode_body(item.kind, item.body) for item in items) if isinstance(body, kind)]


@contextmanager
def running(folder: Path) -> Iterator[Agent]:
    agent = Agent(folder)
    try:
        yield agent
    finally:
        with suppress(ProcessLookupError):
            agent.process.kill()
        agent.process.wait(10)


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[tuple[Path, list[bytes]]]:
    """A serial port with a relay on it, and what it was told."""
    master, slave = os.openpty()
    tty.setraw(slave)
    path, told = tmp_path / "ttyRelay", list[bytes]()
    path.symlink_to(os.ttyname(slave))

    def read() -> None:
        with suppress(OSError):
            while data := os.read(master, 1000):
                told.append(data)

    thread = threading.Thread(target=read)
    thread.start()
    yield path, told
    os.write(slave, b"\x04")  # lets the reader go on to see that it is over
    os.close(slave)
    thread.join(30)
    os.close(master)


def play(link: PtyLink, from_s: float, until_s: float, node: Any) -> None:
    """What the pump's sensors say from here to there, as fast as the agent takes it."""
    step_s = 20.0
    at_s = from_s
    while at_s < until_s:
        at_s = min(at_s + step_s, until_s)
        link.write(node.due(at_s))
        assert link.flush(120)


def configured(folder: Path, broker: Broker, receiver: Received, program: NotingProgram, relay: Path) -> PtyLink:
    """Writes the configuration; the pump's serial line."""
    link, command = PtyLink(folder / "ttyPump"), json.dumps(program.command())
    config = TOML.format(
        port=link.address, relay=relay, mqtt=broker.port, hook=receiver.url, nobody=own_port(), command=command
    )
    (folder / "tocsin.toml").write_text(config)
    return link


def test_an_agent_that_is_killed_and_comes_back_does_not_act_a_second_time(
    tmp_path: Path, broker: Broker, receiver: Received, program: NotingProgram, relay: tuple[Path, list[bytes]]
) -> None:
    link = configured(tmp_path, broker, receiver, program, relay[0])
    node = make_nodes(SCENARIO, SCENARIO.virtual_start_ns)["pump-1"]
    with running(tmp_path) as agent:
        assert link.wait_for_reader(60)
        play(link, 0, 940, node)
        wait_until(lambda: relay[1] and receiver.requests)
        agent.process.kill()
        agent.process.wait(10)
    wait_until(lambda: not link.has_reader)
    with running(tmp_path) as agent:
        assert link.wait_for_reader(60)
        assert agent.status()["assets"]["pump-1"]["alert"]
        play(link, 940, 1100, node)
        wait_until(lambda: agent.status()["assets"]["pump-1"]["state"] == "normal")
        assert agent.stop() == 0, (tmp_path / "log").read_text()
        records = [record for record in agent.bodies(Action) if record.rule in ("stop", "hook", "lamp")]
    opened = [record for record in records if record.edge == "opened"]
    assert {"hook", "stop"} <= {record.rule for record in opened}
    # A kill between a record and the note that it is kept has it told a second time, as interrupted.
    assert all(record.outcome == "done" or "interrupted" in record.reason for record in opened)
    assert (b"".join(relay[1]), len(receiver.requests)) == (b"STOP pump-1\n", 1)
    assert [record.rule for record in records if record.edge == "closed"] == ["lamp"]
    link.close()


def test_a_pump_that_fails_sets_everything_off_with_no_hub(
    tmp_path: Path,
    broker: Broker,
    listen: Callable[[], Listener],
    receiver: Received,
    program: NotingProgram,
    relay: tuple[Path, list[bytes]],
) -> None:
    link, listener = configured(tmp_path, broker, receiver, program, relay[0]), listen()
    node = make_nodes(SCENARIO, SCENARIO.virtual_start_ns)["pump-1"]
    with running(tmp_path) as agent:
        assert link.wait_for_reader(60)
        play(link, 0, 700, node)
        wait_until(lambda: agent.status()["assets"]["pump-1"]["state"] == "normal")
        assert program.runs == 0  # a sensor stuck, but while commissioning
        play(link, 700, 830, node)
        wait_until(lambda: program.runs == 1)
        assert program.stdin["text"].startswith("sensor fault opened: pump-1.flow stuck")
        assert receiver.requests == []  # a sensor's fault is not the machine's
        play(link, 830, 940, node)
        ha_state = "tocsin/gw-1/pump-1/state"
        wait_until(lambda: (listener.latest(ha_state) or {}).get("problem") == "ON")
        assert listener.latest(ha_state)["score"] > 3
        play(link, 940, 1100, node)
        wait_until(lambda: listener.payloads("lamp/pump-1") == [b"ON", b"OFF"])
        wait_until(lambda: listener.latest(ha_state)["problem"] == "OFF")
        wait_until(lambda: receiver.requests and relay[1] and agent.status()["actions"]["rules"]["nobody"].get("failed"))
        assert listener.latest(f"homeassistant/device/{unique_id('gw-1', 'pump-1')}/config")["device"]["name"] == "pump-1"
        said = wait_until(agent.shown)
        assert "action lamp (mqtt): 2 done" in said
        assert "action rehearsal (webhook): 1 dry run; last: dry_run would POST to" in said
        assert agent.stop() == 0, (tmp_path / "log").read_text()
        check_records(agent, receiver, relay[1])
    wait_until(lambda: listener.payloads("tocsin/gw-1/availability")[-1] == b"offline")
    assert "Traceback" not in (tmp_path / "log").read_text()
    link.close()


def check_records(agent: Agent, receiver: Received, told: list[bytes]) -> None:
    """What is on disk when all is over."""
    alerts, records = agent.bodies(Alert), agent.bodies(Action)
    assert [a.closed_ns is None for a in alerts] == [True, False]
    assert [b["event_id"] for b in receiver.bodies] == [alerts[0].alert_id]
    assert b"".join(told) == b"STOP pump-1\n"
    by_rule: dict[str, list[Action]] = {}
    for record in records:
        by_rule.setdefault(record.rule, []).append(record)
    outcomes = {name: [(r.edge, r.outcome) for r in found] for name, found in by_rule.items()}
    assert outcomes == {
        "lamp": [("opened", "done"), ("closed", "done")],
        "stop": [("opened", "done")],
        "hook": [("opened", "done")],
        "script": [("opened", "suppressed"), ("opened", "done")],
        "rehearsal": [("opened", "dry_run")],
        "nobody": [("opened", "failed")],
    }
    assert "commissioning: pump-1" in by_rule["script"][0].reason
    assert "Connection refused" in by_rule["nobody"][0].reason
    assert {r.event_id for r in by_rule["script"]} <= {f.fault_id for f in agent.bodies(SensorFault)}
    assert all(0 <= r.took_ms < 45_000 for r in records), "none waited for what another does"
