"""What the fleet's list is sorted by, in columns of their own; who is on which alert, and notes; the audit log by subject."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
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
