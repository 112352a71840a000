"""Appends rules to the log: one control record per account, in the account's own partition."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from processors.rules import AccountRules, builtin_rules, read_rules, rules_version
from rules.check import same_rules
from rules.history import RulesLog
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


async def apply_rules(
    kafka: KafkaSettings,
    resolved: Mapping[str, Mapping[str, Any]],
    *,
    told: Callable[[Applied], None] = lambda _applied: None,
) -> list[Applied]:
    """Append the resolved rules of each account; they hold for what follows them in the log.

    Args:
        kafka: the broker.
        resolved: by account, as `read_rules_file` returns them.
        told: called for each account when its record is acknowledged.

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
            told(applied[-1])
    return applied


def differing(
    log: RulesLog, resolved: Mapping[str, Mapping[str, Any]], *, max_ceiling_ms: int
) -> dict[str, Mapping[str, Any]]:
    """Those of the resolved rules that are not what holds at the end of the log."""
    return {
        account: rules
        for account, rules in resolved.items()
        if not _holds(read_rules(rules, max_ceiling_ms=max_ceiling_ms), log, account, max_ceiling_ms)
    }


def _holds(rules: AccountRules, log: RulesLog, account: str, max_ceiling_ms: int) -> bool:
    latest = log.latest(account)
    if latest is None:
        # Rules that say what is built in would close windows for nothing.
        return same_rules(rules, builtin_rules(max_ceiling_ms))
    return rules.version == latest.entry.version
