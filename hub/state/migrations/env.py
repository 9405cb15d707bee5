"""Runs the migrations on the connection that the caller has opened, inside its transaction (see hub/state/database.py)."""

from alembic import context

from hub.state.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
