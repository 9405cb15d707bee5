"""The round that tells people: notice, decide, send. A scheduler calls it every few seconds.

Delivery is at least once. A message is sent first and noted as sent after that: a hub that is killed in between sends it
again, with the same `delivery`. In ordinary running a step goes to a target once. Targets are served beside each other, each
one message after the other; after one that fails, the round goes on with other targets.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, Engine

from hub.notify import outbox
from hub.notify.config import Notify, Rule, Target
from hub.notify.deliver import DeliveryError, deliver
from hub.notify.message import message
from hub.notify.plan import StepKey, Told, due, free_at_ns, is_quiet, pointless, retry_after_ns
from hub.state.database import reading

_log = logging.getLogger("hub.notify")
MAX_A_ROUND: Final = 100  # messages to a target
MAX_BESIDE: Final = 8  # targets
FORGET_EVERY_NS: Final = 3600 * 1_000_000_000
_UNKNOWN: Final = "its target is not in hub.toml any more"
_GONE: Final = "its incident is not known any more"


@dataclass(slots=True)
class Notifier:
    """`root`: the hub's directory. `hub_url`: where people find it, "" = not told. `clock`: Unix ns."""

    engine: Engine
    notify: Notify
    root: Path
    hub_url: str = ""
    clock: Callable[[], int] = time.time_ns
    _forgot_ns: int = field(default=0, init=False)

    @property
    def is_on(self) -> bool:
        return bool(self.notify.rule)

    def run(self) -> int:
        """One round; how many messages arrived. Most find nothing to do, and take no lock."""
        now_ns = self.clock()
        with reading(self.engine).begin() as connection:
            is_new = outbox.anything_new(connection)
            changes = [] if is_new else self._decided(connection, now_ns)
            ready = outbox.waiting(connection, now_ns, MAX_A_ROUND)
        forgets = now_ns - self._forgot_ns > FORGET_EVERY_NS
        if is_new or changes or forgets:
            with self.engine.begin() as connection:
                outbox.notice(connection, now_ns)
                outbox.store(connection, self._decided(connection, now_ns), now_ns)
                if forgets:
                    outbox.forget(connection, now_ns)
                    self._forgot_ns = now_ns
                ready = outbox.waiting(connection, now_ns, MAX_A_ROUND)
        return self._send_all(ready)

    def _decided(self, connection: Connection, now_ns: int) -> list[outbox.Change]:
        """What is to be noted, of the incidents of which something is."""
        alive = outbox.live(connection)
        told = outbox.told_of(connection, [one.incident for one in alive])
        found = [self._decide(one, told, now_ns) for one in alive]
        return [change for change in found if change is not None]

    def _decide(
        self, one: outbox.Live, told: Mapping[tuple[str, str], Mapping[StepKey, Told]], now_ns: int
    ) -> outbox.Change | None:
        situation, gather_s = one.situation, self.notify.gather_s
        if situation is None:
            return outbox.Change(one.incident, now_ns, ends=True)
        over_ns = (one.over_ns or now_ns) if situation.is_over else None
        steps: list[tuple[str, str, str]] = []
        settled = over_ns is not None and now_ns >= over_ns + int(gather_s * 1e9)
        for rule in self.notify.rule:
            known = told.get((one.incident, rule.name), {})
            wanted = due(rule, situation, known, gather_s=gather_s, over_since_ns=over_ns, now_ns=now_ns)
            steps += [(rule.name, step, target) for step, target in wanted]
            settled &= not wanted and all(was.state != "waiting" for was in known.values()) and not _hushed(rule, now_ns)
        if not steps and not settled and over_ns == one.over_ns:
            return None
        return outbox.Change(one.incident, over_ns, situation.is_critical, tuple(steps), settled)

    def _send_all(self, ready: Iterable[outbox.Waiting]) -> int:
        by_target: dict[str, list[outbox.Waiting]] = {}
        for row in ready:
            by_target.setdefault(row.target, []).append(row)
        if not by_target:
            return 0
        with ThreadPoolExecutor(min(MAX_BESIDE, len(by_target)), thread_name_prefix="notify") as pool:
            return sum(pool.map(self._send_to, by_target, by_target.values()))

    def _send_to(self, name: str, rows: list[outbox.Waiting]) -> int:
        """What waits for one target, until one fails; how many arrived."""
        target = self.notify.targets.get(name)
        n_arrived = 0
        for row in rows:
            if target is None:
                self._settle(row, state="failed", ended_ns=self.clock(), reason=_UNKNOWN)
            elif not self._send(row, target):
                break
            else:
                n_arrived += 1
        return n_arrived

    def _send(self, row: outbox.Waiting, target: Target) -> bool:
        """Whether the target may get the next one."""
        now_ns = self.clock()
        with reading(self.engine).begin() as connection:
            situation = outbox.situation_of(connection, row.incident)
            free_ns = free_at_ns(outbox.sent_lately(connection, row.target, now_ns), target.per_hour, now_ns)
        if why := _GONE if situation is None else pointless(row.step, situation):
            self._settle(row, state="dropped", ended_ns=now_ns, reason=why)
            return True
        assert situation is not None
        if free_ns > now_ns:
            self._put_off(row, free_ns, f"its target gets {target.per_hour} messages an hour at most")
            return False
        told = message(f"{row.number}-{row.decided_ns}", row.step, row.rule, situation, self.hub_url)
        try:
            remark = deliver(target, told, self.root, now_ns)
        except DeliveryError as error:
            self._failed(row, str(error))
            return False
        sent = {"state": "sent", "ended_ns": self.clock(), "reason": remark, "n_attempts": row.n_attempts + 1}
        self._settle(row, **sent, critical=situation.is_critical)  # what it said of the incident
        return True

    def _failed(self, row: outbox.Waiting, reason: str) -> None:
        now_ns, n_attempts = self.clock(), row.n_attempts + 1
        _log.warning("notify: %s: %s", row.target, reason)
        if now_ns - row.decided_ns > int(self.notify.give_up_h * 3600e9):
            self._settle(row, state="failed", ended_ns=now_ns, reason=reason, n_attempts=n_attempts)
        else:
            self._settle(row, next_ns=now_ns + retry_after_ns(n_attempts), reason=reason, n_attempts=n_attempts)

    def _put_off(self, row: outbox.Waiting, until_ns: int, reason: str) -> None:
        if self.clock() - row.decided_ns > int(self.notify.give_up_h * 3600e9):
            self._settle(row, state="failed", ended_ns=self.clock(), reason=reason)
        else:
            self._settle(row, next_ns=until_ns, reason=reason)

    def _settle(self, row: outbox.Waiting, **values: object) -> None:
        with self.engine.begin() as connection:
            outbox.settle(connection, row.number, **values)


def _hushed(rule: Rule, now_ns: int) -> bool:
    """Whether a recovery may only be waiting for the end of quiet hours."""
    return rule.quiet is not None and is_quiet(rule.quiet, now_ns)
