"""The device's dealings with the hub: enrol once, sync often, check in now and then, update when asked; never in the
pipeline's way.

    sync ─────> outbox ══> hub             check-in ─────> hub ──desired──> update ─────> download ══> slots

Each of the three has a thread and a pace of its own (`attempts.py`): what one waits for delays no other. The outbox
keeps what could not be sent, so nothing here needs to be in a hurry, except alerts (`hurry_sync`).
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

import msgspec

from agent.uplink.attempts import Attempts
from agent.uplink.hub_link import HubLink
from agent.uplink.identity import Enrolment, Identity
from agent.uplink.recurring import Recurring
from agent.uplink.sync import Sync
from agent.uplink.update import Updater
from models.contract.checkin import CheckIn, CheckInReply, DesiredSlots
from models.contract.envelope import seal
from models.errors import LinkError, TocsinError

log = logging.getLogger("tocsin.uplink")
_MAX_PAUSE_S: Final = 3600.0


class Pace(Protocol):
    """How often, s; see `agent.config.HubConfig`."""

    @property
    def sync_s(self) -> float: ...
    @property
    def checkin_s(self) -> float: ...
    @property
    def update_s(self) -> float: ...


@dataclass(slots=True)
class Uplink:
    """`enrol`, `checkin_body`: what to say; the rest: how. `run_…` never raise on a failed link; they are the threads' work,
    and say in how many seconds they want to run next.

    `heard_hub_time`: called with the hub's time as of now and how far off it may be, ns. `heard_root`: called with the TUF root
    that the hub sends to a device which has none, and the hub's signature."""

    identity: Identity
    link: HubLink
    sync: Sync
    updater: Updater
    enrol: Callable[[], Enrolment]
    checkin_body: Callable[[], CheckIn]
    stopping: Callable[[], bool]
    pace: Pace
    heard_hub_time: Callable[[int, int], None] = lambda _hub_ns, _error_ns: None
    heard_root: Callable[[bytes, bytes], object] = lambda _root, _signature: None
    drawn: Callable[[], float] = random.random
    sync_attempts: Attempts = field(init=False)
    checkin_attempts: Attempts = field(init=False)
    update_attempts: Attempts = field(init=False)
    _desired: list[DesiredSlots] = field(default_factory=list)
    _jobs: dict[str, Recurring] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.sync_attempts = Attempts.paced(self.pace.sync_s)
        self.checkin_attempts = Attempts.paced(self.pace.checkin_s)
        self.update_attempts = Attempts.paced(self.pace.update_s)

    # --- life ----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Let the three go round."""
        for name, attempts, run in (
            ("sync", self.sync_attempts, self.run_sync),
            ("checkin", self.checkin_attempts, self.run_checkin),
            ("update", self.update_attempts, self.run_update),
        ):
            now_s = time.monotonic()
            attempts.first(now_s, self.drawn())
            self._jobs[name] = Recurring(name, run, attempts.next_s - now_s)
            self._jobs[name].start()

    def hurry_sync(self) -> None:
        """There is something urgent to send."""
        if "sync" in self._jobs:
            self._jobs["sync"].hurry()

    def begin_rotation(self) -> None:
        """Let the next contact change the device's key, and let that be soon. Raises StorageError, OSError."""
        self.identity.next_key()
        if "checkin" in self._jobs:
            self._jobs["checkin"].hurry()

    def stop(self, timeout_s: float) -> None:
        """No attempt begins any more; wait until none is under way. Those that hang are ended by the link's owner."""
        for job in self._jobs.values():
            job.stop()
        deadline_s = time.monotonic() + timeout_s
        for job in self._jobs.values():
            job.join(max(0.0, deadline_s - time.monotonic()))

    # --- the three -----------------------------------------------------------------------------------------------

    def run_sync(self) -> float:
        """Enrol if need be, then send what is pending."""
        return self._attempt(self.sync_attempts, "sync", self._sync)

    def run_checkin(self) -> float:
        """Enrol if need be, tell how things stand, hear what the hub desires."""
        return self._attempt(self.checkin_attempts, "check-in", self._check_in)

    def run_update(self) -> float:
        """Work towards what the hub desired at the last check-in."""
        return self._attempt(self.update_attempts, "update", self._update)

    def _attempt(self, attempts: Attempts, what: str, action: Callable[[], float]) -> float:
        with attempts.busy:
            if not self.stopping() and attempts.due(time.monotonic()):
                self._try(attempts, what, action)
            return attempts.next_s - time.monotonic()

    def _try(self, attempts: Attempts, what: str, action: Callable[[], float]) -> None:
        try:
            asked_s = action()
        except (TocsinError, OSError) as error:  # a join token may still be put there, a disk may have room again
            if not attempts.failures and not self.stopping():
                log.warning("%s failed, will be retried: %s", what, error)
            attempts.failed(error, time.monotonic(), self.drawn())
        else:
            if attempts.failures:
                log.info("%s works again after %d failures", what, attempts.failures)
            attempts.succeeded(time.monotonic(), self.drawn(), asked_s)

    def _sync(self) -> float:
        self.enrol()
        self.sync.drain(self.stopping)
        return 0.0

    def _check_in(self) -> float:
        """The pause that the hub asks for, s."""
        self.enrol()
        body = seal(self.checkin_body(), "checkin", self.identity.device_id, self.identity.sign)
        asked_ns = time.monotonic_ns()
        try:
            reply = msgspec.msgpack.decode(self.link.post("/v1/checkin", body), type=CheckInReply)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            self.link.reset()
            raise LinkError(f"the hub's answer is no check-in reply: {error}") from None
        travel_ns = (time.monotonic_ns() - asked_ns) // 2
        self.heard_hub_time(reply.hub_time_ns + travel_ns, travel_ns)
        if reply.root:
            self.heard_root(reply.root, reply.root_signature)
        self._desired = reply.slots
        return min(max(reply.next_checkin_s, 0.0), _MAX_PAUSE_S)

    def _update(self) -> float:
        """What was swapped before a download fails stays."""
        desired, enrolment = self._desired, self.identity.enrolment
        if desired and enrolment is not None:
            self.updater.reconcile(desired)
        return 0.0
