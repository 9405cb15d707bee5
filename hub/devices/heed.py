"""What a device's row says of its check-in: whether it is let in, what it may watch, and who else speaks for it. Pure.

Assets of a profile that the device's claim token does not allow are left out: neither rollouts nor pages know of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from hub.devices.clones import Cloned, observe_checkin
from hub.devices.keys import check_standing
from hub.state.schema import devices
from models.contract.checkin import CheckIn

COLUMNS: Final = tuple(devices.c[name] for name in ("public_key", "state", "state_reason", "profiles", "writers"))


@dataclass(frozen=True, slots=True)
class Heard:
    """`checkin`: what counts of it. `writers`: for the row. `cloned`: a finding that is new."""

    checkin: CheckIn
    writers: Any
    cloned: Cloned | None


def heed(device_id: str, row: Any, writers: Any, checkin: CheckIn, now_ns: int) -> Heard:
    """`row`: with COLUMNS. `writers`: the row's, or what the check-in before made of them. Raises DeviceKeptOut."""
    check_standing(device_id, row.state, row.state_reason, row.public_key)
    writers, cloned = observe_checkin(writers, checkin, now_ns)
    return Heard(_allowed(checkin, row.profiles), writers, cloned)


def _allowed(checkin: CheckIn, profiles: Sequence[str] | None) -> CheckIn:
    """`profiles`: None = all are allowed."""
    if profiles is None:
        return checkin
    return msgspec.structs.replace(
        checkin,
        assets=[report for report in checkin.assets if report.profile in profiles],
        slots=[report for report in checkin.slots if report.profile in profiles],
    )
