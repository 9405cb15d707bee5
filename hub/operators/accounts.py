"""Operators' accounts: rows of `users`, each change with its entry in the audit log, in the caller's transaction.

A new password, a lower role and a disabled account take effect at the next request: sessions name an account, and what it may
do is read then. A new password and a disabled account end its sessions as well.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import Connection, delete, insert, select, update

from hub.audit.log import JsonValue, record
from hub.operators.rights import Role
from hub.state.schema import sessions, users
from models.errors import TocsinError

NAME_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9_.\-]{0,63}$"
_SHOWN: Final = ("name", "role", "enabled", "created_ns", "password_ns", "last_sign_in_ns")


class AccountError(TocsinError):
    """An account or token that cannot be as asked for."""


class UnknownAccount(AccountError):
    """No account or token of that name."""


def check_name(name: str) -> str:
    """Raises AccountError: not 1..64 of letters, digits, `_.-`, or not beginning with a letter or digit."""
    if not re.fullmatch(NAME_PATTERN, name):
        raise AccountError(
            f"{name[:80]!r}: a name has 1 to 64 letters, digits, `_`, `.` or `-`, and begins with one of the first two"
        )
    return name


def add_user(connection: Connection, name: str, role: Role, password_hash: str, *, actor: str, now_ns: int) -> None:
    """Raises AccountError where the name is taken, or is none."""
    check_name(name)
    if find_user(connection, name) is not None:
        raise AccountError(f"{name} has an account already")
    row = {"name": name, "role": role, "password_hash": password_hash, "enabled": True}
    connection.execute(insert(users).values(**row, created_ns=now_ns, password_ns=now_ns))
    _note(connection, "user.add", name, actor, now_ns, {"role": role})


def set_role(connection: Connection, name: str, role: Role, *, actor: str, now_ns: int) -> None:
    """Raises UnknownAccount."""
    before = known_user(connection, name)["role"]
    _change(connection, name, role=role)
    _note(connection, "user.set-role", name, actor, now_ns, {"from": before, "to": role})


def set_enabled(connection: Connection, name: str, enabled: bool, *, actor: str, now_ns: int) -> None:
    """Raises UnknownAccount."""
    known_user(connection, name)
    _change(connection, name, enabled=enabled)
    if not enabled:
        end_sessions(connection, name)
    _note(connection, "user.enable" if enabled else "user.disable", name, actor, now_ns)


def set_password(connection: Connection, name: str, password_hash: str, *, actor: str, now_ns: int) -> None:
    """Raises UnknownAccount."""
    known_user(connection, name)
    _change(connection, name, password_hash=password_hash, password_ns=now_ns)
    end_sessions(connection, name)
    _note(connection, "user.password", name, actor, now_ns)


def sign_out_everywhere(connection: Connection, name: str, *, actor: str, now_ns: int) -> int:
    """End all sessions of an account; how many that were. Raises UnknownAccount."""
    known_user(connection, name)
    ended = end_sessions(connection, name)
    _note(connection, "user.end-sessions", name, actor, now_ns, {"sessions": ended})
    return ended


def remove_user(connection: Connection, name: str, *, actor: str, now_ns: int) -> None:
    """What the account did stays in the audit log. Raises UnknownAccount."""
    known_user(connection, name)
    end_sessions(connection, name)
    connection.execute(delete(users).where(users.c.name == name))
    _note(connection, "user.remove", name, actor, now_ns)


def find_user(connection: Connection, name: str) -> dict[str, Any] | None:
    """With its hash; None where there is none."""
    row = connection.execute(select(users).where(users.c.name == name)).mappings().first()
    return None if row is None else dict(row)


def known_user(connection: Connection, name: str) -> dict[str, Any]:
    """Like `find_user`. Raises UnknownAccount."""
    found = find_user(connection, name)
    if found is None:
        raise UnknownAccount(f"no account {name[:80]!r}; `tocsin hub user list` lists them")
    return found


def list_users(connection: Connection, *, limit: int | None = None, after: str = "") -> list[dict[str, Any]]:
    """By name, from the first one after `after` on, without their hashes."""
    query = select(*(users.c[name] for name in _SHOWN)).where(users.c.name > after).order_by(users.c.name).limit(limit)
    return [dict(row) for row in connection.execute(query).mappings()]


def end_sessions(connection: Connection, name: str) -> int:
    return connection.execute(delete(sessions).where(sessions.c.user_name == name)).rowcount


def _change(connection: Connection, name: str, **values: Any) -> None:
    connection.execute(update(users).where(users.c.name == name).values(values))


def _note(
    connection: Connection, action: str, name: str, actor: str, now_ns: int, details: Mapping[str, JsonValue] | None = None
) -> None:
    record(connection, at_ns=now_ns, actor=actor, action=action, subject=f"user:{name}", details=details)
