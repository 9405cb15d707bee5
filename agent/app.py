"""The agent, put together: the one place where its parts are constructed, and the threads that drive them.

    source threads ──bursts──> inbox (bounded) ──> pipeline thread ──> outbox ──> sync ──> hub
                      ^ blocks when full               ^ models from update, between two bursts
    uplink: sync, check-in, update, each in its turn               control socket: status
                                        what is stored ──> actions: a bounded queue and a thread for each rule

Only the pipeline thread touches the pipeline; whoever wants something of it puts a call into the inbox. A burst is
acknowledged to its source once what it led to is on disk (`committer.py`).
"""

from __future__ import annotations

import logging
import platform
import queue
import random
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

import msgspec

from agent.actions.construct import make_actions
from agent.asset import AssetWatch, SavedState, ended
from agent.clock import SystemClock
from agent.config import LoadedConfig
from agent.distribution.process import Distribution
from agent.judges import Serving
from agent.link_faults import LinkMonitor
from agent.page.construct import make_page
from agent.pipeline import Outcome, Pipeline
from agent.silence import SilenceMonitor
from agent.sources.source import Burst, Source
from agent.state_dir import hold
from agent.status.control import ControlSocket
from agent.status.flash import FlashMeter
from agent.status.health import Vitals
from agent.status.recent import Recent
from agent.status.report import Report
from agent.status.survival import Survey
from agent.storage.committer import Committer
from agent.storage.database import DamagedError, Database
from agent.storage.holding import Holding
from agent.storage.outbox import Outbox
from agent.storage.tail import blocks_for
from agent.timeline import told
from agent.uplink.enrol import NOT_ENROLLED, Introduction, Said, check_no_downgrade
from agent.uplink.hub_link import HttpHubLink
from agent.uplink.identity import Identity
from agent.uplink.recurring import Recurring
from agent.uplink.set_aside import SetAside
from agent.uplink.slots import SlotStore
from agent.uplink.sync import Sync
from agent.uplink.tls import trusting
from agent.uplink.update import Updater
from agent.uplink.uplink import Uplink
from models.bundle.selftest import Sizes
from models.contract.clock import NS_PER_S
from models.contract.items import Action, Alert, Body, SensorFault
from models.errors import ConfigError

log = logging.getLogger("tocsin.agent")
_INBOX_BURSTS: Final = 64
_TICK_S: Final = 0.5
_OF_DEVICE: Final = ""  # among the assets' states: what belongs to none of them
_GRACE_S: Final = 1.0  # for a request that is under way; then its connection is cut

Call = Callable[[], None]


