"""Pure: how far a sink goes."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from sinks.pauses import Pauses


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How far a sink goes.

    Args:
        concurrency: entities that the sink is called for at a time.
        account_concurrency: the same of one account.
        pauses: after failures.
        park_after_s: an account that has failed for so long is put aside.
        park_entity_after_s: the same for one entity.
        dead_letter_cap: dead letters of one account that nobody has dealt with, from which on it is put aside.
        letters_kept_s: dead letters older than this do not count: retention has removed them.
        accounts: all that there are; if most of them are at the cap, the sink halts.
    """

    concurrency: int = 64
    account_concurrency: int = 8
    pauses: Pauses = field(default_factory=Pauses)
    park_after_s: float = 10.0
    park_entity_after_s: float = 60.0
    dead_letter_cap: int = 100
    letters_kept_s: float = 90 * 86_400.0
    accounts: Collection[str] = ()
