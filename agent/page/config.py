"""`[page]` of `tocsin.toml`: where the agent shows itself to a browser, and to whom. Small: it is read by every agent."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from models.errors import ConfigError

NO_SIGN_IN = "it has no sign-in: whoever reaches it sees this device's machines, alerts and the names of its sources"
HostName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9]([A-Za-z0-9.-]{0,252})\Z")]


class PageConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`host`: an address of this device. `allow_remote`: others than this device may look; nobody has to sign in. `names`: of
    this device, by which browsers may ask for it, beside its addresses and its own host name."""

    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=1, le=65535)] = 8070
    allow_remote: bool = False
    names: Annotated[list[HostName], Meta(max_length=16)] = []

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}/"


def check_page(path: Path, page: PageConfig | None) -> None:
    """Raises ConfigError for an address that is none, or one that others reach though nobody allowed that."""
    if page is None:
        return
    try:
        is_loopback = ip_address(page.host).is_loopback
    except ValueError:
        raise ConfigError(f"{path}: page.host", f"an IP address of this device, not {page.host!r}") from None
    if not is_loopback and not page.allow_remote:
        expected = (
            f"127.0.0.1 or ::1; {page.host} is reached by others, and the page has no sign-in: allow_remote = true allows that"
        )
        raise ConfigError(f"{path}: page.host", expected)


def page_lines(page: PageConfig | None) -> list[str]:
    """What `check-config` says of it."""
    if page is None:
        return []
    return [f"page: {page.url}", *([f"! page: {NO_SIGN_IN}"] if page.allow_remote else [])]
