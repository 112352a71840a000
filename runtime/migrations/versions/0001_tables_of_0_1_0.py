"""The tables of version 0.1.0, which made them by itself, each when it was first needed: what is there stays."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make what is missing."""
    op.create_table(
        "sessions",
        sa.Column("account", sa.String(63), primary_key=True),
        sa.Column("generation", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("token", sa.LargeBinary),
        sa.Column("fingerprint", sa.String(64)),
        sa.Column("made_ms", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("suspicions", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("cleared", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("lease_owner", sa.String(63)),
        sa.Column("lease_until_ms", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("login_failures", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("not_before_ms", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("refused_fingerprints", sa.Text, nullable=False, server_default=""),
        sa.Column("refused_reason", sa.Text),
        sa.Column("updated_ms", sa.BigInteger, nullable=False, server_default="0"),
        if_not_exists=True,
    )
    op.create_table(
        "entities",
        sa.Column("account", sa.String(63), primary_key=True),
        sa.Column("entity_type", sa.String(200), primary_key=True),
        sa.Column("entity_id", sa.String(19), primary_key=True),
        sa.Column("data", sa.Text),
        sa.Column("name", sa.Text),
        sa.Column("status", sa.Text),
        sa.Column("created_at", sa.BigInteger),
        sa.Column("updated_at", sa.BigInteger),
        sa.Column("deleted_at", sa.BigInteger),
        sa.Column("last_sequence", sa.String(200), nullable=False, server_default=""),
        sa.Column("last_change_id", sa.String(200)),
        sa.Column("ticket", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("written_ticket", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("mirrored_at", sa.BigInteger),
        if_not_exists=True,
    )
