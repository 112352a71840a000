"""The mirror's entities as JSON that the database knows, with indexes for people, and how far each backfill is."""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Change `entities`, whatever it holds, and make `backfills`."""
    _take_out_nul()
    if op.get_bind().dialect.name == "postgresql":
        op.alter_column("entities", "data", type_=JSONB(), postgresql_using="data::jsonb")
    op.create_index("entities_by_status", "entities", ["account", "entity_type", "status"])
    op.create_index("entities_by_updated_at", "entities", ["account", "entity_type", "updated_at"])
    op.create_table(
        "backfills",
        sa.Column("account", sa.String(63), primary_key=True),
        sa.Column("entity_type", sa.String(200), primary_key=True),
        sa.Column("since", sa.String(64), primary_key=True),
        sa.Column("since_at", sa.BigInteger, nullable=False),
        sa.Column("began_at", sa.BigInteger, nullable=False),
        sa.Column("finished_at", sa.BigInteger),
        sa.Column("run", sa.String(32), nullable=False),
        sa.Column("page_limit", sa.BigInteger),
        sa.Column("pages_read", sa.BigInteger, nullable=False),
        sa.Column("pages", sa.BigInteger),
        sa.Column("items_read", sa.BigInteger, nullable=False),
        sa.Column("rows_written", sa.BigInteger, nullable=False),
    )


def _take_out_nul() -> None:
    """JSONB does not hold U+0000; from now on it is in no row, whatever the database."""
    connection = op.get_bind()
    entities = sa.table("entities", *(sa.column(name) for name in ("account", "entity_type", "entity_id", "data")))
    query = sa.select(entities).where(entities.c.data.contains("\\u0000", autoescape=True))
    for row in connection.execute(query).all():
        data = json.dumps(_without_nul(json.loads(row.data)), ensure_ascii=False, separators=(",", ":"))
        key = (getattr(entities.c, name) == getattr(row, name) for name in ("account", "entity_type", "entity_id"))
        connection.execute(sa.update(entities).where(*key).values(data=data))


def _without_nul(value: Any) -> Any:
    match value:
        case str():
            return value.replace("\0", "")
        case dict():
            return {_without_nul(name): _without_nul(inner) for name, inner in value.items()}
        case list():
            return [_without_nul(inner) for inner in value]
        case _:
            return value
