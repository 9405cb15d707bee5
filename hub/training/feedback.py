"""What operators say of alerts: right, wrong, or somebody at work on the machine.

Invariants:
1. Nothing is overwritten. The latest word counts, and a run that is repeated sees the words of its own time.
2. Spans are as the device said them, not corrected: so are the times of the windows that they are laid over.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, func, insert, select

from hub.audit.log import record
from hub.state.schema import alert_feedback, alerts
from models.errors import TocsinError

Label = Literal["confirm", "false-alarm", "maintenance"]
LABELS: Final[tuple[Label, ...]] = get_args(Label)
MAX_NOTE: Final = 2000
_FOREVER_NS: Final = 2**62


class FeedbackError(TocsinError):
    """A word on an alert that is not there, or that is no word."""


@dataclass(frozen=True, slots=True)
class LabelledSpan:
    """An alert's time, `[start_ns, end_ns)`, Unix ns by its device's clock, and what was said of it."""

    device_id: str
    asset: str
    start_ns: int
    end_ns: int
    label: Label


def give_feedback(
    connection: Connection, device_id: str, alert_id: str, label: Label, *, actor: str, note: str = "", now_ns: int
) -> None:
    """Say `label` of an alert. Raises FeedbackError: no such alert, or a note beyond MAX_NOTE characters."""
    if len(note) > MAX_NOTE:
        raise FeedbackError(f"a note of {len(note)} characters; at most {MAX_NOTE}")
    here = (alerts.c.device_id == device_id) & (alerts.c.alert_id == alert_id)
    if connection.execute(select(alerts.c.alert_id).where(here)).first() is None:
        raise FeedbackError(f"no alert {alert_id!r} of {device_id!r}; `tocsin hub alerts --json` lists them")
    said = (alert_feedback.c.device_id == device_id) & (alert_feedback.c.alert_id == alert_id)
    last_ns = connection.execute(select(func.max(alert_feedback.c.at_ns)).where(said)).scalar()
    at_ns = max(now_ns, (last_ns or 0) + 1)  # a clock that was set back must not make an old word the latest
    row = {"device_id": device_id, "alert_id": alert_id, "at_ns": at_ns, "label": label, "actor": actor, "note": note}
    connection.execute(insert(alert_feedback).values(row))
    details = {"label": label, "note": note}
    record(connection, at_ns=now_ns, actor=actor, action="alert.feedback", subject=f"{device_id}/{alert_id}", details=details)


def labelled_spans(connection: Connection, profile: str, as_of_ns: int) -> list[LabelledSpan]:
    """The alerts of a profile that something had been said of by `as_of_ns`, each with the latest word, in order."""
    said = alert_feedback.c
    newest = select(said.device_id, said.alert_id, func.max(said.at_ns).label("at_ns")).where(said.at_ns <= as_of_ns)
    last = newest.group_by(said.device_id, said.alert_id).subquery()
    opened, closed = (func.coalesce(alerts.c[f"said_{name}"], alerts.c[name]) for name in ("opened_ns", "closed_ns"))
    same_word = (said.device_id == last.c.device_id) & (said.alert_id == last.c.alert_id) & (said.at_ns == last.c.at_ns)
    same_alert = (alerts.c.device_id == said.device_id) & (alerts.c.alert_id == said.alert_id)
    query = select(said.device_id, alerts.c.asset, opened.label("opened"), closed.label("closed"), said.label)
    query = query.join(last, same_word).join(alerts, same_alert).where(alerts.c.profile == profile)
    return [
        LabelledSpan(row.device_id, row.asset, row.opened, row.closed or _FOREVER_NS, row.label)
        for row in connection.execute(query.order_by(said.device_id, alerts.c.asset, opened, said.alert_id))
    ]


def lay_over(
    spans: Sequence[LabelledSpan],
    device_id: NDArray[np.str_],
    asset: NDArray[np.str_],
    start_ns: NDArray[np.int64],
    end_ns: NDArray[np.int64],
) -> NDArray[np.str_]:
    """(n,) label of each window, "" = none. Where spans overlap, a fault outranks maintenance, and that a false alarm."""
    labels = np.full(len(start_ns), "", dtype="<U12")
    for label in ("false-alarm", "maintenance", "confirm"):
        for span in spans:
            if span.label == label:
                own = (device_id == span.device_id) & (asset == span.asset)
                labels[own & (start_ns < span.end_ns) & (end_ns > span.start_ns)] = label
    return labels
