"""A scenario's light devices in virtual time, against a hub in memory: the same lines for the same seed.

`fleet.jsonl`, one line an exchange, in the order of time:

    {"at_ns": …, "device": "sim-00001", "boot": …, "ask": "ingest", "how": "whole", "status": 200,
     "epoch": …, "lanes": {"aggregates": [1, 60]}, "digest": …}

`at_ns`: event time. `status`: null where no answer came. `lanes`: first and last number. `digest`: of what was inside.
"""

from __future__ import annotations

import hashlib
import heapq
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from firmware_sim.load.ask import Ask
from firmware_sim.load.content import shape_of
from firmware_sim.load.device import LightDevice
from firmware_sim.load.ideal import Answer, IdealHub
from firmware_sim.load.identity import LightIdentity
from firmware_sim.load.life import Setting
from firmware_sim.load.plan import FleetPlan, befallen, device_name
from firmware_sim.load.troubles import Troubles
from models.contract.claim import ClaimToken
from models.contract.envelope import Batch

FLEET_FILE: Final = "fleet.jsonl"
PREFIX: Final = "sim"
_encode = msgspec.msgpack.Encoder().encode


def make_devices(
    setting: Setting, speed: float, token: ClaimToken, prefix: str = PREFIX, numbers: Sequence[int] | None = None
) -> list[LightDevice]:
    """The plan's devices, or those of `numbers`, each with what befalls it."""
    plan = setting.plan
    events_of: dict[int, list[int]] = {}
    for i, chosen in enumerate(befallen(plan, setting.seed)):
        for number in chosen:
            events_of.setdefault(number, []).append(i)
    shared: dict[tuple[int, ...], Troubles] = {}
    made = []
    for number in range(plan.devices) if numbers is None else numbers:
        events = tuple(events_of.get(number, ()))
        if events not in shared:
            shared[events] = Troubles([plan.events[i] for i in events])
        identity = LightIdentity(token, device_name(prefix, number), setting.seed)
        made.append(LightDevice(setting, identity, shared[events], speed))
    return made


def play_fleet(plan: FleetPlan, seed: int, speed: float, duration_s: float, t0_ns: int, out: Path) -> tuple[Path, int]:
    """Write what all of the fleet says in `duration_s` seconds of event time; where, and how many exchanges. Raises OSError."""
    setting = Setting(plan, shape_of(plan.profile), seed, t0_ns)
    token = ClaimToken("virtual", hashlib.sha256(f"virtual {seed}".encode()).digest(), "")
    hub, path, n = IdealHub(), out / FLEET_FILE, 0
    with path.open("w", encoding="utf-8") as file:
        for line in exchanges(make_devices(setting, speed, token), hub, setting, speed, duration_s):
            file.write(json.dumps(line) + "\n")
            n += 1
    return path, n


def exchanges(
    devices: Sequence[LightDevice], hub: IdealHub, setting: Setting, speed: float, duration_s: float
) -> Iterator[Mapping[str, Any]]:
    """What `devices` and `hub` say to each other, a line each; `devices` go on from where they are."""
    for device in devices:
        ask = device.enrol()
        answer = hub.answer(ask, setting.t0_ns)
        device.answered(0.0, ask, answer.status, answer.data)
        yield _line(device, ask, answer, setting.t0_ns)
    everybody = list(devices)
    due = [(device.next_s, n) for n, device in enumerate(everybody)]
    heapq.heapify(due)
    while due and due[0][0] * speed <= duration_s:
        now_s, n = heapq.heappop(due)
        device = everybody[n]
        ask_now = device.turn(max(0.0, now_s))
        copy = device.clone()
        if copy is not None:
            everybody.append(copy)
            heapq.heappush(due, (now_s, len(everybody) - 1))
        if ask_now is not None:
            yield _exchange(device, ask_now, hub, now_s)
        heapq.heappush(due, (max(now_s, device.next_s), n))


def _exchange(device: LightDevice, ask: Ask, hub: IdealHub, now_s: float) -> Mapping[str, Any]:
    at_ns = device.life.now_ns
    if ask.how in ("unreachable", "half"):
        device.failed(now_s, ask)
        return _line(device, ask, None, at_ns)
    answer = hub.answer(ask, at_ns)
    device.answered(now_s, ask, answer.status, answer.data)
    return _line(device, ask, answer, at_ns)


def _line(device: LightDevice, ask: Ask, answer: Answer | None, at_ns: int) -> Mapping[str, Any]:
    line: dict[str, Any] = {
        "at_ns": at_ns,
        "device": device.device_id,
        "boot": device.life.boot.boot_id,
        "ask": ask.kind,
        "how": ask.how,
        "status": answer.status if answer else None,
    }
    message = answer.message if answer else None
    if isinstance(message, Batch):
        lanes: dict[str, list[int]] = {}
        for item in message.items:
            lanes[item.lane] = [lanes.get(item.lane, [item.first_seq])[0], item.seq]
        line |= {"epoch": message.epoch, "lanes": lanes}
    if message is not None:
        line["digest"] = hashlib.blake2b(_encode(message), digest_size=8).hexdigest()
    return line
