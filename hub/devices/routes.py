"""What operators call to let devices in and to keep them out: JSON under /v1; it takes the right to manage devices."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field
from sqlalchemy import Engine

from hub.access import Access
from hub.api.guard import Actor, guarded_by
from hub.api.openapi import page_responses, problems
from hub.api.paging import Paged, TimedKey
from hub.api.problems import Problem
from hub.devices.claims import MAX_TTL_H, MAX_USES, list_tokens, revoke_token
from hub.devices.issue import issue_token
from hub.devices.keys import DeviceKeys
from hub.devices.standing import MAX_REASON, take_step
from hub.erasure.erasure import ask, is_asked, is_known
from hub.settings import Hub
from hub.state.database import reading

_MAX_BODY_BYTES = 16 * 1024
_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.\-]{0,63}$"


class ClaimTokenRequest(BaseModel):
    """`profiles`: what the devices may watch; empty = anything. `count`: how many devices it lets in."""

    site: Annotated[str, Field(pattern=_NAME)]
    profiles: list[Annotated[str, Field(pattern=_NAME)]] = Field(default=[], max_length=64)
    count: int = Field(default=1, ge=1, le=MAX_USES)
    ttl_h: float = Field(default=24.0, gt=0, le=MAX_TTL_H)


class ClaimTokenMade(BaseModel):
    """`token`: shown this once. `ca_sha256`: what it pins, in hexadecimal; null = nothing of the hub's own."""

    token_id: str
    token: str
    url: str
    ca_sha256: str | None
    site: str
    profiles: list[str]
    max_uses: int
    expires_ns: int


class ClaimTokenView(BaseModel):
    """A token without its secret. `state`: usable, used up, expired or revoked."""

    token_id: str
    state: str
    site: str
    profiles: list[str]
    max_uses: int
    n_used: int
    created_ns: int
    created_by: str
    expires_ns: int
    revoked_ns: int | None


class Reason(BaseModel):
    """Told to the device, and kept in the audit log."""

    reason: str = Field(default="", max_length=MAX_REASON)


class IdentityApi:
    """The endpoints and what they share. `keys`: told of each change, so that it counts at once."""

    def __init__(
        self, engine: Engine, access: Access, hub: Hub, keys: DeviceKeys, now_ns: Callable[[], int] = time.time_ns
    ) -> None:
        self._engine = engine
        self._access = access
        self._hub = hub
        self._keys = keys
        self._now_ns = now_ns

    def router(self) -> APIRouter:
        router = APIRouter(prefix="/v1", route_class=guarded_by(self._access, _MAX_BODY_BYTES))
        router.get("/claim-tokens", responses=page_responses())(self.claim_tokens)
        router.post("/claim-tokens", status_code=201)(self.make_claim_token)
        router.post("/claim-tokens/{token_id}/revoke", responses=problems(404))(self.revoke_claim_token)
        router.post("/devices/{device_id}/{step}", responses=problems(404))(self.steer_device)
        router.delete("/devices/{device_id}", status_code=202, responses=problems(404))(self.erase_device)
        return router

    def claim_tokens(self, page: Paged) -> list[ClaimTokenView]:
        """Claim tokens, newest first."""
        after = page.after(TimedKey)
        with reading(self._engine).begin() as connection:
            rows = list_tokens(connection, self._now_ns(), limit=page.wanted, after=after)
        return [ClaimTokenView(**row) for row in page.cut(rows, lambda row: [row["created_ns"], row["token_id"]])]

    def make_claim_token(self, wanted: ClaimTokenRequest, actor: Actor) -> ClaimTokenMade:
        """Make a claim token, which lets devices enrol; its text is in this answer and nowhere else."""
        with self._engine.begin() as connection:
            made = issue_token(
                connection, self._hub, site=wanted.site, profiles=wanted.profiles, max_uses=wanted.count, ttl_h=wanted.ttl_h,
                actor=actor, now_ns=self._now_ns(),
            )  # fmt: skip
        return ClaimTokenMade(**made)

    def revoke_claim_token(self, token_id: str, actor: Actor) -> dict[str, Any]:
        """Let a claim token count no longer; devices that it let in stay."""
        with self._engine.begin() as connection:
            if not revoke_token(connection, token_id, actor=actor, now_ns=self._now_ns()):
                raise Problem(404, "not-found", f"no claim token {token_id} to revoke")
        return {"token_id": token_id, "state": "revoked"}

    def steer_device(
        self,
        device_id: str,
        step: Literal["suspend", "resume", "revoke", "forget"],
        actor: Actor,
        why: Reason | None = None,
    ) -> dict[str, Any]:
        """Keep a device out for now or for good, let it in again, or forget it so that it may enrol anew."""
        with self._engine.begin() as connection:
            reason = why.reason if why else ""
            known = take_step(connection, device_id, step, reason=reason, actor=actor, now_ns=self._now_ns())
        if not known:
            raise Problem(404, "not-found", f"no device {device_id}")
        self._keys.forget(device_id)
        return {"device_id": device_id, "step": step}

    def erase_device(self, device_id: str, actor: Actor) -> dict[str, Any]:
        """Erase all that this device sent and what was made of it, for ever. It is done within seconds of this answer; the
        audit log then says what went (`data.erase`), and the hub knows no such device any more."""
        with self._engine.begin() as connection:
            if not is_known(connection, device_id) and not is_asked(connection, device_id):
                raise Problem(404, "not-found", f"no device {device_id}")
            ask(connection, device_id, actor, self._now_ns())
        return {"device_id": device_id, "state": "asked"}
