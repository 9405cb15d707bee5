"""The JSON of accounts, API tokens and the audit log. All times are Unix nanoseconds (`_ns`)."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from hub.operators.accounts import NAME_PATTERN
from hub.operators.rights import Role, Scope


class Me(BaseModel):
    """Whoever asks. `role`: of a person or the admin token; null for an API token, which has scopes."""

    name: str
    actor: str = Field(description="as the audit log calls it")
    role: Role | None
    scopes: list[Scope]


class UserView(BaseModel):
    """An operator's account. `password_ns`: when its password was set."""

    name: str
    role: Role
    enabled: bool
    created_ns: int
    password_ns: int
    last_sign_in_ns: int | None


class NewUser(BaseModel):
    """An account to make."""

    name: str = Field(pattern=NAME_PATTERN)
    role: Role
    password: str = Field(max_length=1024, description="12 to 256 characters")


class UserChange(BaseModel):
    """What is to change; what is left out stays. A new password, and `enabled: false`, end the account's sessions."""

    role: Role | None = None
    enabled: bool | None = None
    password: str | None = Field(None, max_length=1024)


class EndedSessions(BaseModel):
    """How many sessions were ended."""

    sessions: int


class ApiTokenView(BaseModel):
    """An API token, without itself. `last_used_ns`: to the minute."""

    name: str
    scopes: list[Scope]
    created_by: str
    created_ns: int
    expires_ns: int
    last_used_ns: int | None


class NewApiToken(BaseModel):
    """A token to make."""

    name: str = Field(pattern=NAME_PATTERN)
    scopes: list[Scope] = Field(min_length=1, max_length=20)
    ttl_s: float = Field(ge=60, le=10 * 366 * 86400)


class MadeApiToken(BaseModel):
    """The token itself: shown this once."""

    name: str
    token: str


class AuditEntryView(BaseModel):
    """Who did what to what, and when; `sha256` covers the entry and the hash of the one before (`previous`)."""

    number: int
    at_ns: int
    actor: str
    action: str
    subject: str
    details: dict[str, Any]
    previous: str
    sha256: str
