"""Which messages of an MQTT session are under way: sent by the broker, not acknowledged yet. Pure but for the thread's wake.

A message may wait long for its acknowledgement: until the window that it belongs to has closed and is stored. Meanwhile the
connection may break; the broker then sends it again, under the same id and marked DUP (MQTT 5.0, 4.4), and it must not count
twice. And a broker sends only so many messages ahead of acknowledgements: whoever holds too many hears no more.

Invariants:
1. A message is delivered once, however often the broker sends it within one life of the session on both sides: while it is
   held, and for the last acknowledged ones, whose acknowledgement may have been lost with the connection: MAX_TOLD, or as many
   as were acknowledged at once.
2. An acknowledgement belongs to a delivery, never to an id alone: ids are used again by the broker, and one that comes too
   late or twice releases nothing.
3. An id is acknowledged only on a connection that brought it. Where the broker has not sent it again yet, that waits.
4. Where the broker says that it knows no session, everything held is forgotten: it will never be asked for. Nobody else
   has it any more, so `abandoned` says once that it should be written down.

How many may be held: `limit`, what the broker is known to allow. Few brokers say. It is learned: silence while messages are
held may be the broker's waiting, so after STALL_S without a word `overdue` asks for a release; where that makes messages
come at once, and where the same happens twice at the same number, that number is the limit.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from typing import Final

from agent.sources.mqtt_wire import Message

MAX_HELD: Final = 10_000  # bounds memory, whatever the broker allows
MAX_TOLD: Final = 1000
STALL_S: Final = 3.0
_AT_ONCE_S: Final = 0.25
_PATIENCE: Final = 4.0  # a source that is silent for less than so many of its usual pauses is not stalled


class Delivery:
    """Messages that were delivered together. `open` until they are acknowledged."""

    __slots__ = ("digests", "mids", "open")

    def __init__(self, messages: Sequence[Message]) -> None:
        self.mids = array("H", [message.mid for message in messages])
        self.digests = array("q", [_digest(message) for message in messages])
        self.open = True


def _digest(message: Message) -> int:
    """Slow sensors say the same value again and again: the topic tells one's from another's under an id that is used anew."""
    return hash((message.topic, message.payload))


class Session:
    """`wake`: called when an acknowledgement is there to be sent. `limit`: see above.

    `acknowledger`'s product may be called from any thread; all else belongs to the source's thread.
    """

    def __init__(self, wake: Callable[[], None], limit: int) -> None:
        self._wake = wake
        self.limit = limit
        self._held: dict[int, Delivery] = {}
        self._absent: set[int] = set()  # held or told, but not sent again by the broker since the connection was made anew
        self._told: OrderedDict[int, int] = OrderedDict()  # id: digest of the message
        self._done: deque[Delivery] = deque()
        self._now: list[int] = []  # ids of messages that came again on this connection after they had been acknowledged
        self._abandoned = False
        self._last_s = 0.0
        self._pause_s = 0.0  # the longest silence that ended by itself
        self._asked: tuple[float, int] | None = None  # when a release was asked for, and how many were held
        self._stalled_at: int | None = None
        self.n_repeated = 0

    def opened(self, present: bool, now_s: float) -> None:
        """A connection is made; `present`: whether the broker still has the session."""
        self._asked = None
        self._last_s = now_s
        self._now.clear()
        if present:
            self._absent = set(self._held)
            return
        self._abandoned = self._abandoned or bool(self._held)
        self._held.clear()
        self._absent.clear()
        self._told.clear()

    def fresh(self, messages: Sequence[Message], now_s: float) -> list[Message]:
        """`messages` without those that were delivered before."""
        self._heard(now_s)
        return [message for message in messages if not (message.dup and self._is_known(message))]

    def _is_known(self, message: Message) -> bool:
        held = message.mid in self._held
        if not held and self._told.get(message.mid) != _digest(message):
            return False
        self.n_repeated += 1
        self._absent.discard(message.mid)
        if not held:
            self._now.append(message.mid)
        return True

    def hold(self, messages: Sequence[Message]) -> Callable[[], None] | None:
        """What acknowledges `messages`, which are about to be delivered; None where none of them asks for it."""
        asking = [message for message in messages if message.mid]
        if not asking:
            return None
        delivery = Delivery(asking)
        for mid in delivery.mids:
            self._held[mid] = delivery

        def acknowledge() -> None:
            self._done.append(delivery)
            self._wake()

        return acknowledge

    def abandoned(self) -> bool:
        """Whether the broker has lost what is held; said once."""
        said, self._abandoned = self._abandoned, False
        return said

    @property
    def crowded(self) -> bool:
        """Whether so many are held that the broker may soon send no more."""
        return len(self._held) >= min(MAX_HELD, max(1, self.limit // 2))

    def due(self) -> list[int]:
        """The ids to acknowledge now."""
        due, self._now = self._now, []
        n_told = 0
        while self._done:
            delivery = self._done.popleft()
            if delivery.open:
                delivery.open = False
                n_told += len(delivery.mids)
                due += self._let_go(delivery)
        while n_told and len(self._told) > max(MAX_TOLD, n_told):  # what is sent at once may be lost at once
            self._told.popitem(last=False)
        return due

    def _let_go(self, delivery: Delivery) -> list[int]:
        mine = [(mid, digest) for mid, digest in zip(delivery.mids, delivery.digests, strict=True)
                if self._held.get(mid) is delivery]  # fmt: skip
        for mid, digest in mine:
            del self._held[mid]
            self._told.pop(mid, None)
            self._told[mid] = digest
        if not self._absent:
            return [mid for mid, _ in mine]
        present = [mid for mid, _ in mine if mid not in self._absent]
        self._absent.difference_update(mid for mid, _ in mine)
        return present

    # --- what the broker allows ----------------------------------------------------------------------------------

    def overdue(self, now_s: float) -> bool:
        """Whether what is held should be released, for the broker may be waiting; said once for each silence."""
        if not self._held or self._asked is not None:
            return False
        if now_s - self._last_s < max(STALL_S, _PATIENCE * self._pause_s):
            return False
        self._asked = (now_s, len(self._held))
        return True

    def _heard(self, now_s: float) -> None:
        silence_s = now_s - self._last_s
        self._last_s = now_s
        asked, self._asked = self._asked, None
        if asked is None:
            self._pause_s = max(silence_s, self._pause_s * 0.99)
            return
        asked_s, n_held = asked
        if now_s - asked_s > _AT_ONCE_S:
            self._pause_s = max(silence_s, self._pause_s)
            return
        if self._stalled_at == n_held:
            self.limit = min(self.limit, n_held)
        self._stalled_at = n_held
