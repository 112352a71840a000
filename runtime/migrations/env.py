"""What Alembic loads to run the steps, on the connection and in the transaction of `runtime.store_migration`."""

from __future__ import annotations

from alembic import context

context.configure(connection=context.config.attributes["connection"])
context.run_migrations()
