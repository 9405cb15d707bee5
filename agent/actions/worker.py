"""One rule's thread: it takes events in order, decides, acts, and records what came of it.

The decision is made when it is acted upon, not when the event came: two events that had to wait would otherwise be acted on
one right after the other, whatever the interlock says.

Each rule has a thread of its own, so that a webhook which nobody answers delays no serial command. Before it acts it notes
on disk that the rule acts, and on what: a crash in between may cost the action, but neither the interlock nor the record.
A crash just after the record has it told twice, the second time as interrupted: better than not at all.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final, Literal

import msgspec

from agent.actions.actor import Actor, Result
from agent.actions.config import ActionRule
from agent.actions.event import Event
from agent.actions.past_file import PastFile
from agent.actions.rules import Decision, Past, RuleBook
from models.contract.clock import NS_PER_S, Stamp
from models.contract.items import Action

log = logging.getLogger("tocsin.actions")
_QUEUE: Final = 16
_GIVE_UP_S: Final = 0.5  # for an action that was told to end
_TEXT: Final = 500  # of models.contract.names.Text
_INTERRUPTED: Final = "interrupted: the agent ended while it acted; whether it was done is not known"
Outcome = Literal["done", "failed", "suppressed", "dry_run"]


@dataclass(frozen=True, slots=True)
class Task:
    """`commissioning`: the assets that were, when the event came. `now`: when that was, and `since_s` the same, monotonic."""

    event: Event
    commissioning: Collection[str]
    now: Stamp
    since_s: float


class Worker:
    """`store` keeps a record; called from this thread, and from `offer`'s and `stop`'s callers for what is not acted on."""

    def __init__(self, rule: ActionRule, actor: Actor, past_file: PastFile, store: Callable[[Action], None]) -> None:
        self.counters: Counter[str] = Counter()
        self.last = ""
        self._rule = rule.name
        self._book = RuleBook([rule])
        self._begun: Action | None = None
        self._actor = actor
        self._past_file = past_file
        self._store = store
        self._queue: queue.SimpleQueue[Task | None] = queue.SimpleQueue()  # `offer` sees to its bound; None = the end
        self._stopping = threading.Event()
        self._defect = ""
        self._lock = threading.Lock()  # guards _abandoned: after `stop` nothing is recorded any more
        self._abandoned = False
        self._thread = threading.Thread(target=self._run, name=f"action-{rule.name}", daemon=True)

    def restore(self, past: Past, boot_id: str, now_ns: int) -> None:
        """Before `start`: go on from what the rule had done when the agent last ended. `now_ns`: monotonic."""
        self._book.restore(self._rule, past, boot_id, now_ns)
        self._begun = past.begun

    def start(self) -> None:
        """Begin, with a record of what the agent was at when it last ended."""
        if self._begun is not None:
            self._keep(self._begun)
        self._thread.start()

    def offer(self, task: Task) -> None:
        """Returns at once. The rule matches the event. Where the thread is too far behind, the action is suppressed, and
        recorded as that."""
        if self._defect:
            self.record(task.event, "failed", self._defect, task.since_s)
        elif self._queue.qsize() >= _QUEUE:
            self.record(task.event, "suppressed", f"{_QUEUE} actions of this rule wait already", task.since_s)
        else:
            self._queue.put(task)

    def record(self, event: Event, outcome: Outcome, reason: str, since_s: float) -> None:
        """Keep, count and log what was done about `event`, or why nothing was."""
        self._keep(self._action(event, outcome, reason, since_s))

    def _action(self, event: Event, outcome: Outcome, reason: str, since_s: float) -> Action:
        return Action(
            rule=self._rule, actor=self._actor.kind, target=_line(self._actor.target), event=event.kind,
            event_id=event.event_id, edge=event.edge, asset=event.asset, outcome=outcome, reason=_line(reason),
            took_ms=max(0, round((time.monotonic() - since_s) * 1000)),
        )  # fmt: skip

    def _keep(self, action: Action) -> None:
        with self._lock:
            if self._abandoned:
                return
            self.counters[action.outcome] += 1
            self.last = f"{action.outcome} {action.reason}".strip()
            self._store(action)
        level = logging.WARNING if action.outcome == "failed" else logging.INFO
        what = f"{self._rule}: {action.outcome} on {action.event_id} {action.edge}"
        log.log(level, "%s in %d ms %s", what, action.took_ms, action.reason)

    def finish(self) -> None:
        """Take nothing new after what waits; `stop` waits for that."""
        self._queue.put(None)

    def stop(self, deadline_s: float) -> None:
        """After `finish`: let what waits be done until `deadline_s` (monotonic), then end a running action; the rest is
        suppressed."""
        self._thread.join(max(0.0, deadline_s - time.monotonic()))
        self._stopping.set()
        self._actor.close()
        self._thread.join(_GIVE_UP_S)
        while not self._queue.empty():
            task = self._queue.get_nowait()
            if task is not None:
                self.record(task.event, "suppressed", "the agent stops", task.since_s)
        with self._lock:
            self._abandoned = True
        if not self._thread.is_alive():
            self._past_file.close()

    def _run(self) -> None:
        try:
            while not self._stopping.is_set() and (task := self._queue.get()) is not None:
                self._do(task)
        except BaseException as error:
            self._defect = f"ended by a defect: {error!r}"
            self.last = self._defect
            raise

    def _do(self, task: Task) -> None:
        decision = self._decide(task)
        past = self._book.past(self._rule, task.now.boot_id)
        if decision.verdict == "suppressed":
            self.record(task.event, "suppressed", decision.reason, task.since_s)
        elif decision.verdict == "dry_run":
            self._remember(past)
            self.record(task.event, "dry_run", f"would {self._actor.preview(task.event)}", task.since_s)
        else:
            self._act(task, past)

    def _decide(self, task: Task) -> Decision:
        waited_ns = round((time.monotonic() - task.since_s) * NS_PER_S)
        wall_ns = task.now.wall_ns + waited_ns if task.now.synced else None
        (decision,) = self._book.decide(task.event, task.commissioning, task.now.mono_ns + waited_ns, wall_ns)
        return decision

    def _act(self, task: Task, past: Past) -> None:
        begun = self._action(task.event, "failed", _INTERRUPTED, task.since_s)
        self._remember(msgspec.structs.replace(past, begun=begun))
        result: Result = self._actor.act(task.event)
        self.record(task.event, "done" if result.ok else "failed", result.detail, task.since_s)
        self._remember(past)

    def _remember(self, past: Past) -> None:
        """A full disk does not keep an alarm from being rung: the interlock then holds until the next restart only."""
        try:
            self._past_file.write(past)
        except OSError as error:
            log.warning("%s: what it has done cannot be noted: %s", self._rule, error)


def _line(text: str) -> str:
    """One line that fits the item."""
    return " ".join(text.split())[:_TEXT]
