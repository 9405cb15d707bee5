"""Which certificate the hub shows, where its files are, and which CA devices should pin.

    keys/ca.key     0600: whoever has it can pass for this hub       keys/ca.pem      what devices pin
    keys/tls.pem    0600: the server's key, its certificate, the CA's; renewed by the hub

`own`: by the hub's CA. `files`: `tls_cert` and `tls_key`, as they are, read again when they change. `off`: plain HTTP. `auto`
is `own` wherever others than this machine are listened to, and `off` on loopback: nothing goes over a network in clear unless
somebody wrote `off`.
"""

from __future__ import annotations

import ipaddress
import socket
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal, Protocol

from hub.tls.authority import issue, make_authority, pin_of, why_renew
from models.errors import ConfigError
from models.files import write_durably

Tls = Literal["auto", "own", "files", "off"]


class TlsConfig(Protocol):
    """The keys of `hub.settings.HubConfig` that this needs."""

    @property
    def hub_id(self) -> str: ...
    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def url(self) -> str: ...
    @property
    def tls(self) -> Tls: ...
    @property
    def tls_cert(self) -> str: ...
    @property
    def tls_key(self) -> str: ...
    @property
    def tls_ca(self) -> str: ...
    @property
    def tls_names(self) -> list[str]: ...


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """The certificates of the hub in `root`. Nothing is read or made before it is asked for."""

    root: Path
    config: TlsConfig

    @property
    def ca_key(self) -> Path:
        return self.root / "keys" / "ca.key"

    @property
    def ca(self) -> Path:
        return self.root / "keys" / "ca.pem"

    @property
    def server(self) -> Path:
        return self.root / "keys" / "tls.pem"

    def mode(self, host: str) -> Literal["own", "files", "off"]:
        """What is shown to whoever connects, where `host` is listened on."""
        if self.config.tls != "auto":
            return self.config.tls
        return "off" if is_loopback(host) else "own"

    def given(self) -> tuple[Path, Path]:
        """`tls_cert` and `tls_key`. Raises ConfigError."""
        for name in ("tls_cert", "tls_key"):
            path = getattr(self.config, name)
            if not path or not (self.root / path).is_file():
                raise ConfigError(f"{self.root / 'hub.toml'}: {name}", f'a PEM file, for tls = "files"; not {path!r}')
        return self.root / self.config.tls_cert, self.root / self.config.tls_key

    def ensure_authority(self) -> None:
        """Make the CA where there is none. Raises ConfigError where only half of it is left: devices have pinned it."""
        if self.ca_key.exists() != self.ca.exists():
            lost = self.ca if self.ca_key.exists() else self.ca_key
            raise ConfigError(str(lost), f"to be there beside {self.ca_key.name}/{self.ca.name}: restore it, or remove both")
        if self.ca.exists():
            return
        key, certificate = make_authority(self.config.hub_id)
        write_durably(self.ca, certificate)
        try:
            write_durably(self.ca_key, key, mode=0o600)
        except OSError:
            self.ca.unlink(missing_ok=True)
            raise

    def renew(self, now: datetime) -> str | None:
        """Issue the server's certificate anew if need be; why it was. Raises OSError, ConfigError."""
        self.ensure_authority()
        ca, names = self.ca.read_bytes(), self.names()
        try:
            why = why_renew(self.server.read_bytes(), ca, names, now)
        except FileNotFoundError:
            why = "there was none"
        if why is not None:
            write_durably(self.server, issue(self.ca_key.read_bytes(), ca, names, now), mode=0o600)
        return why

    def names(self) -> set[str]:
        """What this machine may be called by devices: loopback, its host name and addresses, and what is configured."""
        host = socket.gethostname()
        url_host = host_of(self.config.url)
        found = {"localhost", "127.0.0.1", "::1", host, *self.config.tls_names, *([url_host] if url_host else ())}
        with suppress(OSError):
            found |= {str(entry[4][0]).partition("%")[0] for entry in socket.getaddrinfo(host, None)}
        if self.config.host not in ("0.0.0.0", "::"):  # noqa: S104  # compared, not listened on
            found.add(self.config.host)
        return {name for name in found | set(_outward()) if name and name.isascii()}

    def ca_pem(self) -> bytes | None:
        """The certificate that devices should pin; None: they check as a browser does, or there is no TLS.

        Raises ConfigError: `tls_ca` is no certificate.
        """
        if self.config.tls_ca:
            path = self.root / self.config.tls_ca
            try:
                pem = path.read_bytes()
                pin_of(pem)
            except (OSError, ValueError):
                raise ConfigError(f"{self.root / 'hub.toml'}: tls_ca", f"a PEM certificate, not {str(path)!r}") from None
            return pem
        return self.ca.read_bytes() if self.config.tls in ("auto", "own") and self.ca.exists() else None

    def url(self) -> str:
        """Where devices find the hub, as far as it knows: `url`, or made up of host and port."""
        if self.config.url:
            return self.config.url.rstrip("/")
        host = self.config.host
        scheme = "http" if self.mode(host) == "off" else "https"
        name = socket.gethostname() if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host  # noqa: S104
        return f"{scheme}://{name}:{self.config.port}"


def is_loopback(host: str) -> bool:
    """Whether only this machine can connect there."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def host_of(url: str) -> str:
    """The host of a URL; empty for none."""
    from urllib.parse import urlsplit

    return urlsplit(url).hostname or ""


def _outward() -> list[str]:
    """The addresses by which this machine reaches others; nothing is sent for it."""
    found = []
    for family, elsewhere in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((elsewhere, 9))
            found.append(str(probe.getsockname()[0]).partition("%")[0])
    return found
