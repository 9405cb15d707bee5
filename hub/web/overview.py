"""The overview as a table of parts: each is read, rendered and refreshed on its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection

from hub.web.inbox import read_alerts, read_faults
from hub.web.learning import read_models
from hub.web.live import Digests, digest
from hub.web.queries import STATES, Fleet, read_fleet, read_ledger, read_tiles
from hub.web.rollouts import read_rollouts
from hub.web.words import count


@dataclass(frozen=True, slots=True)
class Look:
    """What a look at the overview depends on beside the rows. `state`: show only assets in it, "" = all."""

    heard_since_ns: int
    state: str = ""


Read = Callable[[Connection, Look], Any]

PARTS: Final[dict[str, Read]] = {  # in the order of the page; each has its template in parts/
    "fleet": lambda connection, look: read_fleet(connection, look.heard_since_ns),
    "alerts": lambda connection, _look: read_alerts(connection),
    "tiles": lambda connection, look: read_tiles(connection, look.heard_since_ns, look.state),
    "faults": lambda connection, _look: read_faults(connection),
    "rollouts": lambda connection, _look: read_rollouts(connection),
    "models": lambda connection, _look: read_models(connection),
    "ledger": lambda connection, _look: read_ledger(connection),
}


def read_part(connection: Connection, name: str, look: Look) -> tuple[Any, str]:
    """The view of one part, and the digest by which the stream knows it: that of the part without any filter."""
    view = PARTS[name](connection, look)
    known = PARTS[name](connection, Look(look.heard_since_ns)) if look.state and name == "tiles" else view
    return view, digest(known)


def read_parts(connection: Connection, look: Look) -> dict[str, tuple[Any, str]]:
    return {name: read_part(connection, name, look) for name in PARTS}


def read_digests(connection: Connection, heard_since_ns: int) -> Digests:
    look = Look(heard_since_ns)
    return {name: digest(read(connection, look)) for name, read in PARTS.items()}


def state_filter(query: Mapping[str, str]) -> str:
    """The `?state=` of an address; "" where it is absent or no state."""
    wanted = query.get("state", "")
    return wanted if wanted in STATES else ""


def headline(fleet: Fleet) -> str:
    """The fleet in one sentence, the most urgent thing first."""
    states = fleet.states
    if states["alarm"]:
        return f"{count(states['alarm'], 'asset needs', 'assets need')} attention"
    if fleet.n_silent_devices:
        return f"{count(fleet.n_silent_devices, 'device has', 'devices have')} gone silent"
    if states["silent"]:
        return f"{count(states['silent'], 'asset sends', 'assets send')} no readings"
    if fleet.n_faults:
        return f"The machines are well; {count(fleet.n_faults, 'sensor is', 'sensors are')} at fault"
    if states["commissioning"] and not states["normal"]:
        return "Learning what normal looks like"
    return "All is well" if fleet.n_assets else "Devices are here, their assets are not yet"
