"""`tocsin agent enrol` and `rotate-key`, in a process of their own, beside no agent or, for the key, a running one."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from agent.config import LoadedConfig, load_config
from agent.state_dir import hold
from agent.status.control import ask
from agent.uplink.enrol import NOT_ENROLLED, check_way, enrol, read_token, rotate
from agent.uplink.identity import Identity
from models.contract.claim import is_claim, read_claim
from models.errors import ConfigError, LinkError, StorageError
from models.version import VERSION

_TIMEOUT_S = 20.0


def enrol_now(config_path: Path, url: str, token: str, again: bool) -> str:
    """What to tell. Raises TocsinError; what was pinned before stays then."""
    from agent.app import make_link, said_of

    loaded = load_config(config_path.absolute())
    _check_url(loaded, url)
    token = _token(token)
    if is_claim(token):
        check_way(read_claim(token), url)
    identity = _held_identity(loaded)
    if identity.enrolment is not None and not again:
        return f"{identity.device_id} is enrolled already, at hub {identity.enrolment.hub_id}; --again does it anew"
    timeout_s = loaded.config.hub.timeout_s if loaded.config.hub else _TIMEOUT_S
    if again and is_claim(token) and read_claim(token).ca_sha256 is None:
        identity.unpin_ca()
    link = make_link(url, timeout_s, identity)
    try:
        made = enrol(identity, link, url, timeout_s, said_of(loaded, VERSION), token)
    finally:
        link.close()
    whom = "its CA is pinned" if identity.ca_file else "no CA is pinned"
    lines = [f"{identity.device_id} is enrolled at hub {made.hub_id}, site {made.site or loaded.config.device.site}; {whom}"]
    if loaded.config.hub is None:
        lines.append(f'add to {config_path}:\n\n[hub]\nurl = "{url}"')
    return "\n".join(lines)


def rotate_now(config_path: Path) -> str:
    """See `enrol_now`."""
    from agent.app import make_link

    loaded = load_config(config_path.absolute())
    if loaded.config.hub is None:
        raise ConfigError(f"{config_path}: hub", "the hub that is to have the new key")
    answer = ask(loaded.state_dir, "rotate-key")
    if answer is not None and "error" in answer:
        raise StorageError(f"{loaded.state_dir}: its agent makes no new key: {answer['error']}")
    if answer is not None:
        return "a new key is made; the hub hears of it at once, or at the next contact: `tocsin agent status` tells"
    identity = _held_identity(loaded)
    if identity.enrolment is None:
        raise ConfigError(f"{config_path}: hub", NOT_ENROLLED)
    link = make_link(loaded.config.hub.url, loaded.config.hub.timeout_s, identity)
    try:
        rotate(identity, link)
    finally:
        link.close()
    return f"{identity.device_id} has a new key, and the hub has pinned it"


def _held_identity(loaded: LoadedConfig) -> Identity:
    """This device's identity; no agent runs beside this process until it ends. Raises StorageError."""
    _become_owner(loaded.state_dir)
    hold(loaded.state_dir)
    return Identity(loaded.state_dir, loaded.config.device.id)


def _become_owner(state_dir: Path) -> None:
    """Of the state directory, where root runs this: what is written there must be the service's to read."""
    if os.geteuid() != 0 or not state_dir.exists():
        return
    stat = state_dir.stat()
    if stat.st_uid == 0:
        return
    try:
        os.setgroups([])
        os.setgid(stat.st_gid)
        os.setuid(stat.st_uid)
    except OSError as error:
        raise StorageError(f"{state_dir}: cannot work as its owner: {error.strerror}") from None


def _check_url(loaded: LoadedConfig, url: str) -> None:
    configured = loaded.config.hub.url if loaded.config.hub else url
    if configured.rstrip("/") != url.rstrip("/"):
        raise ConfigError(f"{loaded.path}: hub.url", f"the hub to enrol at: it says {configured}, not {url}")
    if not url.startswith(("http://", "https://")):
        raise ConfigError(f"hub address {url}", "http://… or https://…")


def _token(given: str) -> str:
    """The token that `given` is or names. Raises ConfigError without repeating what may be a secret."""
    if given == "-":
        return sys.stdin.readline().strip()
    if is_claim(given):
        return given.strip()
    try:
        return read_token(Path(given))
    except LinkError:
        raise ConfigError("TOKEN", "a claim token, the name of a file that can be read, or -") from None
