"""What the commands of `tradewind rules` share: their options, and what a file is checked against."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from rules.tables import Surroundings
from runtime.settings import Settings
from servicetrade.catalogue import BUILT_IN

Accounts = Annotated[tuple[str, ...], Parameter(name="--account", help="Only this account (repeatable).", negative="")]
Json = Annotated[bool, Parameter(help="Print each as a line of JSON.", negative="")]


def surroundings(settings: Settings) -> Surroundings:
    """What a rules file is checked against, by this configuration."""
    types = {name: known.sends_webhooks for name, known in BUILT_IN.items()}
    types |= {name: known.sends_webhooks for name, known in settings.servicetrade.types.items() if name not in types}
    return Surroundings(accounts=tuple(settings.accounts), max_ceiling_ms=settings.pipeline.max_ceiling_ms, types=types)
