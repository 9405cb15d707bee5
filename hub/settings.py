"""A hub lives in one directory: its settings, keys, tokens, state, ingest log, lake and bundles.

    DIR/hub.toml          settings; a key that is not there has its default, an unknown key is refused
    DIR/keys/hub.key      Ed25519, 0600: signs the bundles that devices load
    DIR/admin.token       0600: opens the page and the operators' API
    DIR/join.token        0600: lets a device enrol
    DIR/hub.db            state (SQLite by default)      DIR/ingest.db   what is acknowledged and not yet consumed
    DIR/lake/             Delta tables                   DIR/bundles/    model archives, by SHA-256

Relative paths in hub.toml are taken from DIR, so that a hub can be moved or copied as a whole.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from models.contract.config import read_toml
from models.contract.names import Name
from models.contract.signing import SigningKey
from models.errors import ConfigError
from models.files import write_durably

DEFAULT_DIR = "./tocsin-hub"
Seconds = Annotated[float, Meta(ge=0.1, le=86400)]


class HubConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`hub.toml`. An empty URL or directory means the default inside the hub's own directory.

    `checkin_s`: how often devices are asked to check in. `lake_commit_s`: how long windows are gathered before they are
    committed to the lake. `rollout_tick_s`: how often gates are judged. `profiles_dir`: profiles beside the built-in ones.
    `require_approval`: no rollout starts before somebody has approved its bundle.
    """

    hub_id: Name = "hub"
    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535)] = 8700
    state_url: str = ""
    lake_url: str = ""
    profiles_dir: str = ""
    checkin_s: Seconds = 30.0
    lake_commit_s: Seconds = 5.0
    rollout_tick_s: Seconds = 5.0
    require_approval: bool = False


@dataclass(frozen=True)
class HubPaths:
    """Where things are under the hub's directory."""

    root: Path

    @property
    def config(self) -> Path:
        return self.root / "hub.toml"

    @property
    def key(self) -> Path:
        return self.root / "keys" / "hub.key"

    @property
    def admin_token(self) -> Path:
        return self.root / "admin.token"

    @property
    def join_token(self) -> Path:
        return self.root / "join.token"

    @property
    def state(self) -> Path:
        return self.root / "hub.db"

    @property
    def ingest(self) -> Path:
        return self.root / "ingest.db"

    @property
    def lake(self) -> Path:
        return self.root / "lake"

    @property
    def bundles(self) -> Path:
        return self.root / "bundles"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def lock(self) -> Path:
        return self.root / "serve.lock"


@dataclass(frozen=True)
class Hub:
    """A hub's directory as read: nothing is opened yet."""

    paths: HubPaths
    config: HubConfig
    key: SigningKey
    admin_token: str
    join_token: str

    @property
    def state_url(self) -> str:
        """An SQLAlchemy URL."""
        return self.config.state_url or f"sqlite:///{self.paths.state.absolute()}"

    @property
    def lake_url(self) -> str:
        """A folder, or a URL that Delta Lake understands (`s3://...`)."""
        configured = self.config.lake_url
        if "://" in configured:
            return configured
        return str((self.paths.root / configured if configured else self.paths.lake).absolute())

    @property
    def profiles_dir(self) -> Path | None:
        return self.paths.root / self.config.profiles_dir if self.config.profiles_dir else None


_HUB_TOML = """\
# Settings of this hub. Every key is optional; what is commented out shows the default.
# hub_id = "hub"
# host = "127.0.0.1"        # 0.0.0.0 lets devices on the network in
# port = 8700
# state_url = ""            # empty: hub.db in this directory; or postgresql+psycopg://...
# lake_url = ""             # empty: lake/ in this directory; or s3://bucket/path
# profiles_dir = ""         # profiles beside the built-in ones
# checkin_s = 30.0          # how often devices check in
# lake_commit_s = 5.0       # how long windows are gathered before they go to the lake
# rollout_tick_s = 5.0      # how often gates are judged
# require_approval = false  # whether a bundle must be approved before it is rolled out
"""


def init_hub(root: Path, config_text: str = _HUB_TOML) -> Hub:
    """Make the hub's directory, or complete it; what is there is kept. Raises ConfigError where it cannot be written."""
    paths = HubPaths(root)
    try:
        root.mkdir(parents=True, exist_ok=True)
        for folder in (paths.key.parent, paths.bundles, paths.logs):
            folder.mkdir(exist_ok=True)
        if not paths.config.exists():
            write_durably(paths.config, config_text.encode())
        for token in (paths.admin_token, paths.join_token):
            if not token.exists():
                write_durably(token, secrets.token_urlsafe(32).encode() + b"\n", mode=0o600)
        SigningKey.load_or_create(paths.key)
    except OSError as error:
        raise ConfigError(str(root), f"a directory that can be written: {error.strerror}") from None
    return load_hub(root)


def load_hub(root: Path) -> Hub:
    """Read the hub in `root`. Raises ConfigError naming the file and key; StorageError where the key is damaged."""
    paths = HubPaths(root)
    try:
        if not paths.config.is_file():
            raise ConfigError(str(paths.config), f"no such file; `tocsin hub init --data {root}` makes a hub")
        config = read_toml(paths.config, HubConfig)
        if not paths.key.is_file():
            raise ConfigError(str(paths.key), "no such file; restore it: devices accept only bundles that this key signed")
        key = SigningKey.load_or_create(paths.key)
    except OSError as error:
        raise ConfigError(str(error.filename or root), f"a file that can be read: {error.strerror}") from None
    return Hub(
        paths=paths,
        config=config,
        key=key,
        admin_token=_token(paths.admin_token),
        join_token=_token(paths.join_token),
    )


def _token(path: Path) -> str:
    try:
        token = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        raise ConfigError(str(path), "a readable token; `tocsin hub init` makes a missing one") from None
    if len(token) < 16:
        raise ConfigError(str(path), "a token of at least 16 characters")
    return token
