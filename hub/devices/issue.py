"""Making a claim token of this hub, with where it is and what it can be known by."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Connection

from hub.devices.claims import create_token
from hub.settings import Hub
from hub.tls.authority import pin_of
from models.contract.claim import claim_text, new_claim
from models.contract.names import NAME_PATTERN
from models.errors import ConfigError

_NAME: Final = re.compile(NAME_PATTERN)


def issue_token(
    connection: Connection,
    hub: Hub,
    *,
    site: str,
    profiles: Sequence[str],
    max_uses: int,
    ttl_h: float,
    actor: str,
    now_ns: int,
) -> dict[str, Any]:
    """Its id, its text, which is nowhere else, and what it is for. Raises ConfigError."""
    for what, name in (("site", site), *(("profile", profile) for profile in profiles)):
        if not _NAME.match(name):
            raise ConfigError(f"claim token: {what}", f"1-64 letters, digits, '_', '.', '-', not {name!r}")
    if hub.config.tls in ("auto", "own"):
        hub.tls.ensure_authority()  # a hub of an older version has none yet
    ca = hub.tls.ca_pem()
    token = new_claim(hub.tls.url(), pin_of(ca) if ca else None)
    create_token(connection, token, site=site, profiles=profiles, max_uses=max_uses, ttl_h=ttl_h, actor=actor, now_ns=now_ns)
    return {
        "token_id": token.token_id,
        "token": claim_text(token),
        "url": token.url,
        "ca_sha256": token.ca_sha256 and token.ca_sha256.hex(),
        "site": site,
        "profiles": sorted(set(profiles)),
        "max_uses": max_uses,
        "expires_ns": now_ns + round(ttl_h * 3_600_000_000_000),
    }
