"""What the session remembers of messages under way, in virtual time."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from agent.sources.mqtt_session import MAX_HELD, MAX_TOLD, STALL_S, Session
from agent.sources.mqtt_wire import Message


def message(mid: int, payload: bytes = b"", dup: bool = False) -> Message:
    payload = payload or b"%d" % mid
    return Message(b"t", payload, len(payload), mid, dup, False)


def messages(first: int, n: int, dup: bool = False) -> list[Message]:
    return [message(mid, dup=dup) for mid in range(first, first + n)]


class Held:
    """A session with a connection, and what was delivered of it."""

    def __init__(self, limit: int = 65_535) -> None:
        self.woken = 0
        self.session = Session(self._wake, limit)
        self.session.opened(False, 0.0)

    def _wake(self) -> None:
        self.woken += 1

    def come(self, *new: Message, now_s: float = 0.0) -> tuple[list[Message], Callable[[], None]]:
        fresh = self.session.fresh(new, now_s)
        acknowledge = self.session.hold(fresh)
        return fresh, acknowledge or (lambda: None)


def test_a_message_is_acknowledged_once_when_it_is_told_to() -> None:
    held = Held()
    fresh, acknowledge = held.come(*messages(1, 3))
    assert [m.mid for m in fresh] == [1, 2, 3]
    assert held.session.due() == []
    acknowledge()
    acknowledge()
    assert held.woken == 2
    assert held.session.due() == [1, 2, 3]
    assert held.session.due() == []


def test_messages_at_qos_0_ask_for_nothing() -> None:
    assert Held().session.hold([message(0), message(0)]) is None


def test_what_is_held_is_not_delivered_again_after_a_reconnection() -> None:
    held = Held()
    _, acknowledge = held.come(*messages(1, 2))
    held.session.opened(True, 1.0)
    fresh, _ = held.come(message(1, dup=True), message(3))
    assert [m.mid for m in fresh] == [3]
    assert held.session.n_repeated == 1
    acknowledge()
    assert held.session.due() == [1]  # 2 has not come on this connection yet
    held.come(message(2, dup=True))
    assert held.session.due() == [2]
    assert held.session.n_repeated == 2


def test_what_was_acknowledged_in_vain_is_acknowledged_again() -> None:
    held = Held()
    _, acknowledge = held.come(message(1))
    acknowledge()
    assert held.session.due() == [1]
    held.session.opened(True, 1.0)
    fresh, _ = held.come(message(1, dup=True))
    assert fresh == []
    assert held.session.due() == [1]


def test_an_id_that_the_broker_uses_for_another_message_is_another_message() -> None:
    held = Held()
    _, acknowledge = held.come(message(1, b"old"))
    acknowledge()
    held.session.due()
    held.session.opened(True, 1.0)
    fresh, _ = held.come(message(1, b"new", dup=True))
    assert [m.payload for m in fresh] == [b"new"]


def test_an_id_that_the_broker_uses_for_another_topic_is_another_message() -> None:
    """Two sensors that say the same value; the second one's message was lost with the connection before it was read."""
    held = Held()
    _, acknowledge = held.come(message(1, b"21.5"))
    acknowledge()
    held.session.due()
    held.session.opened(True, 1.0)
    fresh, _ = held.come(Message(b"u", b"21.5", 4, 1, True, False))
    assert [m.topic for m in fresh] == [b"u"]


@pytest.mark.parametrize("present", [True, False])
def test_nothing_is_acknowledged_on_a_connection_that_has_not_brought_it(present: bool) -> None:
    held = Held()
    _, acknowledge = held.come(message(1))
    acknowledge()
    held.session.due()
    held.session.opened(True, 1.0)
    held.come(message(1, dup=True))
    held.session.opened(present, 2.0)  # before that could be acknowledged
    assert held.session.due() == []
    if present:
        held.come(message(1, dup=True))
        assert held.session.due() == [1]


