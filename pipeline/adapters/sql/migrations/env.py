"""What Alembic runs for every command: migrate on the caller's connection and transaction, or write SQL.

Configured by ``pipeline.adapters.sql.schema``, which owns when and on what.
"""

from typing import Any

from alembic import context

_attributes: dict[Any, Any] = context.config.attributes
if context.is_offline_mode():
    context.configure(
        dialect_name=_attributes["dialect"],
        version_table=_attributes["version_table"],
        literal_binds=True,
        output_buffer=_attributes["output"],
        transactional_ddl=True,
    )
else:
    context.configure(connection=_attributes["connection"], version_table=_attributes["version_table"])
with context.begin_transaction():
    context.run_migrations()
