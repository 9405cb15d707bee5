"""What the hub makes of actions: they are received and have their place in the ledger, as any item."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from hub.ingest.admission import fault_of
from hub.settings import init_hub
from models.contract.items import Action, decode_body, encode_body
from models.errors import ItemError
from tests.hub.conftest import FAST, running
from tests.hub.simulated_device import alert, item

ACTION = Action(
    rule="siren", actor="mqtt", target="127.0.0.1:1883 siren", event="alert", event_id="a1", edge="opened", asset="p1",
    outcome="done", took_ms=12,
)  # fmt: skip


def test_actions_are_taken_beside_alerts_and_nothing_is_quarantined(tmp_path: Path) -> None:
    with running(init_hub(tmp_path / "hub", FAST)) as client:
        device = client.enrolled()
        ack = client.ingest(device.batch([item(alert(), 1), item(ACTION, 2), item(alert(closed_ns=10**18), 3)]))
        assert (ack.cursors, ack.rejected) == ({"alerts": 3}, [])
        ledger = client.settled_ledger()
        assert (ledger["items"], ledger["missing"]) == (3, 0)
        assert len(client.get("/v1/alerts")) == 1


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"took_ms": -1}, "action: took_ms is -1"),
        ({"outcome": "maybe"}, "Invalid enum value 'maybe'"),
        ({"target": "x" * 501}, "length <= 500"),
        ({"asset": "x" * 65}, "length <= 64"),
    ],
)
def test_an_action_that_makes_no_sense_is_refused_alone(change: dict[str, object], says: str) -> None:
    bad = item(msgspec.structs.replace(ACTION, **change), 1)
    assert says in (fault_of(bad) or "")
    if "took_ms" not in change:
        with pytest.raises(ItemError):
            decode_body("action", encode_body(msgspec.structs.replace(ACTION, **change)))
