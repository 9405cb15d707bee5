"""The configuration of actions: what is accepted, and refusals that name file, key and what was expected."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from agent.cli import agent
from agent.config import load_config
from models.errors import ConfigError
from tests.actions.conftest import Received

BASE = """\
[device]
id = "gw-1"
state_dir = "state"

[[assets]]
id = "pump-1"
profile = "pump"

[[host]]
asset = "pump-1"

"""
RULE = '[[actions]]\nname = "siren"\non = "alert"\n'
PROGRAM = '[actions.program]\ncommand = ["true"]\n'


def write(folder: Path, text: str) -> Path:
    path = folder / "tocsin.toml"
    path.write_text(BASE + text)
    return path


def test_every_kind_of_action_is_read(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s")
    text = """
[[actions]]
name = "stop"
on = "alert"
severity = "critical"
assets = ["pump-1"]
when = ["opened", "closed"]
min_interval_s = 60
max_per_hour = 4
per = "asset"
max_age_s = 900
  [actions.serial]
  port = "/dev/ttyUSB1"
  command = "\\u0002STOP\\r\\n"
  command_closed = "GO\\r\\n"

[[actions]]
name = "tell"
on = "sensor_fault"
faults = ["stuck", "missing"]
dry_run = true
  [actions.webhook]
  url = "https://example.org/hook"
  secret_file = "secret"

[[actions]]
name = "lamp"
on = "alert"
  [actions.mqtt]
  topic = "lamp/{asset}/set"
  payload = '{"state": "ON"}'

[[actions]]
name = "script"
on = "alert"
  [actions.program]
  command = ["sh", "-c", "exit 0"]

[home_assistant]
host = "127.0.0.1"
"""
    config = load_config(write(tmp_path, text)).config
    assert [(rule.name, rule.actor) for rule in config.actions] == [
        ("stop", "serial"), ("tell", "webhook"), ("lamp", "mqtt"), ("script", "program")
    ]  # fmt: skip
    said = CliRunner().invoke(agent, ["check-config", "--config", str(tmp_path / "tocsin.toml")])
    assert [line.strip().split("; ") for line in said.output.splitlines()[2:]] == [
        [
            "action stop: critical alert opened or closed of pump-1 -> serial /dev/ttyUSB1 '\\x02STOP\\r\\n'",
            "never twice within 60 s for each asset, at most 4 an hour, not after 900 s",
        ],
        [
            "action tell: stuck or missing sensor fault opened of any asset -> webhook https://example.org/hook, signed",
            "never twice within 10 s, at most 30 an hour, DRY RUN",
        ],
        [
            "action lamp: alert opened of any asset -> mqtt 127.0.0.1:1883 lamp/{asset}/set",
            "never twice within 10 s, at most 30 an hour",
        ],
        ["action script: alert opened of any asset -> program sh -c exit 0", "never twice within 10 s, at most 30 an hour"],
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (RULE, "actions[0]: exactly one of the tables mqtt, serial, webhook, program, not none"),
        (
            RULE + PROGRAM + '[actions.mqtt]\ntopic = "t"\n',
            "exactly one of the tables mqtt, serial, webhook, program, not mqtt and",
        ),
        (RULE + PROGRAM + RULE + PROGRAM, "actions[1].name: a name of its own; 'siren' is there twice"),
        (RULE + 'assets = ["pump-9"]\n' + PROGRAM, "actions[0].assets: some of the assets pump-1, not 'pump-9'"),
        (RULE + 'faults = ["stuck"]\n' + PROGRAM, 'actions[0]: faults: only where on = "sensor_fault"'),
        (RULE + 'severety = "critical"\n' + PROGRAM, "actions[0].severety: unknown key; expected one of name, on, severity"),
        (RULE + "min_interval_s = -1\n" + PROGRAM, "actions[0].min_interval_s: Expected 'float' >= 0"),
        (RULE + "max_per_hour = 0\n" + PROGRAM, "actions[0].max_per_hour: Expected 'int' >= 1"),
        (RULE + "when = []\n" + PROGRAM, "actions[0].when: Expected 'array' of length >= 1"),
        (
            RULE + '[actions.program]\ncommand = ["/no/such"]\n',
            "actions[0].program.command: a program that exists, not '/no/such'",
        ),
        (RULE + '[actions.program]\ncommand = "true"\n', "actions[0].program.command: Expected 'array', got 'str'"),
        (RULE + '[actions.webhook]\nurl = "ftp://x"\n', "actions[0].webhook.url: Expected 'str' matching regex"),
        (
            RULE + '[actions.webhook]\nurl = "http://x/"\nsecret_file = "no"\n',
            "actions[0].webhook.secret_file: an existing file",
        ),
        (RULE + '[actions.mqtt]\ntopic = "a/#"\n', "actions[0].mqtt.topic: Expected 'str' matching regex"),
        (RULE + '[actions.mqtt]\ntopic = "a/{asst}"\n', "actions[0].mqtt: topic: {asst} is no part of an event"),
        (RULE + '[actions.mqtt]\npassword_file = "p"\n', "actions[0].mqtt: password_file needs username"),
        (
            RULE + '[actions.serial]\nport = "p"\ncommand = "\\u20ac"\n',
            "actions[0].serial: command: each character is one byte",
        ),
        ('[home_assistant]\nca_file = "no.pem"\n', "home_assistant.ca_file: an existing file, not 'no.pem'"),
    ],
)
def test_a_mistake_is_named_with_its_place(tmp_path: Path, text: str, says: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as error:
        load_config(path)
    assert str(error.value).startswith(f"{path}: ")
    assert says in str(error.value)


HOOK = '[[actions]]\nname = "hook"\non = "{on}"\n[actions.webhook]\nurl = "{url}"\n'


@pytest.mark.parametrize("on", ["alert", "sensor_fault"])
def test_a_rule_fired_by_hand_only_says_what_it_would_do_until_really_is_asked_for(
    tmp_path: Path, receiver: Received, on: str
) -> None:
    path = write(tmp_path, HOOK.format(on=on, url=receiver.url))
    dry = CliRunner().invoke(agent, ["act", "hook", "--config", str(path)])
    assert dry.exit_code == 0
    assert dry.output.startswith(f"hook: would POST to http://127.0.0.1:{receiver.port}: {{")
    assert receiver.requests == []
    done = CliRunner().invoke(agent, ["act", "hook", "--config", str(path), "--when", "closed", "--really"])
    assert (done.exit_code, done.output) == (0, "hook: done 204\n")
    (event,) = receiver.bodies
    assert (event["kind"], event["edge"], event["asset"], event["test"]) == (on, "closed", "pump-1", True)
    receiver.status = 500
    assert CliRunner().invoke(agent, ["act", "hook", "--config", str(path), "--really"]).exit_code == 1
    assert not (tmp_path / "state").exists()  # nothing is recorded


@pytest.mark.parametrize(
    ("arguments", "says"),
    [(["bell"], "one of the rules hook; not 'bell'"), (["hook", "--asset", "pump-9"], "one of pump-1; not 'pump-9'")],
)
def test_firing_what_does_not_exist_is_a_configuration_error(tmp_path: Path, arguments: list[str], says: str) -> None:
    path = write(tmp_path, HOOK.format(on="alert", url="http://127.0.0.1/"))
    result = CliRunner().invoke(agent, ["act", *arguments, "--config", str(path), "--really"])
    assert isinstance(result.exception, ConfigError)
    assert says in str(result.exception)
