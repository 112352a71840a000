"""The one table of Kafka topics: names, keys, sizes and the settings that correctness rests on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

BODY_LIMIT_BYTES = 4 * 1024 * 1024
"""The largest webhook body that ingest stores."""
MAX_RECORD_BYTES = 4 * BODY_LIMIT_BYTES
"""The largest record that topics and producers accept; a body must fit whatever surrounds it."""
PARTITIONS = 12
"""For the life of the topics: an account's order rests on its partition never changing."""

FOR_EVER_MS = -1
"""How Kafka spells a retention without end."""

ACCOUNT_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
"""What an account may be called: the name is a record key, a part of URLs and a metric label."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """One topic as it is created and as asyncapi.yaml describes it."""

    name: str
    key: str
    summary: str
    payload: str
    """Name of the JSON Schema of the value, or `bytes` for untouched originals."""
    partitions: int = PARTITIONS
    keep_for_ever: bool = False
    config: Mapping[str, str] = field(default_factory=dict)


WEBHOOKS = Topic(
    name="servicetrade.webhooks",
    key="account",
    payload="bytes",
    summary="The raw log and source of truth: every webhook body exactly as it was received, in order per account. "
    "Records with the header tradewind-control are the pipeline's own (ticks, rules): skip them.",
    config={"message.timestamp.type": "LogAppendTime"},
)
CHANGES = Topic(
    name="servicetrade.changes",
    key="account/type/id",
    payload="EntityChange",
    summary="One actionable change per entity and burst, as a CloudEvent in binary mode.",
)
DELIVERIES = Topic(
    name="servicetrade.deliveries",
    key="account/type/id",
    payload="Delivery",
    summary="What became of each change at each sink.",
)
DEADLETTERS = Topic(
    name="servicetrade.deadletters",
    key="key of the original record",
    payload="bytes",
    summary="Records that could not be used: original key and bytes untouched, the reason in x-dlq-* headers.",
)
COMMANDS = Topic(
    name="servicetrade.commands",
    key="account",
    payload="Command",
    summary="API calls that downstream systems want performed on ServiceTrade; the command id makes a repeat harmless.",
)
RESULTS = Topic(
    name="servicetrade.results",
    key="account",
    payload="CommandResult",
    summary="What came of each command.",
)
RULES = Topic(
    name="tradewind.rules",
    key="account",
    payload="RulesInForce",
    summary="The rules of each account and the position in servicetrade.webhooks at which they took effect.",
    partitions=1,
    keep_for_ever=True,
)

TOPICS: tuple[Topic, ...] = (WEBHOOKS, CHANGES, DELIVERIES, DEADLETTERS, COMMANDS, RESULTS, RULES)

CONTROL_HEADER = "tradewind-control"
"""Marks the pipeline's own records on servicetrade.webhooks; its value is CONTROL_TICK or CONTROL_RULES."""
CONTROL_TICK = b"tick"
CONTROL_RULES = b"rules"
RECEIPT_HEADER = "tradewind-receipt"
"""A unique id that ingest gives each request it accepts: tells a sender's repeat from our own."""
ELEMENTS_HEADER = "tradewind-elements"
"""On a redriven webhook: comma-separated indices of the only elements to process."""

REDRIVE_TO_HEADER = "x-redrive-to"
"""On a redriven record: the one sink that it is meant for; all others pass it over. REDRIVE_TO_ALL: every one."""
REDRIVE_TO_ALL = b"*"
"""No sink is called so. Only `tradewind replay --redeliver all` writes it."""
REDRIVES_HEADER = "x-redrives"
"""On a redriven record: how often it has been redriven, this time included."""
REPLAY_HEADER = "tradewind-replay"
"""On a change: the id of the replay that made it under other rules than those that were in force then."""
RESOLUTION_HEADER = "tradewind-resolution"
"""On servicetrade.deadletters, with an empty value: not a dead letter, but what a person did about one: RESOLUTIONS."""
RESOLVES_HEADER = "tradewind-resolves"
"""Beside it: the dead letter's offset in the same partition."""
RESOLUTIONS = ("redriven", "dropped")
