"""Local actions, put together from the configuration. A driver is imported only where a rule needs it."""

from __future__ import annotations

from collections.abc import Callable

from agent.actions.actor import Actor
from agent.actions.config import ActionRule
from agent.actions.dispatch import Actions
from agent.actions.past_file import PastFile
from agent.actions.worker import Worker
from agent.config import LoadedConfig
from models.contract.clock import Stamp
from models.contract.items import Action

_FOLDER = "actions"  # in the state directory: what each rule must not forget


def make_actions(loaded: LoadedConfig, version: str, now: Stamp, store: Callable[[Action], None]) -> Actions:
    """Rules and actors as configured, the rules with what they remember from before the restart. Raises OSError."""
    rules, folder = loaded.config.actions, loaded.state_dir / _FOLDER
    if rules:
        folder.mkdir(mode=0o700, exist_ok=True)
    workers = {}
    for rule in rules:
        file = PastFile(folder / f"{rule.name}.past")
        workers[rule.name] = Worker(rule, make_actor(rule, loaded, version), file, store)
        past = file.read()
        if past is not None:
            workers[rule.name].restore(past, now.boot_id, now.mono_ns)
    show = None
    if loaded.config.home_assistant is not None:
        from agent.actions.home_assistant_link import HomeAssistantLink

        show = HomeAssistantLink(
            loaded.config.home_assistant, loaded.path.parent, loaded.config.device.id, loaded.profiles, version
        )
    return Actions(loaded.config.device.id, rules, workers, show)


def make_actor(rule: ActionRule, loaded: LoadedConfig, version: str) -> Actor:
    """The actor of `rule`."""
    folder = loaded.path.parent
    if rule.mqtt is not None:
        from agent.actions.mqtt import MqttActor

        return MqttActor(rule.mqtt, folder)
    if rule.serial is not None:
        from agent.actions.serial_command import SerialActor

        return SerialActor(rule.serial, shared=any(source.port == rule.serial.port for source in loaded.config.serial))
    if rule.webhook is not None:
        from agent.actions.webhook import WebhookActor

        return WebhookActor(rule.webhook, folder, version)
    from agent.actions.program import ProgramActor

    assert rule.program is not None  # ActionRule sees to it
    return ProgramActor(rule.program)
