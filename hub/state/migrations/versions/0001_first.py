"""The tables of the first version."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "alerts",
        sa.Column("device_id", sa.String(length=64), nullable=False),
        sa.Column("alert_id", sa.String(length=64), nullable=False),
        sa.Column("asset", sa.String(length=64), nullable=False),
        sa.Column("profile", sa.String(length=64), nullable=False),
        sa.Column("detector", sa.String(length=64), nullable=False),
        sa.Column("severity", sa.String(length=16), nullable=False),
        sa.Column("opened_ns", sa.BigInteger(), nullable=False),
        sa.Column("closed_ns", sa.BigInteger(), nullable=True),
        sa.Column("p_value", sa.Float(), nullable=False),
        sa.Column("score", sa.Float(), nullable=False),
        sa.Column("top", sa.JSON(), nullable=False),
        sa.Column("received_ns", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("device_id", "alert_id"),
    )
    op.create_index("alerts_by_time", "alerts", ["opened_ns"], unique=False)
    op.create_index("alerts_by_end", "alerts", ["closed_ns"], unique=False)
    op.create_table(
        "assets",
        sa.Column("device_id", sa.String(length=64), nullable=False),
        sa.Column("asset", sa.String(length=64), nullable=False),
        sa.Column("profile", sa.String(length=64), nullable=False),
        sa.Column("spec_hash", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("p_value", sa.Float(), nullable=True),
        sa.Column("since_ns", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("device_id", "asset"),
    )
    op.create_table(
        "bundle_failures",
        sa.Column("device_id", sa.String(length=64), nullable=False),
        sa.Column("bundle_id", sa.String(length=64), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at_ns", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("device_id", "bundle_id"),
    )
    op.create_table(
        "bundles",
        sa.Column("bundle_id", sa.String(length=64), nullable=False),
        sa.Column("profile", sa.String(length=64), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("spec_hash", sa.String(length=64), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("signature", sa.LargeBinary(), nullable=False),
        sa.Column("created_ns", sa.BigInteger(), nullable=False),
        sa.Column("run_id", sa.String(length=64), nullable=True),
        sa.Column("manifest", sa.JSON(), nullable=False),
        sa.Column("card", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("bundle_id"),
    )
    op.create_index("bundles_by_profile", "bundles", ["profile", "version"], unique=True)
    op.create_table(
        "commissionings",
        sa.Column("device_id", sa.String(length=64), nullable=False),
        sa.Column("asset", sa.String(length=64), nullable=False),
        sa.Column("spec_hash", sa.String(length=64), nullable=False),
        sa.Column("profile", sa.String(length=64), nullable=False),
        sa.Column("n_windows", sa.Integer(), nullable=False),
        sa.Column("start_ns", sa.BigInteger(), nullable=False),
        sa.Column("end_ns", sa.BigInteger(), nullable=False),
        sa.Column("location", sa.LargeBinary(), nullable=False),
        sa.Column("scale", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("device_id", "asset", "spec_hash"),
    )
    op.create_table(
        "consumers",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "device_slots",
        sa.Column("device_id", sa.String(length=64), nullable=False),
        sa.Column("profile", sa.String(length=64), nullable=False),
        sa.Column("slot", sa.String(length=16), nullable=False),
        sa.Column("bundle_id", sa.String(length=64), nullable=False),
        sa.Column("n_windows", sa.Integer(), nullable=False),
        sa.Column("score_us_median", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("device_id", "profile", "slot"),
    )
    op.create_table(
        "devices",
        sa.Column("device_id", sa.String(length=64), nullable=False),
        sa.Column("public_key", sa.LargeBinary(), nullable=False),
        sa.Column("site", sa.String(length=64), nullable=False),
        sa.Column("hardware", sa.Text(), nullable=False),
        sa.Column("agent_version", sa.String(length=64), nullable=False),
        sa.Column("enrolled_ns", sa.BigInteger(), nullable=False),
        sa.Column("last_seen_ns", sa.BigInteger(), nullable=False),
        sa.Column("checkin", sa.JSON(), nullable=True),
        sa.Column("health", sa.JSON(), nullable=True),
        sa.PrimaryKeyConstraint("device_id"),
    )
    op.create_table(
        "fleet_bundles",
        sa.Column("profile", sa.String(length=64), nullable=False),
        sa.Column("bundle_id", sa.String(length=64), nullable=True),
        sa.Column("since_ns", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("profile"),
    )
    op.create_table(
        "ledger",
        sa.Column("device_id", sa.String(length=64), nullable=False),
        sa.Column("epoch", sa.String(length=64), nullable=False),
        sa.Column("lane", sa.String(length=16), nullable=False),
        sa.Column("cursor", sa.BigInteger(), nullable=False),
        sa.Column("ahead", sa.JSON(), nullable=False),
        sa.Column("n_received", sa.BigInteger(), nullable=False),
        sa.Column("n_evicted", sa.BigInteger(), nullable=False),
        sa.Column("n_redelivered", sa.BigInteger(), nullable=False),
        sa.Column("n_rejected", sa.BigInteger(), nullable=False),
        sa.Column("updated_ns", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("device_id", "epoch", "lane"),
    )
    op.create_table(
        "quarantine",
        sa.Column("device_id", sa.String(length=64), nullable=False),
        sa.Column("epoch", sa.String(length=64), nullable=False),
        sa.Column("lane", sa.String(length=16), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("received_ns", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("device_id", "epoch", "lane", "seq"),
    )
    op.create_table(
        "rollout_events",
        sa.Column("event_id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("rollout_id", sa.String(length=64), nullable=False),
        sa.Column("at_ns", sa.BigInteger(), nullable=False),
        sa.Column("stage", sa.String(length=32), nullable=False),
        sa.Column("event", sa.String(length=32), nullable=False),
        sa.Column("figures", sa.JSON(), nullable=False),
        sa.Column("final", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("event_id"),
    )
    op.create_index("rollout_events_by_rollout", "rollout_events", ["rollout_id"], unique=False)
    op.create_table(
        "rollouts",
        sa.Column("rollout_id", sa.String(length=64), nullable=False),
        sa.Column("profile", sa.String(length=64), nullable=False),
        sa.Column("bundle_id", sa.String(length=64), nullable=False),
        sa.Column("incumbent_id", sa.String(length=64), nullable=True),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("stage", sa.Integer(), nullable=False),
        sa.Column("stage_since_ns", sa.BigInteger(), nullable=False),
        sa.Column("plan", sa.JSON(), nullable=False),
        sa.Column("created_ns", sa.BigInteger(), nullable=False),
        sa.Column("ended_ns", sa.BigInteger(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("rollout_id"),
    )
    op.create_table(
        "sensor_faults",
        sa.Column("device_id", sa.String(length=64), nullable=False),
        sa.Column("fault_id", sa.String(length=64), nullable=False),
        sa.Column("source", sa.String(length=64), nullable=False),
        sa.Column("asset", sa.String(length=64), nullable=False),
        sa.Column("channel", sa.String(length=64), nullable=False),
        sa.Column("fault", sa.String(length=32), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("opened_ns", sa.BigInteger(), nullable=False),
        sa.Column("closed_ns", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("device_id", "fault_id"),
    )
    op.create_index("sensor_faults_by_time", "sensor_faults", ["opened_ns"], unique=False)
    op.create_index("sensor_faults_by_end", "sensor_faults", ["closed_ns"], unique=False)
    op.create_table(
        "stage_evidence",
        sa.Column("rollout_id", sa.String(length=64), nullable=False),
        sa.Column("stage", sa.String(length=32), nullable=False),
        sa.Column("device_id", sa.String(length=64), nullable=False),
        sa.Column("n_windows", sa.Integer(), nullable=False),
        sa.Column("n_alarm_candidate", sa.Integer(), nullable=False),
        sa.Column("n_alarm_incumbent", sa.Integer(), nullable=False),
        sa.Column("n_low_p_candidate", sa.Integer(), nullable=False),
        sa.Column("n_low_p_incumbent", sa.Integer(), nullable=False),
        sa.Column("n_faulty", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("rollout_id", "stage", "device_id"),
    )
    op.create_table(
        "training_runs",
        sa.Column("run_id", sa.String(length=64), nullable=False),
        sa.Column("profile", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("started_ns", sa.BigInteger(), nullable=False),
        sa.Column("ended_ns", sa.BigInteger(), nullable=True),
        sa.Column("record", sa.JSON(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("bundle_id", sa.String(length=64), nullable=True),
        sa.PrimaryKeyConstraint("run_id"),
    )
