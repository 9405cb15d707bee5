"""One item among many that the hub cannot read: real agent, real hub. The rest arrives, and the sequence is whole."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from hub.settings import Hub, init_hub
from tests.agent.agent_process import CONFIG, AgentProcess
from tests.agent.outboxes import open_outbox, shut, spoil
from tests.builders import aggregate, alert, stamp
from tests.hub.test_api_serve import served
from tests.waiting import wait_until

N = 40
POISON_SEQ = 17
HUB = """
[hub]
url = "{url}"
join_token_file = "token"
sync_s = 0.2
timeout_s = 10.0
"""


def agent_with_poison(folder: Path, empty_outbox: Path, hub: Hub, url: str, poison: bytes) -> AgentProcess:
    """Its outbox holds aggregates, one of which has become `poison`, and an alert."""
    agent = AgentProcess(folder, empty_outbox, CONFIG + HUB.format(url=url))
    (folder / "token").write_text(hub.join_token)
    path = Path(shutil.copy(empty_outbox, agent.state / "outbox.db"))
    outbox = open_outbox(path)
    outbox.append([*(aggregate(n) for n in range(1, N + 1)), alert()], stamp())
    spoil(outbox, "aggregates", POISON_SEQ, poison)
    shut(outbox)
    agent.start()
    return agent


def asked(url: str, hub: Hub, path: str) -> Any:
    reply = httpx.get(f"{url}/v1/{path}", headers={"Authorization": f"Bearer {hub.admin_token}"}, timeout=60)
    return reply.raise_for_status().json()


def ledger_of(url: str, hub: Hub) -> dict[str, dict[str, Any]]:
    return {row["lane"]: row for row in asked(url, hub, "devices/dev-1/ledger")["lanes"]}


def confirmed(agent: AgentProcess) -> bool:
    return all(item.seq > N for item in agent.stored_items() if item.lane == "aggregates")


@pytest.mark.parametrize(
    ("poison", "quarantined", "reason"),
    [
        (msgspec.msgpack.encode({"asset": 7}), True, "aggregate: "),  # the envelope is fine, the item is not
        (b"\xc1" * 20, False, "400"),  # no message at all: the hub cannot even take the envelope apart
    ],
    ids=["an item", "an envelope"],
)
def test_a_poison_item_stops_nothing_and_leaves_no_hole(
    poison: bytes, quarantined: bool, reason: str, tmp_path: Path, empty_outbox: Path
) -> None:
    hub = init_hub(tmp_path / "hub", "lake_commit_s = 0.1\nport = 0\n")
    with served(hub) as (_, url):
        agent = agent_with_poison(tmp_path, empty_outbox, hub, url, poison)
        try:
            wait_until(lambda: (agent.status() or {})["hub"]["enrolled"], what="the enrolment")
            wait_until(lambda: ledger_of(url, hub).get("aggregates", {}).get("cursor", 0) >= N, 60, "all of it at the hub")
            wait_until(lambda: confirmed(agent), what="the agent to hear of it")
            assert agent.signal(signal.SIGTERM) == 0
        finally:
            agent.close()
        ledger, kept = ledger_of(url, hub), asked(url, hub, "quarantine")
    assert confirmed(agent), "what is confirmed is off the disk"
    assert (ledger["aggregates"]["n_missing"], ledger["alerts"]["n_missing"]) == (0, 0)
    assert ledger["alerts"]["received"] >= 1
    assert ledger["aggregates"]["rejected"] == int(quarantined)
    assert ledger["aggregates"]["evicted"] == int(not quarantined)
    files = sorted((agent.state / "set-aside").glob("*.msgpack"))
    if quarantined:
        assert [(row["device_id"], row["lane"], row["seq"]) for row in kept] == [("dev-1", "aggregates", POISON_SEQ)]
        assert reason in str(kept[0]["reason"])
        assert files == []
    else:
        assert kept == []
        [file] = files
        assert file.name.endswith(f"-aggregates-{POISON_SEQ}.msgpack")
        assert poison in file.read_bytes()
        assert reason in file.read_bytes().decode(errors="replace")
