"""`tocsin.toml` of a device: which assets it watches, where their readings come from, where it keeps and sends things.

Each source's keys are told in `agent/sources/config.py`, those of local actions in `agent/actions/config.py`, of the page in
`agent/page/config.py`; this file only puts the parts together and checks that they fit.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from agent.actions.config import MAX_RULES, ActionRule, HomeAssistantConfig, check_actions
from agent.page.config import PageConfig, check_page
from agent.sources.config import HostConfig, ModbusConfig, MqttConfig, SerialConfig, SourceConfig, SysfsConfig
from agent.sources.topics import compile_topics
from models.contract.config import load_profile, read_toml
from models.contract.names import Name
from models.contract.profile import Profile
from models.errors import ConfigError

Seconds = Annotated[float, Meta(gt=0)]


class _Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class DeviceConfig(_Strict, frozen=True, kw_only=True):
    """`state_dir`: database, key and models; relative to the config file. `max_outbox_mb`: what waits for sync may take.
    `flash_endurance_tbw`: terabytes that can be written to the card, as its maker says; None = unknown, no years are told."""

    id: Name
    state_dir: str
    site: Name = "default"
    max_outbox_mb: Annotated[float, Meta(ge=1)] = 256.0
    flash_endurance_tbw: Annotated[float, Meta(gt=0)] | None = None
    profiles_dir: str | None = None


class HubConfig(_Strict, frozen=True, kw_only=True):
    """Where to sync. Leave the whole table out and the device works alone, for any length of time.

    `claim_token_file`: a claim token, with which the agent enrols by itself; `join_token_file`: the hub's join token instead,
    where it has one. Needed once, and neither after `tocsin agent enrol`. `update_s`: how often the device works towards what
    the hub desires. `timeout_s`: for one exchange; more where more is carried.
    """

    url: Annotated[str, Meta(pattern=r"^https?://[^/]+(/.*)?$")]
    claim_token_file: str | None = None
    join_token_file: str | None = None
    sync_s: Seconds = 10.0
    checkin_s: Seconds = 60.0
    update_s: Seconds = 60.0
    health_s: Seconds = 300.0
    timeout_s: Seconds = 20.0


class AssetConfig(_Strict, frozen=True, kw_only=True):
    """A machine to watch and the kind of machine it is."""

    id: Name
    profile: Name


class AgentConfig(_Strict, frozen=True, kw_only=True):
    """The whole file."""

    device: DeviceConfig
    assets: Annotated[list[AssetConfig], Meta(min_length=1)]
    hub: HubConfig | None = None
    serial: list[SerialConfig] = []
    mqtt: list[MqttConfig] = []
    host: list[HostConfig] = []
    modbus: list[ModbusConfig] = []
    sysfs: list[SysfsConfig] = []
    actions: Annotated[list[ActionRule], Meta(max_length=MAX_RULES)] = []
    home_assistant: HomeAssistantConfig | None = None
    page: PageConfig | None = None


KINDS: Final = ("serial", "mqtt", "host", "modbus", "sysfs")  # of sources: tables of `AgentConfig`


class LoadedConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A configuration that fits together; paths are absolute."""

    path: Path
    config: AgentConfig
    state_dir: Path
    profiles: dict[str, Profile]  # by asset

    @property
    def token_file(self) -> Path | None:
        """What the agent enrols with, by itself."""
        hub = self.config.hub
        name = hub and (hub.claim_token_file or hub.join_token_file)
        return self.resolve(name) if name else None

    @property
    def channels(self) -> dict[str, list[str]]:
        """The channel names of each asset."""
        return {asset: profile.channel_names for asset, profile in self.profiles.items()}

    def resolve(self, name: str) -> Path:
        """A path of the config file, relative to it."""
        return self.path.parent / name


def load_config(path: Path) -> LoadedConfig:
    """Read and check `path`. Raises ConfigError naming file, key and what was expected."""
    config = read_toml(path, AgentConfig)
    directory = path.parent / config.device.profiles_dir if config.device.profiles_dir else path.parent
    profiles: dict[str, Profile] = {}
    for i, asset in enumerate(config.assets):
        if asset.id in profiles:
            raise ConfigError(f"{path}: assets[{i}].id", f"a name of its own; {asset.id!r} is there twice")
        try:
            profiles[asset.id] = load_profile(asset.profile, directory)
        except ConfigError as error:
            raise ConfigError(f"{path}: assets[{i}].profile", f"{error}") from None
    _check_sources(path, config, profiles)
    _check_hub(path, config)
    check_page(path, config.page)
    check_actions(path, config.actions, config.home_assistant, profiles)
    return LoadedConfig(path=path, config=config, state_dir=path.parent / config.device.state_dir, profiles=profiles)


def _check_sources(path: Path, config: AgentConfig, profiles: dict[str, Profile]) -> None:
    names: set[str] = set()
    for kind, sources in ((kind, getattr(config, kind)) for kind in KINDS):
        for i, source in enumerate(sources):
            where = f"{path}: {kind}[{i}]"
            if source.name in names:
                raise ConfigError(f"{where}.name", f"a name of its own; {source.name!r} is there twice")
            names.add(source.name)
            for key, asset, channel in _mentioned(source):
                if asset not in profiles:
                    raise ConfigError(f"{where}.{key}asset", f"one of the assets {', '.join(profiles)}, not {asset!r}")
                known = profiles[asset].channel_names
                if channel is not None and channel not in known:
                    raise ConfigError(f"{where}.{key}channel", f"one of {asset}'s channels {', '.join(known)}, not {channel!r}")
            if isinstance(source, MqttConfig):
                compile_topics(source.topics, where)
    if not names:
        *others, last = (f"[[{kind}]]" for kind in KINDS)
        raise ConfigError(str(path), f"at least one source: {', '.join(others)} or {last}")


def _mentioned(source: SourceConfig) -> Iterator[tuple[str, str, str | None]]:
    """(key up to its last part, asset, channel) wherever the source names an asset, and perhaps a channel of it."""
    own = getattr(source, "asset", None)
    if own:
        yield "", own, None
    for name in source.__struct_fields__:
        value = getattr(source, name)
        for i, each in enumerate(value if isinstance(value, tuple) else ()):
            asset = getattr(each, "asset", None) or own
            if asset and isinstance(each, msgspec.Struct):
                yield f"{name}[{i}].", asset, getattr(each, "channel", None)
                for metric, channel in getattr(each, "metrics", {}).items():
                    yield f"{name}[{i}].metrics.{metric!r}: ", asset, channel


def _check_hub(path: Path, config: AgentConfig) -> None:
    if config.hub is None:
        return
    if config.hub.claim_token_file and config.hub.join_token_file:
        raise ConfigError(f"{path}: hub.join_token_file", "one of claim_token_file and join_token_file, not both")
    for key in ("claim_token_file", "join_token_file"):
        token = getattr(config.hub, key)
        if token and not (path.parent / token).is_file():
            raise ConfigError(f"{path}: hub.{key}", f"an existing file, not {token!r}")
