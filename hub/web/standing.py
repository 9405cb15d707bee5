"""Why a device is kept out, in the words of the pages."""

from __future__ import annotations

from typing import Any

from hub.devices.clones import cloned_of, cloned_text


def standing_of(device: Any) -> str:
    """Why the row's device is kept out, or that it was cloned; "" where all is well."""
    if device.state != "active":
        reason = f": {device.state_reason}" if device.state_reason else ""
        return f"This device is {device.state}{reason}. Nothing of it is taken in."
    cloned = cloned_of(device.writers)
    return cloned_text(device.device_id, cloned) if cloned else ""
