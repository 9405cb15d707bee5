"""Bundles are signed by a TUF repository, which lives in the state; the hub's own signatures over them go."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "tuf_metadata",
        sa.Column("role", sa.String(80), primary_key=True),
        sa.Column("version", sa.Integer(), primary_key=True),
        sa.Column("content", sa.LargeBinary(), nullable=False),
    )
    op.add_column("bundles", sa.Column("signed_ns", sa.BigInteger()))
    op.drop_column("bundles", "signature")
