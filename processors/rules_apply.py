"""Appends rules to the log: one control record per account, in the account's own partition."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from processors.rules import rules_version
from runtime.kafka import Position, Producer, acknowledged
from runtime.settings import KafkaSettings
from schemas.encoding import encode
from schemas.topics import CONTROL_HEADER, CONTROL_RULES, WEBHOOKS


@dataclass(frozen=True, slots=True)
class Applied:
    """Where an account's new rules take effect."""

    account: str
    version: str
    position: Position


async def apply_rules(kafka: KafkaSettings, resolved: Mapping[str, Mapping[str, Any]]) -> list[Applied]:
    """Append the resolved rules of each account; they hold for what follows them in the log.

    Raises:
        KafkaError: an append was not acknowledged; accounts before it have their new rules.
    """
    applied = []
    async with Producer.open(kafka, client_id="rules") as producer:
        for account, rules in resolved.items():
            sent = await producer.send(
                kafka.topic_prefix + WEBHOOKS.name,
                key=account.encode(),
                value=encode(rules),
                headers=[(CONTROL_HEADER, CONTROL_RULES)],
            )
            applied.append(Applied(account, rules_version(rules), await acknowledged(sent)))
    return applied
