"""How the verdicts and figures of a rollout's stages went."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "rollout_history",
        sa.Column("rollout_id", sa.String(length=64), nullable=False),
        sa.Column("stage", sa.String(length=32), nullable=False),
        sa.Column("at_ns", sa.BigInteger(), nullable=False),
        sa.Column("verdict", sa.String(length=8), nullable=False),
        sa.Column("n_windows", sa.BigInteger(), nullable=False),
        sa.Column("verdicts", sa.JSON(), nullable=False),
        sa.Column("alarm_rate", sa.JSON()),
        sa.Column("low_p", sa.JSON()),
        sa.PrimaryKeyConstraint("rollout_id", "stage", "at_ns"),
    )
