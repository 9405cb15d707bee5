"""Counts by day; and what the pages of the data are sorted and filtered by."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def _counts(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, sa.BigInteger(), nullable=False) for name in names]


def upgrade() -> None:
    op.create_table(
        "device_days",
        sa.Column("device_id", sa.String(length=64), nullable=False),
        sa.Column("epoch", sa.String(length=64), nullable=False),
        sa.Column("day", sa.Integer(), nullable=False),
        *_counts("n_windows", "n_merged", "n_faulty", "n_late", "first_seq", "last_seq"),
        sa.PrimaryKeyConstraint("device_id", "epoch", "day"),
    )
    op.create_index("device_days_by_day", "device_days", ["day"])
    op.create_table(
        "profile_days",
        sa.Column("profile", sa.String(length=64), nullable=False),
        sa.Column("detector", sa.String(length=64), nullable=False),
        sa.Column("day", sa.Integer(), nullable=False),
        *_counts("n_windows", "n_learning", "n_faulty", "n_alarm", "n_clean", "n_unlikely", "watched_ns", "n_readings"),
        sa.PrimaryKeyConstraint("profile", "detector", "day"),
    )
    op.create_table(
        "received_days",
        sa.Column("day", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        *_counts("n_items", "n_bytes"),
        sa.PrimaryKeyConstraint("day", "kind"),
    )
    op.create_index("quarantine_by_time", "quarantine", ["received_ns"])
    op.create_index("audit_by_actor", "audit_entries", ["actor", "number"])
    op.create_index("audit_by_action", "audit_entries", ["action", "number"])
