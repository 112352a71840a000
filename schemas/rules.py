"""RulesInForce: which rules an account has had since which position of the raw log."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from schemas.encoding import decode


@dataclass(frozen=True, slots=True, kw_only=True)
class RulesInForce:
    """One record on tradewind.rules, keyed by account; copies are told apart by their position."""

    account: str = field(metadata={"description": "name of the customer account"})
    version: str = field(metadata={"description": "hash of the resolved rules"})
    topic: str = field(metadata={"description": "the raw log's topic"})
    partition: int = field(metadata={"description": "the account's partition of it"})
    offset: int = field(metadata={"description": "offset of the control record: the rules hold from there on"})
    rules: Any = field(metadata={"description": "the resolved rules: default, and types by entity type"})


def decode_rules_in_force(value: bytes) -> RulesInForce:
    """Read a record value of tradewind.rules.

    Raises:
        ValueError: the bytes are not RulesInForce.
    """
    data = decode(value)
    try:
        return RulesInForce(**data)
    except TypeError as error:
        raise ValueError(f"not RulesInForce: {error}") from error