def test_what_a_broker_has_lost_is_said_to_be_abandoned_once() -> None:
    held = Held()
    held.session.opened(False, 0.0)
    assert not held.session.abandoned(), "nothing was held"
    held.come(*messages(1, 2))
    held.session.opened(True, 1.0)
    assert not held.session.abandoned()
    held.session.opened(False, 2.0)
    assert held.session.abandoned()
    assert not held.session.abandoned()


def test_a_late_acknowledgement_releases_no_later_message_of_the_same_id() -> None:
    held = Held()
    _, late = held.come(message(1, b"old"))
    held.session.opened(False, 1.0)  # the broker has lost the session
    fresh, acknowledge = held.come(message(1, b"new"))
    assert len(fresh) == 1
    late()
    assert held.session.due() == []
    acknowledge()
    assert held.session.due() == [1]


def test_a_lost_session_leaves_nothing_to_hold() -> None:
    held = Held(limit=4)
    held.come(*messages(1, 2))
    assert held.session.crowded
    held.session.opened(False, 1.0)
    assert not held.session.crowded


@pytest.mark.parametrize(("limit", "crowded_at"), [(1, 1), (2, 1), (20, 10), (65_535, MAX_HELD)])
def test_it_is_crowded_at_half_of_what_the_broker_allows(limit: int, crowded_at: int) -> None:
    held = Held(limit)
    held.come(*messages(1, crowded_at - 1))
    assert not held.session.crowded
    held.come(message(crowded_at))
    assert held.session.crowded


def test_memory_of_acknowledged_messages_is_bounded() -> None:
    held = Held()
    for first in range(1, 5000, 100):
        _, acknowledge = held.come(*messages(first, 100))
        acknowledge()
        held.session.due()
    assert len(held.session._told) == MAX_TOLD


def stall(held: Held, at_s: float, first: int, n: int) -> Callable[[], None]:
    """The broker sends `n`, and then waits."""
    _, acknowledge = held.come(*messages(first, n), now_s=at_s)
    pause_s = max(STALL_S, 4 * held.session._pause_s)
    assert not held.session.overdue(at_s + pause_s - 0.1)
    assert held.session.overdue(at_s + pause_s)
    assert not held.session.overdue(at_s + pause_s + 1)  # said once
    acknowledge()
    held.session.due()
    return acknowledge


def test_all_that_is_acknowledged_at_once_is_recognized_if_the_connection_breaks_over_it() -> None:
    """As when the journal takes ten thousand messages: their acknowledgements may be lost together."""
    held = Held()
    deliveries = [held.come(*messages(1 + 100 * n, 100))[1] for n in range(30)]
    for acknowledge in deliveries:
        acknowledge()
    assert len(held.session.due()) == 3000
    assert held.session.due() == []
    held.session.opened(True, 1.0)
    fresh, _ = held.come(*messages(1, 3000, dup=True))
    assert fresh == []
    assert len(held.session.due()) == 3000


def test_a_broker_that_waits_twice_at_the_same_number_has_shown_its_limit() -> None:
    held = Held()
    stall(held, 0.0, 1, 32)
    stall(held, STALL_S + 0.25, 100, 32)
    assert held.session.limit == 65_535
    held.come(message(200), now_s=2 * STALL_S + 0.5)
    assert held.session.limit == 32


def test_silence_teaches_nothing() -> None:
    held = Held()
    stall(held, 0.0, 1, 32)
    stall(held, STALL_S + 0.5, 100, 32)  # half a second after the release: by itself
    held.come(message(200), now_s=30.0)
    assert held.session.limit == 65_535


def test_a_source_that_is_slow_by_nature_is_not_asked_at_each_of_its_pauses() -> None:
    held = Held()
    now_s = 0.0
    asked = 0
    for mid in range(1, 60):
        held.come(message(mid), now_s=now_s)
        for second in range(1, 10):
            asked += held.session.overdue(now_s + second)
        now_s += 10.0
    assert asked <= 2
