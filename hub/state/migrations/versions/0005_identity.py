"""Claim tokens; devices that are suspended or revoked, that change their keys, and that speak with two voices."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("devices", sa.Column("state", sa.String(length=16), nullable=False, server_default="active"))
    op.add_column("devices", sa.Column("state_reason", sa.Text(), nullable=False, server_default=""))
    op.add_column("devices", sa.Column("state_ns", sa.BigInteger(), nullable=True))
    op.add_column("devices", sa.Column("claim_id", sa.String(length=64), nullable=True))
    op.add_column("devices", sa.Column("profiles", sa.JSON(), nullable=True))
    op.add_column("devices", sa.Column("previous_key", sa.LargeBinary(), nullable=True))
    op.add_column("devices", sa.Column("key_since_ns", sa.BigInteger(), nullable=True))
    op.add_column("devices", sa.Column("writers", sa.JSON(), nullable=True))
    op.create_table(
        "claim_tokens",
        sa.Column("token_id", sa.String(length=64), nullable=False),
        sa.Column("public_key", sa.LargeBinary(), nullable=False),
        sa.Column("site", sa.String(length=64), nullable=False),
        sa.Column("profiles", sa.JSON(), nullable=False),
        sa.Column("max_uses", sa.Integer(), nullable=False),
        sa.Column("n_used", sa.Integer(), nullable=False),
        sa.Column("created_ns", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.String(length=128), nullable=False),
        sa.Column("expires_ns", sa.BigInteger(), nullable=False),
        sa.Column("revoked_ns", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("token_id"),
    )
    op.create_table(
        "lane_boots",
        sa.Column("device_id", sa.String(length=64), nullable=False),
        sa.Column("epoch", sa.String(length=64), nullable=False),
        sa.Column("lane", sa.String(length=16), nullable=False),
        sa.Column("first_seq", sa.BigInteger(), nullable=False),
        sa.Column("boot_id", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("device_id", "epoch", "lane", "first_seq"),
    )
