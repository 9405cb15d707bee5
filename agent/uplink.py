"""The device's dealings with the hub: enrol once, sync often, check in now and then; none of it ever in the pipeline's way.

After a failure each of the two waits on its own, with jittered backoff or as long as the hub asked; the outbox keeps
what could not be sent, so nothing here needs to be in a hurry, except alerts (`App` lets sync run at once for those).
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import msgspec

from agent.backoff import Backoff
from agent.hub_link import HubLink
from agent.identity import Enrolment, Identity
from agent.sync import Sync
from agent.update import Updater
from models.contract.checkin import CheckIn, CheckInReply
from models.contract.envelope import seal
from models.errors import LinkError, TocsinError

log = logging.getLogger("tocsin.uplink")
_MAX_PAUSE_S: Final = 3600.0
_EARLY: Final = 0.7  # of what the hub asked for: the schedule's own jitter comes on top


@dataclass(slots=True)
class Attempts:
    """Failures in a row and when to try again (monotonic s). `busy` is held while an attempt is under way."""

    backoff: Backoff
    failures: int = 0
    not_before_s: float = 0.0
    last_error: str = ""
    busy: threading.Lock = field(default_factory=threading.Lock)

    def due(self, now_s: float) -> bool:
        return now_s >= self.not_before_s

    def failed(self, error: Exception, now_s: float, drawn: float) -> None:
        """Wait: as long as the hub asked, and a little more each for itself, or by backoff."""
        delay_s = self.backoff.delay_s(self.failures, drawn)
        asked_s = error.retry_after_s if isinstance(error, LinkError) else None
        self.not_before_s = now_s + (asked_s * (1 + drawn / 2) if asked_s else delay_s)
        self.failures += 1
        self.last_error = str(error)

    def succeeded(self, pause_until_s: float = 0.0) -> None:
        """Try again at the next turn, but not before `pause_until_s`."""
        self.failures = 0
        self.not_before_s = pause_until_s
        self.last_error = ""


@dataclass(slots=True)
class Uplink:
    """`enrol`, `checkin_body`: what to say; the rest: how. `run_sync` and `run_checkin` never raise on a failed link.

    `heard_hub_time`: called with the hub's time as of now and how far off it may be, ns."""

    identity: Identity
    link: HubLink
    sync: Sync
    updater: Updater
    enrol: Callable[[], Enrolment]
    checkin_body: Callable[[], CheckIn]
    stopping: Callable[[], bool]
    heard_hub_time: Callable[[int, int], None] = lambda _hub_ns, _error_ns: None
    sync_attempts: Attempts = field(default_factory=lambda: Attempts(Backoff(1.0, 30.0)))
    checkin_attempts: Attempts = field(default_factory=lambda: Attempts(Backoff(2.0, 60.0)))

    def run_sync(self) -> None:
        """Enrol if need be, then send what is pending."""
        self._attempt(self.sync_attempts, "sync", self._sync)

    def run_checkin(self) -> None:
        """Enrol if need be, tell how things stand, work towards what the hub desires."""
        self._attempt(self.checkin_attempts, "check-in", self._check_in)

    def wait_idle(self, timeout_s: float) -> None:
        """Wait until no attempt is under way; once `stopping` holds, none begins."""
        for attempts in (self.sync_attempts, self.checkin_attempts):
            if attempts.busy.acquire(timeout=timeout_s):
                attempts.busy.release()

    def _attempt(self, attempts: Attempts, what: str, action: Callable[[], float | None]) -> None:
        with attempts.busy:
            if not self.stopping() and attempts.due(time.monotonic()):
                self._try(attempts, what, action)

    def _try(self, attempts: Attempts, what: str, action: Callable[[], float | None]) -> None:
        try:
            pause_s = action()
        except (TocsinError, OSError) as error:  # a join token may still be put there, a disk may have room again
            if not attempts.failures:
                log.warning("%s failed, will be retried: %s", what, error)
            attempts.failed(error, time.monotonic(), random.random())  # noqa: S311  # jitter, not a secret
        else:
            if attempts.failures:
                log.info("%s works again after %d failures", what, attempts.failures)
            attempts.succeeded(time.monotonic() + (pause_s or 0.0))

    def _sync(self) -> None:
        self.enrol()
        self.sync.drain(self.stopping)

    def _check_in(self) -> float:
        """The pause that the hub asks for, s: it may slow devices down, never hurry them."""
        enrolment = self.enrol()
        body = seal(self.checkin_body(), "checkin", self.identity.device_id, self.identity.sign)
        asked_ns = time.monotonic_ns()
        try:
            reply = msgspec.msgpack.decode(self.link.post("/v1/checkin", body), type=CheckInReply)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise LinkError(f"the hub's answer is no check-in reply: {error}") from None
        travel_ns = (time.monotonic_ns() - asked_ns) // 2
        self.heard_hub_time(reply.hub_time_ns + travel_ns, travel_ns)
        self.updater.reconcile(reply.slots, enrolment.hub_public_key)
        return min(max(reply.next_checkin_s, 0.0), _MAX_PAUSE_S) * _EARLY
