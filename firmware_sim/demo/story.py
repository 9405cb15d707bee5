"""The story, in order. Each chapter does something to the running fleet and waits until what should follow has followed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from firmware_sim.demo.bad_model import spoil
from firmware_sim.demo.run import DemoRun
from models.contract.clock import NS_PER_S
from models.errors import LinkError

_PROFILE: Final = "pump"
_LEARN_FROM: Final = 450  # windows of pumps in the lake before the first training
_MIN_WINDOWS: Final = 40  # evidence that each stage of a rollout needs
MACHINE_FAULTS: Final = {"pump-1": "bearing_wear", "pump-3": "blockage", "pump-5": "cavitation", "fan-1": "imbalance"}
SENSOR_FAULTS: Final = {"pump-2": ("stuck", "pressure"), "pump-4": ("dropout", "vibration"), "motor-1": ("torn_frames", None)}
_LOOK_S: Final = 250.0  # of the machines' time
_REMOTE_FAULT: Final = "blockage"


@dataclass(frozen=True, slots=True)
class Chapter:
    """`text`: one line for the screen."""

    title: str
    text: str
    play: Callable[[DemoRun], None]


def cold_start(run: DemoRun) -> None:
    n_devices = len(run.gateways)
    run.wait(lambda: len(run.hub.get("/v1/devices")) == n_devices, 60, f"{n_devices} devices to enrol")
    serial = sum(plan.link == "serial" for plan in run.scenario.assets)
    run.screen.done(f"{n_devices} devices enrolled; {serial} machines on serial lines, {len(run.machines) - serial} over MQTT")

    def commissioned() -> bool:
        assets = run.assets()
        return all(name in assets and assets[name]["state"] in ("normal", "alarm") for name in run.machines)

    run.wait(commissioned, 120, "every machine to be commissioned")
    run.screen.done(f"{len(run.machines)} machines commissioned: each has its own normal, judged by the baseline detector")


def windows_reach_the_hub(run: DemoRun) -> None:
    def enough() -> Any:
        ledger = run.hub.get("/v1/ledger")
        return ledger if ledger["lake_rows"] >= _LEARN_FROM * len(run.machines) / run.pump_devices else None

    ledger = run.wait(enough, 120, "enough windows in the lake")
    run.screen.done(
        f"{ledger['lake_rows']} windows in the lake, {ledger['missing']} missing, {ledger['lake_duplicates']} twice"
    )


def first_model(run: DemoRun) -> None:
    roll_out(run, train(run))


def train(run: DemoRun) -> str:
    """Have the hub train a model for the pumps; its bundle id."""
    run.hub.post("/v1/training-runs", {"profile": _PROFILE})

    def trained() -> Any:
        runs = [found for found in run.hub.get("/v1/training-runs") if found["state"] != "running"]
        return runs[0] if runs else None

    done = run.wait(trained, 150, "the model to be trained, quantized and evaluated")
    if done["state"] != "done":
        raise LinkError(f"training failed: {done['error']}")
    bundle_id = str(done["bundle_id"])
    bundle = run.hub.get(f"/v1/bundles/{bundle_id}")
    run.facts["first_model"] = bundle_id
    run.facts["training_s"] = round((done["ended_ns"] - done["started_ns"]) / NS_PER_S, 1)
    run.screen.done(f"{bundle_id}: int8, {bundle['size'] / 1000:.0f} kB, trained in {run.facts['training_s']:.0f} s, signed")
    return bundle_id


def roll_out(run: DemoRun, bundle_id: str) -> None:
    """Bring a good bundle to every pump's device."""
    rollout = run.hub.post("/v1/rollouts", {"bundle_id": bundle_id, "min_windows": _MIN_WINDOWS, "canaries": _canaries(run)})
    ended = _follow(run, rollout["rollout_id"])
    if ended["state"] != "done":
        raise LinkError(f"the first rollout ended {ended['state']}: {ended['reason']}")
    run.wait(lambda: _devices_on(run, bundle_id) == run.pump_devices, 60, "every pump's device to run the new model")
    run.screen.done(f"{run.pump_devices} devices run {bundle_id}; each self-tested it before it let it decide")


def _canaries(run: DemoRun) -> int:
    return 2 if run.pump_devices > 3 else 1


def _devices_on(run: DemoRun, bundle_id: str) -> int:
    return sum(active == bundle_id for active in run.active_bundles(_PROFILE).values())


def _follow(run: DemoRun, rollout_id: str) -> dict[str, Any]:
    """Tell a rollout's stages as they pass; the rollout once it has ended."""
    told: set[int] = set()

    def ended() -> Any:
        found = run.hub.get(f"/v1/rollouts/{rollout_id}")
        for i, event in enumerate(found["events"]):
            if event["event"] in ("pass", "halt") and i not in told:
                told.add(i)
                verb = "passed" if event["event"] == "pass" else "[red]halted[/]"
                run.screen.still()
                run.screen.done(f"{event['stage']} {verb}: {_alarm_rate(event)}")
        return found if found["ended"] else None

    found: dict[str, Any] = run.wait(ended, 150, f"the gates of {rollout_id}")
    return found


def _alarm_rate(event: dict[str, Any]) -> str:
    """What the gate that counts most went by."""
    gates = {gate["gate"]: gate["reason"] for gate in event["figures"].get("gates", [])}
    return str(gates.get("alarm_rate") or event["figures"].get("reason", ""))


