"""Claim tokens at the hub: made, used up, taken back. The hub keeps the public half of each; see `models/contract/claim.py`.

Invariants:
1. A token lets in at most `max_uses` devices, also when they come at the same moment: a use is counted by one conditional
   update, in the transaction that pins the device's key.
2. A device that is let in already costs no further use: enrolling is asked for again where an answer was lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Connection, insert, select, tuple_, update

from hub.audit.log import JsonValue, record
from hub.state.schema import claim_tokens
from models.contract.checkin import Enrol
from models.contract.claim import ClaimToken, claim_message
from models.contract.signing import verified
from models.errors import ConfigError, EnvelopeError

MAX_USES: Final = 10_000
MAX_TTL_H: Final = 24.0 * 366
_HOUR_NS: Final = 3_600_000_000_000


class ClaimRefused(EnvelopeError):
    """The device has no claim token that counts; the text says why."""


def create_token(
    connection: Connection,
    token: ClaimToken,
    *,
    site: str,
    profiles: Sequence[str],
    max_uses: int,
    ttl_h: float,
    actor: str,
    now_ns: int,
) -> None:
    """Let `token` count from now on. `profiles`: what the devices may watch; empty = anything. Raises ConfigError."""
    if not 1 <= max_uses <= MAX_USES:
        raise ConfigError("claim token: count", f"1..{MAX_USES}, not {max_uses}")
    if not 0 < ttl_h <= MAX_TTL_H:
        raise ConfigError("claim token: ttl", f"hours, above 0 and at most {MAX_TTL_H:.0f}, not {ttl_h:g}")
    expires_ns = now_ns + round(ttl_h * _HOUR_NS)
    allowed = sorted(set(profiles))
    row = {"token_id": token.token_id, "public_key": token.key.public_bytes, "site": site, "profiles": allowed}
    uses = {"max_uses": max_uses, "n_used": 0, "created_ns": now_ns, "created_by": actor[:128], "expires_ns": expires_ns}
    connection.execute(insert(claim_tokens), {**row, **uses})
    told: dict[str, JsonValue] = {"site": site, "profiles": allowed, "max_uses": max_uses, "expires_ns": expires_ns}
    record(connection, at_ns=now_ns, actor=actor, action="token.create", subject=token.token_id, details=told)


def list_tokens(
    connection: Connection, now_ns: int, limit: int | None = None, after: tuple[int, str] | None = None
) -> list[dict[str, Any]]:
    """Newest first, each with its `state`: usable, used up, expired or revoked. `after`: `created_ns` and id of the last one
    known already."""
    columns = [column for column in claim_tokens.c if column.name != "public_key"]
    order = (claim_tokens.c.created_ns, claim_tokens.c.token_id)
    query = select(*columns).order_by(*(column.desc() for column in order)).limit(limit)
    if after is not None:
        query = query.where(tuple_(*order) < tuple_(*after))
    rows = connection.execute(query).mappings()
    return [{**row, "state": _state(row, now_ns)} for row in rows]


def revoke_token(connection: Connection, token_id: str, *, actor: str, now_ns: int) -> bool:
    """Whether there was such a token, and it was not revoked before. Devices that it let in stay."""
    mine = (claim_tokens.c.token_id == token_id) & claim_tokens.c.revoked_ns.is_(None)
    done = connection.execute(update(claim_tokens).where(mine).values(revoked_ns=now_ns)).rowcount > 0
    if done:
        record(connection, at_ns=now_ns, actor=actor, action="token.revoke", subject=token_id)
    return done


def find_token(connection: Connection, device_id: str, enrol: Enrol) -> dict[str, Any]:
    """The token that the device has shown to hold. Raises ClaimRefused; expired and used up are not looked at yet.

    Whoever has no token is told no more than that: not even whether there is one of that name.
    """
    row = connection.execute(select(claim_tokens).where(claim_tokens.c.token_id == enrol.claim_id)).mappings().first()
    message = claim_message(enrol.claim_id, device_id, enrol.public_key)
    if row is None or not verified(row["public_key"], enrol.claim_proof, message):
        raise ClaimRefused(f"device {device_id}: its claim token is not of this hub")
    return dict(row)


def use_token(connection: Connection, token: dict[str, Any], device_id: str, now_ns: int) -> None:
    """Count one use. Raises ClaimRefused where none is left, or it is over."""
    state = _state(token, now_ns)
    if state == "usable":
        left = (claim_tokens.c.token_id == token["token_id"]) & (claim_tokens.c.n_used < claim_tokens.c.max_uses)
        counted = update(claim_tokens).where(left).values(n_used=claim_tokens.c.n_used + 1)
        if connection.execute(counted).rowcount:
            return
        state = "used up"
    raise ClaimRefused(f"device {device_id}: claim token {token['token_id']} is {state}; `tocsin hub token` makes another")


def check_allowed(token: dict[str, Any], device_id: str, enrol: Enrol) -> None:
    """Raises ClaimRefused where the device watches what the token is not for."""
    allowed = token["profiles"]
    others = sorted(set(enrol.profiles or ()) - set(allowed))
    if allowed and (others or enrol.profiles is None):
        watches = ", ".join(others)[:200] or "what it does not say"
        raise ClaimRefused(f"device {device_id} watches {watches}; claim token {token['token_id']} is for {', '.join(allowed)}")


def _state(row: Any, now_ns: int) -> str:
    if row["revoked_ns"] is not None:
        return "revoked"
    if row["n_used"] >= row["max_uses"]:
        return "used up"
    return "expired" if now_ns >= row["expires_ns"] else "usable"
