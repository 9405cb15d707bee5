"""What an alert rests on, in words: of one by a single reading, that reading and the nearest value that was ever seen."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("alerts", sa.Column("detail", sa.Text(), nullable=False, server_default=""))
