"""The devices' clocks, and how well the times of alerts and sensor faults are known."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "clock_marks",
        sa.Column("device_id", sa.String(length=64), nullable=False),
        sa.Column("boot_id", sa.String(length=64), nullable=False),
        sa.Column("mono_ns", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.String(length=16), nullable=False),
        sa.Column("before_ns", sa.BigInteger(), nullable=False),
        sa.Column("after_ns", sa.BigInteger(), nullable=False),
        sa.Column("source", sa.String(length=16), nullable=False),
        sa.Column("error_ns", sa.BigInteger(), nullable=False),
        sa.Column("received_ns", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("device_id", "boot_id", "mono_ns"),
    )
    op.create_table(
        "boots",
        sa.Column("device_id", sa.String(length=64), nullable=False),
        sa.Column("boot_id", sa.String(length=64), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("last_mono_ns", sa.BigInteger(), nullable=False),
        sa.Column("high_offset_ns", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("device_id", "boot_id"),
    )
    for table in ("alerts", "sensor_faults"):
        op.add_column(table, sa.Column("said_opened_ns", sa.BigInteger(), nullable=True))
        op.add_column(table, sa.Column("said_closed_ns", sa.BigInteger(), nullable=True))
        for edge in ("opened", "closed"):
            op.add_column(table, sa.Column(f"{edge}_boot_id", sa.String(length=64), nullable=True))
            op.add_column(table, sa.Column(f"{edge}_mono_ns", sa.BigInteger(), nullable=True))
            op.add_column(table, sa.Column(f"{edge}_synced", sa.Boolean(), nullable=True))
        op.add_column(table, sa.Column("time_quality", sa.String(length=16), nullable=False, server_default="unknown"))
        op.add_column(table, sa.Column("time_error_ns", sa.BigInteger(), nullable=True))
        op.execute(f"UPDATE {table} SET said_opened_ns = opened_ns, said_closed_ns = closed_ns")  # noqa: S608
