"""Sequence numbers that a rollup stands for, in the ledger."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("ledger", sa.Column("n_merged", sa.BigInteger(), nullable=False, server_default="0"))
