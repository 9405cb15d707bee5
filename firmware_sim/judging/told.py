"""What was said: alerts and sensor faults as the hub's API and commands list them, in event time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from models.errors import ConfigError

MAX_BYTES: Final = 256 * 1024 * 1024
_Ns = Annotated[int, Meta(ge=0, le=2**63 - 1)]


class ToldAlert(msgspec.Struct, frozen=True, kw_only=True):
    """One alert. `closed_ns`: None = still open. `top`: the channels that contributed most and their shares, the first most."""

    asset: str
    opened_ns: _Ns
    closed_ns: _Ns | None = None
    top: list[tuple[str, float]] = []
    detector: str = ""


class ToldFault(msgspec.Struct, frozen=True, kw_only=True):
    """One sensor fault. A fault of kind `link` names the source that it befell, not an asset."""

    fault: str
    opened_ns: _Ns
    closed_ns: _Ns | None = None
    asset: str = ""
    channel: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class Told:
    """All that was said, the earliest first."""

    alerts: Sequence[ToldAlert] = field(default_factory=list)
    faults: Sequence[ToldFault] = field(default_factory=list)


def told_from(alerts: Iterable[Mapping[str, Any]], faults: Iterable[Mapping[str, Any]]) -> Told:
    """From decoded JSON. Raises msgspec.ValidationError."""
    return _in_order(
        [msgspec.convert(alert, ToldAlert) for alert in alerts], [msgspec.convert(fault, ToldFault) for fault in faults]
    )


def read_told(paths: Iterable[Path]) -> Told:
    """From files, each a JSON array or an object a line; an object with a `fault` is a sensor fault, any other an alert.

    Raises OSError; ConfigError naming the file and what is wrong with it.
    """
    alerts: list[ToldAlert] = []
    faults: list[ToldFault] = []
    for path in paths:
        for place, found in _objects(path):
            try:
                if "fault" in found:
                    faults.append(msgspec.convert(found, ToldFault))
                else:
                    alerts.append(msgspec.convert(found, ToldAlert))
            except msgspec.ValidationError as error:
                raise ConfigError(f"{path}: {place}", f"an alert or a sensor fault as the hub lists them: {error}") from None
    return _in_order(alerts, faults)


def _objects(path: Path) -> Iterable[tuple[str, dict[str, Any]]]:
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise ConfigError(str(path), f"at most {MAX_BYTES} bytes, not {size}")
    data = path.read_bytes().strip()
    try:
        if data.startswith(b"["):
            listed = msgspec.json.decode(data, type=list[dict[str, Any]])
            return [(f"entry {number}", found) for number, found in enumerate(listed, 1)]
        lines = [(f"line {number}", line) for number, line in enumerate(data.splitlines(), 1) if line.strip()]
        return [(place, msgspec.json.decode(line, type=dict[str, Any])) for place, line in lines]
    except msgspec.DecodeError as error:
        raise ConfigError(str(path), f"a JSON array of objects, or an object a line: {error}") from None


def _in_order(alerts: list[ToldAlert], faults: list[ToldFault]) -> Told:
    return Told(sorted(alerts, key=lambda told: told.opened_ns), sorted(faults, key=lambda told: told.opened_ns))
