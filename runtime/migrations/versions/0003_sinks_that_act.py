"""What the sinks put aside, remember and perform, the dead letters that nobody has dealt with, and who is halted."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make the tables."""
    _waiting()
    op.create_table(
        "delivered",
        sa.Column("sink", sa.String(80), primary_key=True),
        sa.Column("account", sa.String(63), primary_key=True),
        sa.Column("entity_type", sa.String(200), primary_key=True),
        sa.Column("entity_id", sa.String(19), primary_key=True),
        sa.Column("last_sequence", sa.String(200), nullable=False),
        sa.Column("last_change_id", sa.String(200), nullable=False),
    )
    op.create_table(
        "commands",
        sa.Column("account", sa.String(63), primary_key=True),
        sa.Column("command_id", sa.String(200), primary_key=True),
        sa.Column("method", sa.String(6), nullable=False),
        sa.Column("entity_type", sa.String(64), nullable=False),
        sa.Column("entity_id", sa.String(19)),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("state", sa.String(9), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("record_offset", sa.BigInteger, nullable=False),
        sa.Column("token", sa.String(32), nullable=False),
        sa.Column("sent_ms", sa.BigInteger),
        sa.Column("saved_ms", sa.BigInteger, nullable=False),
        sa.Column("result", sa.Text),
    )


def _waiting() -> None:
    op.create_table(
        "parked",
        sa.Column("sink", sa.String(100), primary_key=True),
        sa.Column("topic", sa.String(249), primary_key=True),
        sa.Column("partition", sa.Integer, primary_key=True),
        sa.Column("position", sa.BigInteger, primary_key=True),
        sa.Column("account", sa.String(63), nullable=False),
        sa.Column("key", sa.String(300), nullable=False),
        sa.Column("whole_account", sa.Boolean, nullable=False),
        sa.Column("record_key", sa.LargeBinary),
        sa.Column("value", sa.LargeBinary),
        sa.Column("headers", sa.Text, nullable=False),
        sa.Column("timestamp_ms", sa.BigInteger, nullable=False),
        sa.Column("parked_ms", sa.BigInteger, nullable=False),
    )
    place = ["sink", "topic", "account", "whole_account", "key", "partition", "position"]
    op.create_index("parked_by_place", "parked", place)
    op.create_table(
        "halts",
        sa.Column("sink", sa.String(100), primary_key=True),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("since_ms", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "open_dead_letters",
        sa.Column("sink", sa.String(100), primary_key=True),
        sa.Column("topic", sa.String(249), primary_key=True),
        sa.Column("partition", sa.Integer, primary_key=True),
        sa.Column("position", sa.BigInteger, primary_key=True),
        sa.Column("account", sa.String(63), nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("written", sa.Boolean, nullable=False),
    )