class App:
    """One agent. `run` works until `stop` is set, then flushes and returns."""

    def __init__(self, loaded: LoadedConfig, version: str, clock: SystemClock | None = None) -> None:
        config = loaded.config
        self._lock = hold(loaded.state_dir)
        self._stop = threading.Event()
        self._inbox: queue.Queue[Burst | Call] = queue.Queue(_INBOX_BURSTS)
        self._clock = clock or SystemClock()
        max_bytes = round(config.device.max_outbox_mb * 1e6)
        self._database = Database(loaded.state_dir / "outbox.db", blocks_for(max_bytes), lambda: self._clock.now().wall_ns)
        self._outbox = Outbox(self._database, max_bytes)
        self._holding = Holding(self._outbox)
        self._pipeline = Pipeline(
            [AssetWatch(asset, profile, self._clock.boot_id) for asset, profile in loaded.profiles.items()]
        )
        self._committer = Committer(self._holding, self._pipeline, self._clock, self._tell)
        self._links = LinkMonitor()
        self._silence = SilenceMonitor()
        self._slots = SlotStore(loaded.state_dir)
        self._identity = Identity(loaded.state_dir, config.device.id)
        self._vitals = Vitals()
        self._recent = Recent()
        self._sources = make_sources(loaded, lambda: self._clock.now().wall_ns)
        self._set_aside = SetAside(loaded.state_dir)
        self._link = make_link(config.hub.url, config.hub.timeout_s, self._identity) if config.hub else None
        spec_hashes = {watch.profile.name: watch.spec.hash for watch in self._pipeline.assets.values()}
        self._distribution = self._make_distribution(loaded)
        sizes = {profile.name: Sizes.of(profile) for profile in loaded.profiles.values()}
        self._updater = Updater(self._slots, self._distribution, spec_hashes, self._serve_soon, sizes=sizes)
        self._survey = Survey(self._outbox, FlashMeter(loaded.state_dir), loaded.state_dir, config.device.flash_endurance_tbw)
        self._report = Report(
            version,
            config.device.id,
            self._pipeline,
            self._outbox,
            self._slots,
            self._links,
            self._silence,
            self._vitals,
            self._sources,
            self._survey,
            self._holding,
            self._recent,
        )
        self._uplink = self._make_uplink(loaded, version)
        self._hub = config.hub
        self._actions = make_actions(loaded, version, self._clock.now(), self._store_action)
        self._page = make_page(config.page, self.status)
        self._started = False
        self._health: Recurring | None = None
        self._control = ControlSocket(loaded.state_dir, self.status, self._command)

    def _make_distribution(self, loaded: LoadedConfig) -> Distribution | None:
        hub = loaded.config.hub
        if hub is None:
            return None
        return Distribution(
            loaded.state_dir,
            hub.url,
            hub.timeout_s,
            hub_public_key=lambda: self._identity.hub_public_key,
            now_ns=lambda: self._clock.now().wall_ns,
        )

    def _make_uplink(self, loaded: LoadedConfig, version: str) -> Uplink | None:
        hub, link, distribution = loaded.config.hub, self._link, self._distribution
        if hub is None or link is None or distribution is None:
            return None
        if loaded.token_file is None and self._identity.enrolment is None:
            raise ConfigError(f"{loaded.path}: hub", NOT_ENROLLED)
        introduction = Introduction(self._identity, link, hub.url, hub.timeout_s, said_of(loaded, version), loaded.token_file)
        return Uplink(
            identity=self._identity,
            link=link,
            sync=Sync(self._outbox, link, self._clock, self._identity.device_id, self._identity.sign, self._set_aside),
            updater=self._updater,
            enrol=introduction.settle,
            checkin_body=lambda: msgspec.structs.replace(
                self._report.checkin(self._clock.now()), root_version=distribution.root_version()
            ),
            stopping=self._stop.is_set,
            heard_hub_time=self._clock.attest,
            heard_root=distribution.adopt_root,
            pace=hub,
        )

    # --- life ----------------------------------------------------------------------------------------------------

    def run(self, ready: Call = lambda: None, progress: Call = lambda: None) -> None:
        """Work until `stop`; `ready` is called once everything has started, `progress` after each step of the pipeline."""
        self._restore()
        self._updater.resume()
        self._started = True
        self._actions.start(self._open_alerts())
        self._control.start()
        if self._page is not None:
            self._page.start()
        for source in self._sources:
            source.start(self._deliver)
        self._schedule()
        log.info("watching %s from %s", ", ".join(self._pipeline.assets), ", ".join(s.name for s in self._sources))
        ready()
        try:
            self._work(progress)
        finally:
            self._shut_down()

    def stop(self) -> None:
        """Let `run` finish; may be called from a signal handler and more than once."""
        self._stop.set()

    def _restore(self) -> None:
        states = self._outbox.saved_states()
        for asset in self._outbox.lost_states:
            log.error("%s: what it had learned was damaged on disk and is lost", asset)
        of_device = states.pop(_OF_DEVICE, None)
        left: dict[str, SavedState] = {}
        for asset, saved in states.items():
            watch = self._pipeline.assets.get(asset)
            if watch is not None and not watch.restore(saved):
                log.warning("%s: its feature spec has changed; commissioning starts anew", asset)
                left[asset] = saved
            elif watch is None:
                left[asset] = saved
            for what in watch.forgotten if watch is not None else ():
                log.warning("%s.%s", asset, what)
        self._committer.resume()
        now = self._clock.now()
        for asset, saved in left.items():
            bodies, state = ended(saved, now.wall_ns)
            self._committer.add(Outcome(bodies, {asset: state} if bodies else {}))
        if of_device is not None:
            self._links.resume(of_device.faults, now.mono_ns)
            self._silence.resume(of_device.faults, self._pipeline.assets)

    def _work(self, progress: Call) -> None:
        """The pipeline thread: take what comes, commit what it leads to."""
        self._heed_clock()
        next_tick_s = time.monotonic() + _TICK_S
        while not self._stop.is_set():
            if self._database.damage is not None:  # whichever thread found it; the next start deals with it
                raise self._database.damage
            with suppress(queue.Empty):
                self._take(self._inbox.get(timeout=max(0.0, next_tick_s - time.monotonic())))
            if time.monotonic() >= next_tick_s:
                now = self._clock.now()
                self._heed_clock()
                faults = [*self._links.tick(now), *self._silence.tick(self._pipeline.assets.values(), now)]
                self._committer.tick(self._noted(faults))
                self._survey.note(time.monotonic())
                self._note_recent(now.mono_ns / NS_PER_S)
                next_tick_s = time.monotonic() + _TICK_S
            progress()

    def _take(self, what: Burst | Call) -> None:
        if not isinstance(what, Burst):
            what()
            return
        self._vitals.raw_bytes += what.n_bytes
        self._heed_clock()
        self._committer.take(what, self._noted(self._links.heard(what, self._clock.now())))

    def _noted(self, faults: list[SensorFault]) -> list[SensorFault]:
        """Where faults of sources or of silent assets have opened or closed: keep, beside them, which are open now. A restart
        must close what it finds open."""
        if faults:
            now_open = [*self._links.open, *self._silence.open]
            state = SavedState(spec_hash="", vectors=b"", done=False, faults=now_open)
            self._committer.add(Outcome(states={_OF_DEVICE: state}))
        return faults

    def _heed_clock(self) -> None:
        """Take in what has happened to the clock, before any reading that is dated by it."""
        marks = self._clock.take_marks()
        for mark in marks:
            for part in (self._pipeline, self._links, self._silence):
                part.step(mark)
            log.log(logging.WARNING if mark.reason == "step" else logging.INFO, "clock: %s", told(mark))
        if marks:
            self._committer.add(Outcome(bodies=list(marks)))

    def _note_recent(self, now_s: float) -> None:
        if self._recent.due(now_s):
            readings = {source.name: source.state.counters.get("readings", 0) for source in self._sources}
            self._recent.note(now_s, self._vitals.cpu_s, readings)

    def _tell(self, bodies: Sequence[Body], stored: bool) -> None:
        """Whoever wants to know hears of it once it is on disk, or once the disk has refused it."""
        now = self._clock.now()
        self._recent.hear(now.mono_ns / NS_PER_S, bodies)
        commissioning = [watch.asset for watch in self._pipeline.assets.values() if watch.commissioning]
        self._actions.notice(bodies, self._open_alerts(), commissioning, now, stored=stored)
        urgent = [body for body in bodies if isinstance(body, Alert | SensorFault)]
        for body in urgent:
            _announce(body)
        if urgent and self._uplink is not None:
            self._uplink.hurry_sync()

    def _store_action(self, action: Action) -> None:
        """Called by the actions' threads."""
        with suppress(DamagedError):  # the pipeline's thread sees to it
            self._holding.store([action], self._clock.now())

    def _open_alerts(self) -> list[Alert]:
        return [alert for watch in self._pipeline.assets.values() for alert in watch.alerts]

    def _deliver(self, what: Burst | Call) -> None:
        """Put something into the inbox; blocks while the pipeline is behind, and gives up when the agent stops."""
        while not self._stop.is_set():
            try:
                self._inbox.put(what, timeout=0.2)
            except queue.Full:
                continue
            return

    def _serve_soon(self, profile: str, active: Serving | None, shadow: Serving | None) -> None:
        """Hand models to the pipeline between two bursts."""
        if self._started:
            self._deliver(lambda: self._pipeline.serve(profile, active, shadow))
        else:
            self._pipeline.serve(profile, active, shadow)  # nobody takes calls yet

    # --- schedules -----------------------------------------------------------------------------------------------

    def _schedule(self) -> None:
        """Without a hub nothing comes round: nobody would read it."""
        if self._uplink is None or self._hub is None:
            return
        self._uplink.start()
        every_s = self._hub.health_s
        self._health = Recurring("health", lambda: self._store_health(every_s), every_s)
        self._health.start()

    def _store_health(self, every_s: float) -> float:
        sent = self._uplink.sync.counters.sent_bytes if self._uplink else 0
        with suppress(DamagedError):  # the pipeline's thread sees to it
            self._holding.store([self._report.health(sent)], self._clock.now())
        return every_s * random.uniform(0.75, 1.25)  # noqa: S311  # jitter, not a secret

    def _shut_down(self) -> None:
        """Sources first, then what they left in the inbox, then the link; the outbox keeps what was not sent."""
        if self._health is not None:
            self._health.stop()
        if self._uplink is not None and self._link is not None:
            self._uplink.stop(_GRACE_S)
            self._link.abort()
            if self._distribution is not None:
                self._distribution.abort()
            self._uplink.stop(_GRACE_S)
        for source in self._sources:
            source.stop()
        while not self._inbox.empty():
            self._take(self._inbox.get_nowait())
        with suppress(DamagedError):
            self._committer.close()
        self._actions.stop()
        self._control.stop()
        if self._page is not None:
            self._page.stop()
        self._survey.keep()
        self._outbox.close()
        self._database.close()

    def _command(self, words: list[str]) -> dict[str, Any]:
        """What the control socket is told to do; called by its thread, done by the pipeline's."""
        if words == ["rotate-key"] and self._uplink is not None:
            self._uplink.begin_rotation()
            return {"rotating": True}
        if len(words) != 2 or words[0] != "recommission":
            return {"error": f"no command {' '.join(words)!r}; there are: recommission ASSET, rotate-key (with a hub)"}
        if words[1] not in self._pipeline.assets:
            return {"error": f"no asset {words[1]!r}; there are: {', '.join(self._pipeline.assets)}"}
        self._deliver(lambda: self._committer.add(self._pipeline.recommission(words[1])))
        watch = self._pipeline.assets[words[1]]
        what = "windows" if watch.profile.learns_windows else "readings"
        return {"recommissioning": words[1], "windows": watch.commissioned[1], "of": what}

    # --- telling -------------------------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """How the device is, as JSON-able values."""
        shown = {"page": self._page.state()} if self._page is not None else {}
        status = self._report.status(self._clock.now(), self._uplink)
        return {**status, "clock_source": self._clock.source, "actions": self._actions.status(), **shown}


