"""What the fleet's list is sorted by, in columns of their own; who is on which alert, and notes; incidents that people
are told of, and the outbox; the audit log by subject."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("devices", sa.Column("backlog_items", sa.BigInteger(), nullable=True))
    op.add_column("devices", sa.Column("survival_days", sa.Float(), nullable=True))
    checkin = sa.Column("checkin", sa.JSON())
    devices = sa.table("devices", checkin, sa.Column("backlog_items", sa.BigInteger()), sa.Column("survival_days", sa.Float()))
    op.execute(
        devices.update().values(
            backlog_items=devices.c.checkin["backlog_items"].as_integer(),
            survival_days=devices.c.checkin["survival_days"].as_float(),
        )
    )
    glance = ["device_id", "last_seen_ns", "site", "state", "backlog_items", "survival_days"]
    op.create_index("devices_at_a_glance", "devices", glance)
    op.create_index("audit_by_subject", "audit_entries", ["subject", "number"])
    op.create_table(
        "alert_acknowledgements",
        sa.Column("device_id", sa.String(length=64), nullable=False),
        sa.Column("alert_id", sa.String(length=64), nullable=False),
        sa.Column("at_ns", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("device_id", "alert_id"),
    )
    op.create_table(
        "alert_notes",
        sa.Column("device_id", sa.String(length=64), nullable=False),
        sa.Column("alert_id", sa.String(length=64), nullable=False),
        sa.Column("at_ns", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("device_id", "alert_id", "at_ns"),
    )
    op.create_table(
        "incidents",
        sa.Column("incident", sa.String(length=140), nullable=False),
        sa.Column("noticed_ns", sa.BigInteger(), nullable=False),
        sa.Column("over_ns", sa.BigInteger(), nullable=True),
        sa.Column("ended_ns", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("incident"),
    )
    op.create_index("incidents_by_end", "incidents", ["ended_ns"])
    op.create_table(
        "incident_alerts",
        sa.Column("device_id", sa.String(length=64), nullable=False),
        sa.Column("alert_id", sa.String(length=64), nullable=False),
        sa.Column("incident", sa.String(length=140), nullable=False),
        sa.PrimaryKeyConstraint("device_id", "alert_id"),
    )
    op.create_index("incident_alerts_by_incident", "incident_alerts", ["incident"])
    op.create_table(
        "notifications",
        sa.Column("number", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("incident", sa.String(length=140), nullable=False),
        sa.Column("rule", sa.String(length=64), nullable=False),
        sa.Column("step", sa.String(length=32), nullable=False),
        sa.Column("target", sa.String(length=64), nullable=False),
        sa.Column("critical", sa.Boolean(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("decided_ns", sa.BigInteger(), nullable=False),
        sa.Column("next_ns", sa.BigInteger(), nullable=False),
        sa.Column("n_attempts", sa.Integer(), nullable=False),
        sa.Column("ended_ns", sa.BigInteger(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("number"),
    )
    op.create_index("notifications_once", "notifications", ["incident", "rule", "step", "target"], unique=True)
    op.create_index("notifications_by_state", "notifications", ["state", "next_ns"])
    op.create_index("notifications_by_target", "notifications", ["target", "ended_ns"])
