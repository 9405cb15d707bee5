"""What the demo claims to have shown, with the figures that show it; and whether they do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table

from firmware_sim.demo.run import DemoRun
from firmware_sim.demo.verdict import AssetOutcome, by_asset, judge_demo, named_sensor_faults


def summarize(run: DemoRun) -> dict[str, Any]:
    """Everything as JSON-able values; `claims` says which held, `ok` whether all did."""
    truth = run.fleet.truth()
    judgement = judge_demo(truth, run.alerts(), run.hub.get("/v1/sensor-faults?limit=5000"))
    outcomes = by_asset(judgement, run.machines, run.facts["bad_model"])
    ledger = run.hub.get("/v1/ledger")
    sensor = named_sensor_faults(judgement)
    devices = {gateway.device_id: _device(run.status(gateway.device_id)) for gateway in run.gateways}
    summary: dict[str, Any] = {
        "assets": {outcome.asset: _asset(outcome) for outcome in outcomes},
        "sensor_faults": sensor,
        "ledger": {
            "received": ledger["received"],
            "missing": ledger["missing"],
            "duplicates": ledger["lake_duplicates"],
            "redelivered": ledger["redelivered"],
            "evicted": ledger["evicted"],
            "merged": ledger["merged"],
            "rejected": ledger["rejected"],
            "lake_rows": ledger["lake_rows"],
        },
        "models": {"first": run.facts["first_model"], "training_s": run.facts["training_s"], "bad": run.facts["bad_model"]},
        "bad_rollout": run.facts["bad_rollout"],
        "cut_off": run.facts["cut_off"],
        "devices": devices,
        "bytes": _bytes(devices),
        "broker": run.broker.kind,
        "speed": run.scenario.speed,
        "wall_s": round(run.screen.elapsed_s, 1),
    }
    summary["claims"] = claims(summary)
    summary["ok"] = all(summary["claims"].values())
    return summary


def claims(summary: dict[str, Any]) -> dict[str, bool]:
    """What must hold for the story to be true."""
    faults = [fault for asset in summary["assets"].values() for fault in asset["faults"]]
    cut = summary["cut_off"]
    return {
        "nothing missing": summary["ledger"]["missing"] == 0,
        "nothing twice": summary["ledger"]["duplicates"] == 0,
        "every machine fault alerted": all(fault["delay_s"] is not None for fault in faults),
        "no false alarm but the bad model's": all(
            asset["false_alarms"] == asset["by_bad_model"] for asset in summary["assets"].values()
        ),
        "every sensor fault named": all(named is not None for named in summary["sensor_faults"].values()),
        "the cut-off device alerted alone": cut["alerts_known_while_cut"] == 0 and cut["alerts_known_after"] > 0,
        "the cut-off device drained": cut["missing"] == 0,
        "the bad model rolled back": summary["bad_rollout"]["state"] == "rolled_back",
    }


def _asset(outcome: AssetOutcome) -> dict[str, Any]:
    faults = [
        {"fault": f.event.fault, "delay_s": None if f.delay_s is None else round(f.delay_s, 1), "top_channel": f.top_channel}
        for f in outcome.faults
    ]
    return {"faults": faults, "false_alarms": outcome.false_alarms, "by_bad_model": outcome.by_bad_model}


def _device(status: dict[str, Any]) -> dict[str, Any]:
    hub = status["hub"] or {}
    return {
        "peak_rss_mb": round(status["peak_rss_bytes"] / 1e6, 1),
        "readings": status["readings"],
        "windows": status["windows"],
        "raw_bytes": status["raw_bytes"],
        "sent_bytes": hub.get("sent_bytes", 0),
        "frame_errors": status["frame_errors"],
    }


def _bytes(devices: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Over the devices that read simulated sensors: what came in by wire, and what went to the hub."""
    wired = [device for device in devices.values() if device["raw_bytes"]]
    raw, sent = sum(device["raw_bytes"] for device in wired), sum(device["sent_bytes"] for device in wired)
    return {"raw": raw, "synced": sent, "share": round(sent / raw, 4) if raw else None}


def tables(summary: dict[str, Any]) -> Sequence[Table]:
    """The summary for people."""
    machines = Table(title="Machines", title_justify="left", box=None, pad_edge=False)
    for column in ("machine", "fault", "alerted after", "first channel", "false alarms", "of them the bad model's"):
        machines.add_column(column, justify="left" if column in ("machine", "fault", "first channel") else "right")
    for name, asset in summary["assets"].items():
        for fault in asset["faults"] or [{"fault": "none", "delay_s": None, "top_channel": ""}]:
            delay = "" if fault["fault"] == "none" else "never" if fault["delay_s"] is None else f"{fault['delay_s']:.0f} s"
            counts = (str(asset["false_alarms"]), str(asset["by_bad_model"]))
            machines.add_row(name, fault["fault"].replace("_", " "), delay, fault["top_channel"], *counts)
    devices = Table(title="Devices", title_justify="left", box=None, pad_edge=False)
    for column in ("device", "peak RSS", "readings", "windows", "raw", "synced"):
        devices.add_column(column, justify="left" if column == "device" else "right")
    for name, device in summary["devices"].items():
        devices.add_row(
            name,
            f"{device['peak_rss_mb']:.0f} MB",
            f"{device['readings']:,}",
            f"{device['windows']:,}",
            f"{device['raw_bytes'] / 1000:,.0f} kB",
            f"{device['sent_bytes'] / 1000:,.0f} kB",
        )
    return machines, devices, _verdicts(summary)


def _verdicts(summary: dict[str, Any]) -> Table:
    ledger, cut = summary["ledger"], summary["cut_off"]
    table = Table(title="What was shown", title_justify="left", box=None, pad_edge=False, show_header=False)
    figures = {
        "nothing missing": f"{ledger['missing']} of {ledger['received']:,} items",
        "nothing twice": f"{ledger['duplicates']} of {ledger['lake_rows']:,} rows; {ledger['redelivered']} items sent again",
        "the cut-off device drained": f"{cut['backlog_items']} items, {cut['missing']} missing",
        "the bad model rolled back": f"{summary['bad_rollout']['state']} at {summary['bad_rollout']['stage']}",
    }
    for claim, held in summary["claims"].items():
        table.add_row("[green]✓[/]" if held else "[red]✗[/]", claim, f"[dim]{figures.get(claim, '')}[/]")
    share = summary["bytes"]["share"]
    table.add_row("", "synced of what the sensors sent", f"[dim]{share:.1%}[/]" if share is not None else "")
    table.add_row("", "wall time", f"[dim]{summary['wall_s']:.0f} s, machines at {summary['speed']:g} times the clock[/]")
    return table
