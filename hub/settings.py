"""A hub lives in one directory: its settings, keys, tokens, state, ingest log, lake and bundles.

    DIR/hub.toml          settings; a key that is not there has its default, an unknown key is refused
    DIR/keys/hub.key      Ed25519, 0600: devices know the hub by it, and take the first TUF root on its word
    DIR/keys/*/           the keys that sign bundles (hub/distribution/keys.py)
    DIR/keys/ca.*, tls.*  the hub's own CA and its certificate: see `hub/tls/files.py`
    DIR/admin.token       0600: opens everything: the first way in, and the last one
    DIR/join.token        0600: lets any device enrol, where it is there; `tocsin hub token` makes better ones
    DIR/hub.db            state (SQLite by default)      DIR/ingest.db   what is acknowledged and not yet consumed
    DIR/lake/             Delta tables                   DIR/bundles/    model archives, by SHA-256

Relative paths in hub.toml are taken from DIR, so that a hub can be moved or copied as a whole.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta

from hub.notify.config import Notify, check_notify
from hub.tls.files import Tls, TlsFiles
from models.contract.config import read_toml
from models.contract.names import Name
from models.contract.signing import SigningKey
from models.errors import ConfigError
from models.files import write_durably

if TYPE_CHECKING:
    from hub.distribution.repository import Repository

DEFAULT_DIR = "./tocsin-hub"
Hours = Annotated[float, Meta(ge=0.05, le=8784)]
Seconds = Annotated[float, Meta(ge=0.1, le=86400)]
Days = Annotated[int, Meta(ge=0, le=36_500)]


class CatalogueEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What people should know of a profile's data. `owner`: who answers for it. `channels`: a sentence on each."""

    owner: Annotated[str, Meta(max_length=200)] = ""
    description: Annotated[str, Meta(max_length=2000)] = ""
    channels: Annotated[dict[Name, Annotated[str, Meta(max_length=500)]], Meta(max_length=1000)] = {}


class HubConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`hub.toml`. An empty URL or directory means the default inside the hub's own directory.

    `checkin_s`: how often devices are asked to check in. `lake_commit_s`: how long windows are gathered before they are
    committed to the lake. `rollout_tick_s`: how often gates are judged. `session_idle_h`, `session_max_h`: how long a browser
    stays signed in, unused and at all. `profiles_dir`: profiles beside the built-in ones.
    `require_approval`: no rollout starts before somebody has approved its bundle. `retrain_…`: see `hub/training/triggers.py`.
    `rollout_trained`: see `hub/rollout/after_training.py`.
    `catalogue`: by profile, for the page of the data.
    `notify`: who is told of incidents, see `hub/notify/config.py`.
    `keep_..._days`: how many days a table of the lake, or what is in quarantine, is kept; 0 = for ever. `keep_versions_h`: how
    long the lake's older versions stay readable.

    `ask_time_zone`: in which questions are understood and times shown. `ask_endpoint_...`: an OpenAI-compatible endpoint for
    questions beyond the vocabulary, off while its URL is empty; see docs/ask.md.

    `tls`: see `hub/tls/files.py`; `tls_names`: what else the own certificate is for. `tls_ca`: the CA that devices should pin
    where the certificate is not by the own one. `url`: where devices find the hub; empty = made up of host and port.
    """

    hub_id: Name = "hub"
    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535)] = 8700
    state_url: str = ""
    lake_url: str = ""
    profiles_dir: str = ""
    checkin_s: Seconds = 30.0
    lake_commit_s: Seconds = 15.0
    rollout_tick_s: Seconds = 5.0
    url: Annotated[str, Meta(pattern=r"^(https?://[^/\s]+[^\s]*)?\Z", max_length=500)] = ""
    tls: Tls = "auto"
    tls_cert: str = ""
    tls_key: str = ""
    tls_ca: str = ""
    tls_names: list[Annotated[str, Meta(pattern=r"^[A-Za-z0-9.:_\-]+\Z", max_length=253)]] = []
    session_idle_h: Hours = 12.0
    session_max_h: Hours = 168.0
    keep_aggregates_days: Days = 0
    keep_rollups_days: Days = 0
    keep_evidence_days: Days = 0
    keep_health_days: Days = 365
    keep_quarantine_days: Days = 90
    keep_versions_h: Annotated[int, Meta(ge=1, le=87_600)] = 168
    require_approval: bool = False
    retrain_every_h: Annotated[float, Meta(ge=0, le=87_600)] = 0.0
    retrain_drift_share: Annotated[float, Meta(ge=0, le=1)] = 0.0
    retrain_feedback: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    retrain_rest_h: Annotated[float, Meta(ge=0.1, le=87_600)] = 24.0
    rollout_trained: bool = False
    catalogue: dict[Name, CatalogueEntry] = {}
    notify: Notify = Notify()
    ask_time_zone: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_+\-/]+\Z", max_length=64)] = "UTC"
    ask_endpoint_url: Annotated[str, Meta(max_length=500)] = ""
    ask_endpoint_model: Annotated[str, Meta(max_length=200)] = ""
    ask_endpoint_key_file: str = ""
    ask_endpoint_timeout_s: Annotated[float, Meta(ge=1, le=120)] = 20.0


@dataclass(frozen=True)
class HubPaths:
    """Where things are under the hub's directory."""

    root: Path

    @property
    def config(self) -> Path:
        return self.root / "hub.toml"

    @property
    def keys(self) -> Path:
        return self.root / "keys"

    @property
    def key(self) -> Path:
        return self.keys / "hub.key"

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
    join_token: str  # empty = none

    @property
    def tls(self) -> TlsFiles:
        return TlsFiles(self.paths.root, self.config)

    def repository(self, elsewhere: Path | None = None) -> Repository:
        """What signs bundles; `elsewhere`: a folder with keys that are not kept here."""
        from hub.distribution.keys import KeyRing
        from hub.distribution.repository import Repository

        return Repository(KeyRing(self.paths.keys, elsewhere))

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
# host = "127.0.0.1"        # 0.0.0.0 lets devices on the network in, by TLS
# port = 8700
# state_url = ""            # empty: hub.db in this directory; or postgresql+psycopg://...
# lake_url = ""             # empty: lake/ in this directory; or s3://bucket/path
# profiles_dir = ""         # profiles beside the built-in ones
# checkin_s = 30.0          # how often devices check in
# lake_commit_s = 15.0      # how long windows are gathered before they go to the lake
# rollout_tick_s = 5.0      # how often gates are judged
# url = ""                  # where devices find this hub; empty: made up of host and port
# tls = "auto"              # own (by this hub's own CA) beyond loopback, else off; or own, files, off
# tls_cert = ""             # for files: PEM certificate and chain, and
# tls_key = ""              # its key; read again when they change
# tls_ca = ""               # for files or a proxy: PEM of the CA that devices pin; empty: checked as by a browser
# tls_names = []            # what else the own certificate is for, beside this machine's names and addresses
# session_idle_h = 12.0     # a browser that asks for nothing for so long has to sign in again
# session_max_h = 168.0     # so long after signing in it has to in any case
# keep_aggregates_days = 0  # how many days of the lake's tables are kept; 0: for ever
# keep_rollups_days = 0
# keep_evidence_days = 0
# keep_health_days = 365
# keep_quarantine_days = 90 # how many days of what could not be used
# keep_versions_h = 168     # how long older versions of the lake stay readable
# require_approval = false  # whether a bundle must be approved before it is rolled out
# retrain_every_h = 0       # train each profile so often; 0: off, as are the next two
# retrain_drift_share = 0   # or once so large a share of its assets has moved from its normal
# retrain_feedback = 0      # or once so many alerts were judged since the latest run
# retrain_rest_h = 24       # but never sooner after a run
# ask_time_zone = "UTC"     # or "Europe/Paris": when days begin in questions, and in what is shown of their answers
# ask_endpoint_url = ""     # an OpenAI-compatible endpoint for questions beyond the vocabulary; empty: none
# ask_endpoint_model = ""
# ask_endpoint_key_file = ""
# ask_endpoint_timeout_s = 20.0
# catalogue = {}            # by profile: owner, description, channels, as the page of the data tells them
# [notify]                  # who is told of incidents, where and when: docs/notify.md
"""


def init_hub(root: Path, config_text: str = _HUB_TOML, *, join_token: bool = True) -> Hub:
    """Make the hub's directory, or complete it; what is there is kept. `join_token`: whether one is made, too.

    Raises ConfigError where it cannot be written.
    """
    paths = HubPaths(root)
    try:
        root.mkdir(parents=True, exist_ok=True)
        for folder in (paths.key.parent, paths.bundles, paths.logs):
            folder.mkdir(exist_ok=True)
        if not paths.config.exists():
            write_durably(paths.config, config_text.encode())
        for token in (paths.admin_token, *([paths.join_token] if join_token else [])):
            if not token.exists():
                write_durably(token, secrets.token_urlsafe(32).encode() + b"\n", mode=0o600)
        SigningKey.load_or_create(paths.key)
    except OSError as error:
        raise ConfigError(str(root), f"a directory that can be written: {error.strerror}") from None
    hub = load_hub(root)
    hub.tls.ensure_authority()
    return hub


def load_hub(root: Path) -> Hub:
    """Read the hub in `root`. Raises ConfigError naming the file and key; StorageError where the key is damaged."""
    paths = HubPaths(root)
    try:
        if not paths.config.is_file():
            raise ConfigError(str(paths.config), f"no such file; `tocsin hub init --data {root}` makes a hub")
        config = read_toml(paths.config, HubConfig)
        check_notify(config.notify, str(paths.config))
        if not paths.key.is_file():
            raise ConfigError(str(paths.key), "no such file; restore it: devices that are enrolled know this hub by it")
        key = SigningKey.load_or_create(paths.key)
    except OSError as error:
        raise ConfigError(str(error.filename or root), f"a file that can be read: {error.strerror}") from None
    return Hub(
        paths=paths,
        config=config,
        key=key,
        admin_token=_token(paths.admin_token),
        join_token=_token(paths.join_token) if paths.join_token.exists() else "",
    )


def _token(path: Path) -> str:
    try:
        token = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        raise ConfigError(str(path), "a readable token; `tocsin hub init` makes a missing one") from None
    if len(token) < 16:
        raise ConfigError(str(path), "a token of at least 16 characters")
    return token
