"""Rollouts made by the real service over a fleet whose devices take up what they are told, in virtual time."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Engine, insert, update

from hub.rollout.service import RolloutService
from hub.state.schema import assets, bundle_failures, device_slots, devices, rollouts, stage_evidence
from hub.state.upsert import upsert
from tests.web.seeding import SPEC, S, add_bundle

HARDWARE = ("Raspberry Pi 4 Model B", "Raspberry Pi Zero 2 W")
SITES = ("lyon", "brest", "nantes")


def add_pumps(engine: Engine, n: int, last_seen_ns: int) -> None:
    """`n` devices d-0000, …, on three sites and two kinds of hardware, each with a pump."""
    told = {"public_key": b"k" * 32, "agent_version": "0.1.0", "enrolled_ns": 1, "last_seen_ns": last_seen_ns}
    checkin = {"starts": 1, "rss_bytes": 60_000_000}
    rows = [
        {"device_id": f"d-{k:04}", "site": SITES[k % 3], "hardware": HARDWARE[k % 5 == 0], "checkin": checkin, **told}
        for k in range(n)
    ]
    pumps = {"asset": "pump", "profile": "pump", "spec_hash": SPEC, "state": "normal", "p_value": 0.4, "since_ns": 1}
    with engine.begin() as connection:
        connection.execute(insert(devices), rows)
        connection.execute(insert(assets), [{"device_id": row["device_id"], **pumps} for row in rows])


def publish(engine: Engine, version: int, created_ns: int) -> str:
    with engine.begin() as connection:
        return add_bundle(connection, "pump", version, created_ns)


class Trial:
    """One rollout as it goes. `rings`: the share of windows in which the candidate is in alarm."""

    def __init__(self, engine: Engine, bundle_id: str, now_ns: int, rings: float = 0.0, **wishes: int) -> None:
        self.engine = engine
        self.bundle_id = bundle_id
        self.now_ns = now_ns
        self.service = RolloutService(engine)
        self.rings = rings
        self.id = self.service.start(bundle_id, now_ns=now_ns, actor="cli:test", **wishes)

    def step(self, seconds: float = 60.0, n_windows: int = 1, away: tuple[str, ...] = ()) -> Mapping[str, object]:
        """Devices that are there check in, hold what they should, and bring windows; then the gates judge."""
        self.now_ns += int(seconds * S)
        found = self.service.get(self.id)
        plan, at = found["plan"]["stages"], found["stage_index"]
        reached = {device: stage["mode"] for stage in plan[: at + 1] for device in stage["devices"]}
        here = [device for device in reached if device not in away]
        with self.engine.begin() as connection:
            connection.execute(update(devices).where(devices.c.device_id.in_(here)).values(last_seen_ns=self.now_ns))
            if found["state"] in ("running", "paused"):
                held = {"profile": "pump", "bundle_id": self.bundle_id, "n_windows": 50, "score_us_median": 41.0}
                upsert(connection, device_slots, [{"device_id": d, "slot": reached[d], **held} for d in here])
                self._bring(connection, plan[at], [d for d in plan[at]["devices"] if d not in away], n_windows)
        self.service.tick(self.now_ns)
        return self.service.get(self.id)

    def refuse(self, device_id: str, reason: str) -> None:
        row = {"device_id": device_id, "bundle_id": self.bundle_id, "reason": reason, "at_ns": self.now_ns}
        with self.engine.begin() as connection:
            connection.execute(insert(bundle_failures).values(row))

    def until_ended(self, steps: int = 400, n_windows: int = 4) -> str:
        for _ in range(steps):
            found = self.step(n_windows=n_windows)
            if found["ended"]:
                return str(found["state"])
        raise AssertionError(f"not ended: {found['state']}, {found['gates']}")

    def _bring(self, connection: object, stage: Mapping[str, object], here: list[str], n_windows: int) -> None:
        rows = []
        table = stage_evidence.c
        query = stage_evidence.select().where(table.rollout_id == self.id, table.stage == stage["name"])
        known = {row.device_id: row for row in connection.execute(query)}  # type: ignore[attr-defined]
        for k, device_id in enumerate(here):
            n = (known[device_id].n_windows if device_id in known else 0) + n_windows
            row = {"rollout_id": self.id, "stage": stage["name"], "device_id": device_id, "n_windows": n, "n_faulty": 0}
            row |= {"n_alarm_candidate": int(n * self.rings), "n_alarm_incumbent": n // 60}
            rows.append(row | {"n_low_p_candidate": max(int(n * self.rings), n // 70), "n_low_p_incumbent": n // (50 + k)})
        upsert(connection, stage_evidence, rows)  # type: ignore[arg-type]


def seed_rollouts(engine: Engine, now_ns: int, n_devices: int = 40) -> Trial:
    """One that passed, one that a flood of alarms halted, and one that is in its first wave, with a device that is away."""
    add_pumps(engine, n_devices, now_ns - 300 * S)
    first = Trial(engine, publish(engine, 1, now_ns - 9 * 3600 * S), now_ns - 9 * 3600 * S, waves=2)
    assert first.until_ended() == "done"
    flood = Trial(engine, publish(engine, 2, now_ns - 5 * 3600 * S), now_ns - 5 * 3600 * S, rings=0.4)
    while flood.step(n_windows=1)["state"] == "running":
        pass
    with engine.begin() as connection:
        connection.execute(device_slots.delete().where(device_slots.c.bundle_id == flood.bundle_id))
    flood.step()
    running = Trial(engine, publish(engine, 3, now_ns - 2 * 3600 * S), now_ns - 2 * 3600 * S, waves=2, rings=0.02)
    while running.service.get(running.id)["stage"] != "wave 1":
        running.step(n_windows=2)
    away = tuple(running.service.get(running.id)["plan"]["stages"][2]["devices"][:6])
    while running.now_ns < now_ns - 30 * S:
        running.step(seconds=(now_ns - running.now_ns) / S / 4 + 10, n_windows=1, away=away)
    with engine.begin() as connection:
        connection.execute(rollouts.update().where(rollouts.c.rollout_id == running.id).values(state="running"))
        connection.execute(update(devices).where(devices.c.device_id.in_(away)).values(last_seen_ns=now_ns - 3000 * S))
    return running