def make_link(url: str, timeout_s: float, identity: Identity) -> HttpHubLink:
    """The link to the hub that this device has pinned, or is to. Raises ConfigError: it was pinned, and `url` is in clear."""
    check_no_downgrade(identity, url)
    return HttpHubLink(url, timeout_s, lambda: trusting(identity.ca_file))


def said_of(loaded: LoadedConfig, version: str) -> Said:
    """What the device says of itself when it enrols."""
    profiles = [profile.name for profile in loaded.profiles.values()]
    return Said(version, loaded.config.device.site, f"{platform.machine()} {platform.system()}", profiles)


def make_sources(loaded: LoadedConfig, now_ns: Callable[[], int]) -> list[Source]:
    """The configured sources. A driver is imported only where something is configured for it."""
    config, known = loaded.config, loaded.channels
    sources: list[Source] = []
    if config.serial:
        from agent.sources.serial_port import SerialSource

        sources += [SerialSource(each, now_ns, known) for each in config.serial]
    if config.mqtt:
        from agent.sources.mqtt import MqttSource

        sources += [MqttSource(each, now_ns, known, config.device.id) for each in config.mqtt]
    if config.host:
        from agent.sources.host import HostSource

        sources += [HostSource(each, now_ns, known) for each in config.host]
    if config.modbus:
        from agent.sources.modbus import ModbusSource

        sources += [ModbusSource(each, now_ns, known) for each in config.modbus]
    if config.sysfs:
        from agent.sources.sysfs import SysfsSource

        sources += [SysfsSource(each, now_ns, known) for each in config.sysfs]
    return sources


def _announce(body: Alert | SensorFault) -> None:
    """The log's line for what a person should know; it is on disk by now."""
    if isinstance(body, SensorFault):
        where = ".".join(filter(None, (body.asset, body.channel))) or body.source
        log.warning("sensor fault %s: %s %s", "closed" if body.closed_ns else "opened", where, body.fault)
        return
    top = ", ".join(f"{channel} {share:.0%}" for channel, share in body.top)
    detail = f"; {body.detail}" if body.detail else ""
    edge = "closed" if body.closed_ns else "opened"
    log.warning("ALERT %s: %s %s p=%.2g %s%s", edge, body.asset, body.severity, body.p_value, top, detail)
