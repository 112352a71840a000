"""Pure: what a webhook is told about (`entityEvents`): read, made from the names of types, and shown by them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from schemas.entity_type import EntityType
from schemas.suggestion import did_you_mean
from servicetrade.catalogue import BUILT_IN, Catalogue

ACTIONS = ("created", "updated", "deleted")

Events: TypeAlias = frozenset[tuple[int, str]] | None
"""Pairs of a type's code and an action, in no order; None: everything, which is `entityEvents: null`."""

_ILLEGIBLE = (0, "?")
"""Stands for what is not of the known shape: equal to nothing that is ever wanted."""


def all_types(configured: Mapping[str, EntityType]) -> dict[str, EntityType]:
    """Every known type by its name; `configured` is [servicetrade.types] of the configuration."""
    catalogue = Catalogue(configured)
    return {name: catalogue.of(name) for name in sorted({*BUILT_IN, *configured})}


def read_events(value: Any) -> Events:
    """`entityEvents` as ServiceTrade answers it."""
    if value is None:
        return None
    if not isinstance(value, list):
        return frozenset({_ILLEGIBLE})
    pairs: set[tuple[int, str]] = set()
    for one in value:
        code = whole_number(one.get("entityType")) if isinstance(one, dict) else None
        actions = one.get("actions") if isinstance(one, dict) else None
        if code is None or not isinstance(actions, list):
            pairs.add(_ILLEGIBLE)
        else:
            pairs |= {(code, str(action)) for action in actions}
    return frozenset(pairs)


def events_as_json(events: Events) -> list[dict[str, Any]] | None:
    """`entityEvents` as ServiceTrade takes it."""
    if events is None:
        return None
    codes = sorted({code for code, _ in events})
    return [{"entityType": code, "actions": [one for one in ACTIONS if (code, one) in events]} for code in codes]


def events_about(names: Iterable[str], types: Mapping[str, EntityType]) -> Events:
    """All that happens to entities of these types.

    Raises:
        ValueError: one of them is not known, sends no webhooks or has no known code; says what to do about it.
    """
    return frozenset((_code_of(name, types), action) for name in names for action in ACTIONS)


def _code_of(name: str, types: Mapping[str, EntityType]) -> int:
    if name not in types:
        possible = [other for other, known in types.items() if known.sends_webhooks is not False]
        raise ValueError(
            f"no type {name!r} is known; {did_you_mean(name, possible, 'known')} (one that is missing here is added to "
            f"the configuration: [servicetrade.types.NAME] code = ...)"
        )
    known = types[name]
    if known.sends_webhooks is False:
        raise ValueError(
            f"ServiceTrade sends no webhooks about the type {name!r}: leave it out. If it does by now, say so in the "
            f"configuration: [servicetrade.types.{name}] sends_webhooks = true"
        )
    if known.code is None:
        raise ValueError(
            f"the code of the type {name!r} is not known: take it from ServiceTrade's docs into the configuration, "
            f"[servicetrade.types.{name}] code = ..., or ask for everything"
        )
    return known.code


def shown_events(events: Events, types: Mapping[str, EntityType]) -> str:
    """For people: types by name, with their actions unless it is all of them."""
    if events is None:
        return "everything"
    names = {known.code: name for name, known in types.items() if known.code is not None}
    actions: dict[int, set[str]] = {}
    for code, action in sorted(events):
        actions.setdefault(code, set()).add(action)
    shown = [
        names.get(code, f"code {code}") + ("" if done == set(ACTIONS) else f" ({', '.join(sorted(done))})")
        for code, done in actions.items()
    ]
    return ", ".join(shown) or "nothing"


def whole_number(value: Any) -> int | None:
    """An integer, or its digits; None: neither."""
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None
