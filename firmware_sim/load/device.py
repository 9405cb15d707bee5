"""One light device against the hub: what to ask next, and what to make of the answer. Pure: time, answers and chance are given.

    turn(now_s) -> Ask ──> hub ──> answered(now_s, status, data) / failed(now_s)

It speaks as a real agent does: enrolment by claim token, signed envelopes, a cursor per lane, check-ins, archives. Unlike one,
it does one thing at a time, and of a bundle it checks the digest alone. `now_s`: seconds of the clock since the scenario began.
"""

from __future__ import annotations

from typing import Final

import msgspec

from firmware_sim.load.ask import UNREADABLE, Ask, How, Kind, Outcome, refusal, root_version
from firmware_sim.load.content import asset_name
from firmware_sim.load.draws import Draws
from firmware_sim.load.identity import LightIdentity
from firmware_sim.load.life import Life, Setting
from firmware_sim.load.outbox import MAX_BATCH_ITEMS
from firmware_sim.load.pace import Pace
from firmware_sim.load.troubles import Troubles
from models.contract.checkin import AssetReport, CheckIn, CheckInReply, DesiredBundle, LaneBacklog, Survival
from models.contract.envelope import Ack, Batch, seal
from models.contract.items import Lane
from models.contract.names import MAX_BUNDLE_BYTES
from models.version import VERSION

_MAX_PAUSE_S: Final = 3600.0
_MSG_BYTES: Final = 300  # of an item, about, for what is reported