def faults_are_found(run: DemoRun) -> None:
    machine = {asset: kind for asset, kind in MACHINE_FAULTS.items() if asset in run.machines}
    sensor = {asset: fault for asset, fault in SENSOR_FAULTS.items() if asset in run.machines}
    for asset, kind in machine.items():
        run.fleet.inject(asset, kind)
    for asset, (kind, channel) in sensor.items():
        run.fleet.inject(asset, kind, channel=channel)
    run.wait(lambda: len(run.open_alerts(machine)) == len(machine), 90, "every machine fault to be alerted")
    found = run.open_alerts(machine)
    for asset, kind in machine.items():
        top = ", ".join(f"{channel} {share:.0%}" for channel, share in found[asset]["top"])
        run.screen.done(f"{asset} {kind.replace('_', ' ')}: {found[asset]['severity']}, because of {top}")

    def named() -> dict[str, str]:
        return {asset: kinds for asset in sensor if (kinds := _sensor_faults_of(run, asset))}

    run.wait(lambda: set(named()) == set(sensor), 60, "every sensor fault to be named")
    kinds, alarmed = named(), run.open_alerts(sensor)
    for asset, (kind, channel) in sensor.items():
        where = f"{asset} {channel}" if channel else f"{asset}'s line"
        besides = "[red]and a machine alarm[/]" if asset in alarmed else "no machine alarm"
        run.screen.done(f"{where} {kind.replace('_', ' ')}: named a sensor fault ({kinds[asset]}), {besides}")
    run.let_pass(_LOOK_S, "you to look at the page while they ring")
    for asset in (*machine, *sensor):
        run.fleet.clear(asset)
    run.wait(lambda: not run.open_alerts(machine), 90, "the alerts to close after the repair")
    run.screen.done("all repaired; the alerts have closed by themselves")


def _sensor_faults_of(run: DemoRun, asset: str) -> str:
    """By what kinds the sensor faults of an asset, or of its line, were named; "" while none was."""
    told = run.hub.get("/v1/sensor-faults?limit=5000")
    return ", ".join(
        sorted({fault["fault"] for fault in told if asset in (fault["asset"], fault["source"].removeprefix("line-"))})
    )


def cut_off(run: DemoRun) -> None:
    device = run.remote.device_id
    asset = run.remote.assets[0].name
    run.link.cut()
    cut_ns = run.fleet.now_ns()
    started_s = time.monotonic()
    run.fleet.inject(asset, _REMOTE_FAULT)
    run.wait(lambda: run.status(device)["assets"][asset]["alert"], 60, f"{device} to alert on its own")

    def told() -> list[dict[str, Any]]:
        return [alert for alert in run.alerts() if alert["asset"] == asset and alert["opened_ns"] >= cut_ns]

    at_hub = told()
    run.screen.done(f"{device} cut off; {asset} blocked: alerted on the device, the hub knows of {len(at_hub)} such alerts")
    run.fleet.clear(asset)
    run.wait(lambda: run.status(device)["backlog_items"] >= 60, 60, "a backlog to grow")
    backlog = run.status(device)["backlog_items"]
    run.link.mend()
    run.wait(lambda: run.status(device)["backlog_items"] <= 5, 60, "the backlog to drain")
    late = run.wait(told, 30, "its alert to show at the hub")  # which confirms first, and projects a moment later
    ledger = run.hub.get(f"/v1/devices/{device}/ledger")
    missing = sum(lane["n_missing"] for lane in ledger["lanes"])
    run.facts["cut_off"] = {
        "device": device,
        "seconds": round(time.monotonic() - started_s, 1),
        "backlog_items": backlog,
        "missing": missing,
        "alerts_known_while_cut": len(at_hub),
        "alerts_known_after": len(late),
    }
    run.screen.done(f"{device} is back: {backlog} items drained, {missing} missing, its alert arrived with its own time")
    run.wait(lambda: not run.open_alerts([asset]), 90, "its alert to close")


def bad_model(run: DemoRun) -> None:
    good = run.hub.get(f"/v1/bundles/{run.facts['first_model']}")
    archive = spoil(run.hub.get_bytes(_archive(good)), good["version"] + 1)
    bad_id = run.hub.post_bytes("/v1/bundles", archive)["bundle_id"]
    run.facts["bad_model"] = bad_id
    run.screen.done(f"{bad_id} published: one threshold for the whole fleet; its golden vectors pass")
    wanted = {"bundle_id": bad_id, "skip_shadow": True, "min_windows": _MIN_WINDOWS, "canaries": _canaries(run)}
    rollout = run.hub.post("/v1/rollouts", wanted)
    ended = _follow(run, rollout["rollout_id"])
    run.facts["bad_rollout"] = {"state": ended["state"], "stage": ended["stage"], "reason": ended["reason"]}

    run.wait(
        lambda: _devices_on(run, run.facts["first_model"]) == run.pump_devices, 60, "the canaries to be back on the good model"
    )
    run.screen.done(f"rolled back: all {run.pump_devices} devices run {run.facts['first_model']} again, the rest never left it")


def _archive(bundle: dict[str, Any]) -> str:
    """Where the hub keeps what it published, for anybody to read: named by digest and id, as devices fetch it."""
    return f"/v1/tuf/targets/{bundle['profile']}/{bundle['sha256']}.{bundle['bundle_id']}.bundle"


CHAPTERS: Final = (
    Chapter("Cold start", "No model anywhere. Each device learns what is normal for its own machine.", cold_start),
    Chapter(
        "Windows reach the hub", "Aggregates, not readings; each with its place in a gapless sequence.", windows_reach_the_hub
    ),
    Chapter(
        "A first model", "Trained on the fleet's data, quantized to int8, rolled out in shadow, canary and wave.", first_model
    ),
    Chapter("Faults", "Machines and sensors go wrong, all at once; each fault is to be called by its name.", faults_are_found),
    Chapter("Cut off", "One device loses the hub, and its machine fails just then.", cut_off),
    Chapter("A bad model", "Someone publishes in a hurry, and without the shadow stage.", bad_model),
)
