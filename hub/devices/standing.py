"""Keeping a device out, and letting it in again.

    active <──suspend / resume──> suspended        active, suspended ──revoke──> revoked, for good

A device that is kept out goes on watching, alerting and storing by itself; it only gets no answer but 403 and the reason.
What it delivered stays.
"""

from __future__ import annotations

from typing import Final, Literal, get_args

from sqlalchemy import Connection, select, update

from hub.audit.log import record
from hub.devices.enrol import forget_device
from hub.state.schema import devices
from models.errors import ConfigError

Step = Literal["suspend", "resume", "revoke", "forget"]
STEPS: Final[tuple[Step, ...]] = get_args(Step)
MAX_REASON: Final = 300
_TO: Final[dict[str, str]] = {"suspend": "suspended", "resume": "active", "revoke": "revoked"}


def take_step(connection: Connection, device_id: str, step: Step, *, reason: str, actor: str, now_ns: int) -> bool:
    """Whether there is such a device. `resume` also closes the finding that it was cloned; see `clones.py`.

    Raises ConfigError: a revoked device stays so; it may only be forgotten.
    """
    mine = devices.c.device_id == device_id
    row = connection.execute(select(devices.c.state).where(mine)).first()
    if row is None:
        return False
    if row.state == "revoked" and step in ("suspend", "resume"):
        raise ConfigError(
            f"device {device_id}", "not a revoked one: its key is out of use for good; enrol it anew, with a new claim token"
        )
    if step == "forget":
        forget_device(connection, device_id)
    else:
        changed = {"state": _TO[step], "state_reason": "" if step == "resume" else reason[:MAX_REASON], "state_ns": now_ns}
        if step == "resume":
            changed["writers"] = None
        connection.execute(update(devices).where(mine).values(changed))
    told = {"reason": reason[:MAX_REASON], "was": row.state}
    record(connection, at_ns=now_ns, actor=actor, action=f"device.{step}", subject=device_id, details=told)
    return True
