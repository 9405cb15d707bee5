"""Who answers for a bundle. Where hub.toml has `require_approval`, no rollout starts without.

An approval is given once and stays: a bundle's content never changes.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, insert, select

from hub.audit.log import record
from hub.state.schema import bundle_approvals, bundles
from models.errors import BundleError

_MAX_TEXT = 2000


def approve(connection: Connection, bundle_id: str, *, approver: str, actor: str, note: str = "", now_ns: int) -> None:
    """Raises BundleError: no such bundle, approved already, or a name or note that is empty or too long."""
    if not approver.strip() or max(len(approver), len(note)) > _MAX_TEXT:
        raise BundleError(f"who approves it, and a note, in at most {_MAX_TEXT} characters each; the name is not empty")
    if connection.execute(select(bundles.c.bundle_id).where(bundles.c.bundle_id == bundle_id)).first() is None:
        raise BundleError(f"no bundle {bundle_id!r}; `tocsin hub bundles list` shows what there is")
    known = approval_of(connection, bundle_id)
    if known is not None:
        raise BundleError(f"{bundle_id} was approved already, by {known['approver']}")
    row = {"bundle_id": bundle_id, "at_ns": now_ns, "actor": actor, "approver": approver, "note": note}
    connection.execute(insert(bundle_approvals).values(row))
    details = {"approver": approver, "note": note}
    record(connection, at_ns=now_ns, actor=actor, action="bundle.approve", subject=bundle_id, details=details)


def approval_of(connection: Connection, bundle_id: str) -> dict[str, Any] | None:
    """`at_ns`, `actor`, `approver`, `note`; None where nobody has approved it."""
    columns = (bundle_approvals.c[name] for name in ("at_ns", "actor", "approver", "note"))
    row = connection.execute(select(*columns).where(bundle_approvals.c.bundle_id == bundle_id)).mappings().first()
    return None if row is None else dict(row)