class LightDevice:
    """`speed`: event seconds per second of the clock. `enrolled`: whether the hub has let it in."""

    def __init__(self, setting: Setting, identity: LightIdentity, troubles: Troubles, speed: float) -> None:
        self._setting = setting
        self._identity = identity
        self._troubles = troubles
        self._speed = speed
        self.life = Life(setting, identity.device_id, troubles)
        self.enrolled = False
        self.root_version = 0
        self._draws = Draws(setting.seed, identity.device_id, "turns")
        self._sync, self._checkin = Pace(setting.plan.sync_s), Pace(setting.plan.checkin_s)
        self._sync.under_way(0.0, self._draws.one())
        self._checkin.under_way(0.0, self._draws.one())
        self._sent: dict[Lane, int] = {}
        self._repeat: bytes | None = None  # an envelope that is to come once more
        self._late: bytes | None = None  # one that is under way for long
        self._wanted: DesiredBundle | None = None

    @property
    def device_id(self) -> str:
        return self._identity.device_id

    @property
    def next_s(self) -> float:
        """When it wants its next turn."""
        if not self.life.on:
            return self.life.next_s / self._speed
        if self._repeat is not None:
            return 0.0
        return min(self._sync.next_s, self._checkin.next_s, self.life.next_s / self._speed)

    def clone(self) -> LightDevice | None:
        """The copy of its card, once there is to be one, which speaks under the same identity from now on."""
        if not self.life.clone_wanted:
            return None
        self.life.clone_wanted = False
        other: LightDevice = object.__new__(LightDevice)
        other.__dict__.update(self.__dict__)
        other.life = self.life.copy()
        other._draws = Draws(self._setting.seed, self.device_id, "turns of a clone", self.life.boot.boot_id)
        other._sync, other._checkin = Pace(self._setting.plan.sync_s), Pace(self._setting.plan.checkin_s)
        other._repeat = other._late = None
        return other

    def waiting(self) -> int:
        """How many items wait for sync."""
        return sum(self.life.outbox.waiting(self.life.now_ns).values())

    # --- asking --------------------------------------------------------------------------------------------------

    def enrol(self) -> Ask:
        plan = self._setting.plan
        return Ask("enrol", "/v1/enrol", self._identity.enrolment(plan.site, [plan.profile]))

    def sync_now(self, now_s: float) -> None:
        """Let its next turn be a sync, and let that be now."""
        self._sync.again(now_s)

    def turn(self, now_s: float) -> Ask | None:
        """What to ask now; None = nothing is due."""
        self._live(now_s)
        if not self.life.on:
            return None
        if self._repeat is not None:
            body, self._repeat = self._repeat, None
            return Ask("ingest", "/v1/ingest", body, "repeated")
        if self._checkin.next_s <= now_s:
            return self._cut_off("checkin") or self._fetch() or self._check_in()
        if self._sync.next_s <= now_s:
            return self._cut_off("ingest") or self._ingest(now_s)
        return None

    def _cut_off(self, kind: Kind) -> Ask | None:
        """What is not even made, for no connection would come about."""
        return Ask(kind, f"/v1/{kind}", how="unreachable") if self._struck("hub_unreachable") else None

    def _live(self, now_s: float) -> None:
        self.life.live_until(now_s * self._speed)
        if self.life.restarted:
            self.life.restarted = False
            self._repeat = self._late = None
            self._sync.started(now_s, self._draws.one())
            self._checkin.started(now_s, self._draws.one())
        if self.life.urgent and self.life.on:
            self._sync.hurry(now_s)
        self.life.urgent = False

    def _ingest(self, now_s: float) -> Ask | None:
        items = self.life.outbox.pending(self.life.now_ns, MAX_BATCH_ITEMS)
        if not items:
            self._sync.succeeded(now_s, self._draws.one())
            return None
        self._sent = {item.lane: item.seq for item in items}
        batch = Batch(epoch=self.life.outbox.epoch, sent=self.life.boot.stamp(self.life.now_ns), items=items)
        body = seal(batch, "ingest", self.device_id, self._identity.sign)
        if self._late is None and self._struck("late"):
            self._late = body
            return Ask("ingest", "/v1/ingest", body, "unreachable", len(items))
        return self._sent_as("ingest", body, len(items))

    def _check_in(self) -> Ask:
        body = seal(self._state(), "checkin", self.device_id, self._identity.sign)
        return self._sent_as("checkin", body)

    def _fetch(self) -> Ask | None:
        self._wanted = self.life.slots.to_fetch()
        if self._wanted is None:
            return None
        most = min(self._wanted.size, MAX_BUNDLE_BYTES)
        return Ask("fetch", self.life.slots.path_of(self._wanted), max_bytes=most)

    def _sent_as(self, kind: Kind, body: bytes, n_items: int = 0) -> Ask:
        """The request, as the line has it at this time."""
        how: How = "whole"
        if self._struck("half_open"):
            how = "half"
        elif self._struck("damaged"):
            at = int(self._draws.one() * len(body))
            body, how = body[:at] + bytes([body[at] ^ 1 << self._draws.bits() % 8]) + body[at + 1 :], "damaged"
        elif kind == "ingest" and self._struck("duplicated"):
            self._repeat = body
        return Ask(kind, f"/v1/{kind}", body, how, n_items)

    def _struck(self, kind: str) -> bool:
        severity = self._troubles.severity(kind, self.life.t_s)
        return severity > 0 and self._draws.one() < severity

    def _state(self) -> CheckIn:
        life, shape, plan = self.life, self._setting.shape, self._setting.plan
        waiting, window = life.outbox.waiting(life.now_ns), life.window(life.t_s)
        lanes = {str(lane): LaneBacklog(items=n, bytes=n * _MSG_BYTES) for lane, n in waiting.items() if n}
        trouble, unstored = life.storage
        return CheckIn(
            at=life.boot.stamp(life.now_ns),
            epoch=life.outbox.epoch,
            agent_version=VERSION,
            starts=life.boot.starts,
            uptime_s=(life.now_ns - life.boot.at_ns) // 100_000_000 / 10,
            rss_bytes=45_000_000,
            peak_rss_bytes=50_000_000,
            backlog_items=sum(waiting.values()),
            backlog_bytes=sum(waiting.values()) * _MSG_BYTES,
            assets=[
                AssetReport(
                    asset=asset_name(self.device_id, asset),
                    profile=shape.profile,
                    spec_hash=shape.spec_hash,
                    state="alarm" if life.alarmed_asset == asset else "normal",
                    p_value=0.5,
                )
                for asset in range(plan.assets)
            ],
            slots=life.slots.reports(window, plan.assets),
            failures=life.slots.failures,
            sources={"line": "up"},
            survival=Survival(lanes=lanes),
            storage=trouble,
            unstored_items=unstored,
            root_version=self.root_version,
        )

    # --- answers -------------------------------------------------------------------------------------------------

    def failed(self, now_s: float, ask: Ask) -> None:
        """No whole answer came."""
        if ask.kind != "enrol" and ask.how != "repeated":
            self._pace_of(ask).failed(now_s, self._draws.one())

    def answered(self, now_s: float, ask: Ask, status: int, data: bytes, retry_after_s: float | None = None) -> Outcome:
        """The hub's answer to `ask`. `retry_after_s`: the pause that it asks for."""
        if status >= 300:
            if ask.kind != "enrol" and ask.how != "repeated":
                self._pace_of(ask).failed(now_s, self._draws.one(), retry_after_s)
            return refusal(status, data)
        if ask.how == "repeated":
            return Outcome()
        try:
            if ask.kind == "ingest":
                return self._acknowledged(now_s, msgspec.msgpack.decode(data, type=Ack))
            if ask.kind == "checkin":
                self._told(now_s, msgspec.msgpack.decode(data, type=CheckInReply))
            elif ask.kind == "fetch":
                self._fetched(now_s, data)
            else:
                self.enrolled = True
        except UNREADABLE as error:
            self.failed(now_s, ask)
            return Outcome("not an answer", f"{error}"[:200])
        return Outcome()

    def _acknowledged(self, now_s: float, ack: Ack) -> Outcome:
        outbox = self.life.outbox
        if ack.epoch != outbox.epoch:  # it was wiped while this was under way
            return Outcome()
        before = sum(outbox.cursors.values())
        progress = outbox.acknowledge({lane: min(ack.cursors.get(lane, 0), last) for lane, last in self._sent.items()})
        if self._late is not None:
            self._repeat, self._late = self._late, None
        if progress:
            self._sync.again(now_s)
        else:
            self._sync.failed(now_s, self._draws.one())
        why = "" if progress else "confirmed nothing new"
        return Outcome(why, why, sum(outbox.cursors.values()) - before, len(ack.rejected))

    def _told(self, now_s: float, reply: CheckInReply) -> None:
        if reply.root:
            self.root_version = root_version(reply.root)
        self.life.slots.desire(reply.slots)
        self._settle(now_s, min(max(reply.next_checkin_s, 0.0), _MAX_PAUSE_S))

    def _fetched(self, now_s: float, archive: bytes) -> None:
        assert self._wanted is not None
        self.life.slots.fetched(self._wanted, archive)
        self._settle(now_s, 0.0)

    def _settle(self, now_s: float, asked_s: float) -> None:
        """Fetch what is missing at once; else swap, and come again after a period."""
        if self.life.slots.to_fetch() is not None:
            self._checkin.again(now_s)
            return
        if self.life.slots.settle(self.life.window(self.life.t_s)):
            self.life.look_anew()
        self._checkin.succeeded(now_s, self._draws.one(), asked_s)

    def _pace_of(self, ask: Ask) -> Pace:
        return self._sync if ask.kind == "ingest" else self._checkin
