"""What actors are told: an alert or a sensor fault that opened or closed, in one flat shape."""

from __future__ import annotations

import re
from typing import Any, Final, Literal

import msgspec

from models.contract.items import Alert, SensorFault, Severity

Edge = Literal["opened", "closed"]
# These blank their channel: the asset is no longer fully watched. After the others the rest of the window still serves.
_BLINDING: Final = ("stuck", "missing", "rate", "time", "disagreement")
_FIELD: Final = re.compile(r"\{([a-z_]+)\}")


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Goes to webhooks and programs as JSON; a program also finds each part as TOCSIN_<NAME>.

    `event_id`: the same when it closes. `asset`: empty for a fault of a whole `source`. `at_ns`: when this came to be.
    `p_value`, `score`, `top`: of alerts, `top` as "flow 80%, pressure 20%". `channel`, `fault`: of sensor faults, `channel`
    empty where all of the asset is meant. `detail`: figures in words, of sensor faults and of alerts by a single reading. Times
    are Unix ns, of the event. `worsened`: an open alert that has only now become critical. `test`: fired by hand. `stored`:
    false where the disk took no record of it. `text`: all of it in one line, for people.
    """

    device: str
    kind: Literal["alert", "sensor_fault"]
    edge: Edge
    event_id: str
    severity: Severity
    asset: str
    at_ns: int
    opened_ns: int
    closed_ns: int | None = None
    profile: str = ""
    detector: str = ""
    p_value: float | None = None
    score: float | None = None
    top: str = ""
    source: str = ""
    channel: str = ""
    fault: str = ""
    detail: str = ""
    worsened: bool = False
    test: bool = False
    stored: bool = True
    text: str = ""


def event_of(body: Alert | SensorFault, device: str, *, worsened_ns: int | None = None, test: bool = False) -> Event:
    """The event that `body` tells of. `worsened_ns`: when an open alert became critical."""
    edge: Edge = "opened" if body.closed_ns is None else "closed"
    at_ns = worsened_ns or body.closed_ns or body.opened_ns
    if isinstance(body, Alert):
        top = ", ".join(f"{channel} {share:.0%}" for channel, share in body.top)
        detail = f"; {body.detail}" if body.detail else ""
        return Event(
            device=device, kind="alert", edge=edge, event_id=body.alert_id, severity=body.severity, asset=body.asset,
            at_ns=at_ns, opened_ns=body.opened_ns, closed_ns=body.closed_ns, profile=body.profile, detector=body.detector,
            p_value=body.p_value, score=body.score, top=top, detail=body.detail, worsened=worsened_ns is not None, test=test,
            text=f"{body.severity} alert {edge}: {body.asset}, {top} (p={body.p_value:.2g}){detail}",
        )  # fmt: skip
    where = ".".join(filter(None, (body.asset, body.channel))) or body.source
    return Event(
        device=device, kind="sensor_fault", edge=edge, event_id=body.fault_id, severity=severity_of(body), asset=body.asset,
        at_ns=at_ns, opened_ns=body.opened_ns, closed_ns=body.closed_ns, source=body.source, channel=body.channel,
        fault=body.fault, detail=body.detail, test=test,
        text=f"sensor fault {edge}: {where} {body.fault} {body.detail}".rstrip(),
    )  # fmt: skip


def severity_of(body: Alert | SensorFault) -> Severity:
    """An alert brings its own. A sensor fault is critical where it leaves a channel unwatched."""
    if isinstance(body, Alert):
        return body.severity
    return "critical" if body.fault in _BLINDING else "warning"


def fields_of(event: Event) -> dict[str, str]:
    """Every part of `event` as text; what is not there is empty."""
    plain: dict[str, Any] = msgspec.to_builtins(event)
    return {name: _as_text(value) for name, value in plain.items()}


def _as_text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def fill(template: str, event: Event) -> str:
    """`template` with the parts of `event` that it names. Other braces stay, so that JSON may be written as it is."""
    fields = fields_of(event)
    return _FIELD.sub(lambda found: fields.get(found[1], found[0]), template)


def check_template(key: str, template: str | None) -> None:
    """Raises ValueError where a name in braces is no part of an event: more likely misspelt than meant."""
    for name in _FIELD.findall(template or ""):
        if name not in Event.__struct_fields__:
            raise ValueError(f"{key}: {{{name}}} is no part of an event; expected one of {', '.join(Event.__struct_fields__)}")
