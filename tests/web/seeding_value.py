"""Alerts of half a year and what operators said of them: what the page of the value looks at."""

from __future__ import annotations

from sqlalchemy import Engine, insert

from hub.lake.days import DAY_NS
from hub.state.schema import alert_feedback
from tests.web.seeding import S, add_alert


def seed_value(engine: Engine, now_ns: int) -> None:
    """Beside `seed_data`: many false alarms under the baseline, some under the first model, few under the second."""
    told = {"baseline": (29, 18, 14, 2, 3), "pump-1-5f3a": (17, 6, 5, 1, 2), "pump-3-5f3a": (5, 0, 0, 2, 1)}
    for detector, (since, until, n_false, n_confirmed, n_unsaid) in told.items():
        labels = ["false-alarm"] * n_false + ["confirm"] * n_confirmed + [""] * n_unsaid
        for k, label in enumerate(labels):
            days_ago = until + (since - until) * (k + 0.5) / len(labels)
            add_judged(engine, "pump", detector, now_ns - int(days_ago * DAY_NS), label, k)
    for k in range(40):
        label = ("confirm", "false-alarm", "maintenance", "")[k % 4]
        add_judged(engine, "pump", "older", now_ns - (35 + 3 * k) * DAY_NS, label, k)


def add_judged(
    engine: Engine, profile: str, detector: str, opened_ns: int, label: str, k: int, device_id: str = "gw-lyon-01"
) -> str:
    alert_id = f"{detector}-{k}-{opened_ns}"
    with engine.begin() as connection:
        closed = {"closed_ns": opened_ns + 600 * S, "alert_id": alert_id, "detector": detector}
        add_alert(connection, device_id, "pump-2", profile, opened_ns, **closed)
        if label:
            word = {"device_id": device_id, "alert_id": alert_id, "actor": "user:ann", "note": ""}
            earlier = {**word, "at_ns": opened_ns + S, "label": "maintenance"}
            connection.execute(insert(alert_feedback), [earlier, {**word, "at_ns": opened_ns + 2 * S, "label": label}])
    return alert_id
