"""What the demo lays out on disk: a hub and seven devices, each configured as a person would."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from firmware_sim.links.broker import Broker
from firmware_sim.scenario import AssetPlan, Scenario
from models.contract.config import load_profile

HOST_DEVICE = "gw-host"
SITES = ("lyon", "nantes", "lille")
HUB_TOML = """\
host = "127.0.0.1"
checkin_s = 1.5
lake_commit_s = 2.0
rollout_tick_s = 1.0
"""


QUICK_PACE = ("sync_s = 0.5", "checkin_s = 1.5", "update_s = 1.0", "health_s = 10.0")


@dataclass(frozen=True, slots=True)
class Gateway:
    """A device of the demo and the simulated machines that it watches; none = it watches this machine."""

    device_id: str
    site: str
    assets: tuple[AssetPlan, ...]

    @property
    def profiles(self) -> list[str]:
        return sorted({plan.profile for plan in self.assets}) or ["host"]


def gateways(scenario: Scenario) -> list[Gateway]:
    """One device a pump; the other machines are shared out among devices that speak their link; and one for this machine."""
    pumps = [plan for plan in scenario.assets if plan.profile == "pump"]
    groups = {plan.name: [plan] for plan in pumps}
    for plan in scenario.assets:
        if plan.profile != "pump":
            host = next((pump for pump in pumps if pump.link == plan.link), pumps[0])
            groups[host.name].append(plan)
    devices = [Gateway(f"gw-{i}", SITES[i % len(SITES)], tuple(group)) for i, group in enumerate(groups.values(), start=1)]
    return [*devices, Gateway(HOST_DEVICE, "here", ())]


def agent_toml(
    gateway: Gateway,
    hub_url: str,
    claim_token: str,
    broker: Broker | None,
    ports: Mapping[str, str],
    pace: Sequence[str] = QUICK_PACE,
) -> str:
    """The device's `tocsin.toml`. `claim_token`: the file's name. `broker`: None where no asset needs one. `ports`: the serial
    port of each asset that has one. `pace`: the lines that say how often it asks the hub."""
    lines = [
        "[device]",
        f'id = "{gateway.device_id}"',
        'state_dir = "state"',
        f'site = "{gateway.site}"',
        "",
        "[hub]",
        f'url = "{hub_url}"',
        f'claim_token_file = "{claim_token}"',
        *pace,
    ]
    if not gateway.assets:
        return "\n".join([*lines, *_asset("this-machine", "host"), "", "[[host]]", 'asset = "this-machine"', ""])
    for plan in gateway.assets:
        lines += _asset(plan.name, plan.profile)
        if plan.link == "serial":
            lines += _serial(plan, ports[plan.name])
    by_mqtt = [plan.name for plan in gateway.assets if plan.link == "mqtt"]
    if by_mqtt and broker is not None:
        lines += _mqtt(by_mqtt, broker)
    return "\n".join([*lines, ""])


def _asset(name: str, profile: str) -> Sequence[str]:
    return ["", "[[assets]]", f'id = "{name}"', f'profile = "{profile}"']


def _serial(plan: AssetPlan, port: str) -> Sequence[str]:
    lines = ["", "[[serial]]", f'name = "line-{plan.name}"', f'port = "{port}"', f'format = "{plan.form}"']
    lines.append(f'asset = "{plan.name}"')
    if plan.form != "jsonl":
        columns = load_profile(plan.profile).channel_names
        quoted = ", ".join(f'"{column}"' for column in (["t", *columns] if plan.form == "csv" else columns))
        lines.append(f"columns = [{quoted}]")
    return lines


def _mqtt(assets: Sequence[str], broker: Broker) -> Sequence[str]:
    topics = ", ".join(f'{{ topic = "plant/{asset}", asset = "{asset}" }}' for asset in assets)
    lines = ["", "[[mqtt]]", 'name = "plant"', f'host = "{broker.host}"', f"port = {broker.port}", f"topics = [{topics}]"]
    # amqtt knows no MQTT 5, and does not say so: the agent would wait for an answer before it tries the other version.
    return lines if broker.kind == "mosquitto" else [*lines, 'protocol = "3.1.1"']
