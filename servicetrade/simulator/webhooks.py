"""Pure: the webhook subscriptions of one account and which events each of them gets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from servicetrade.simulator.kinds import BY_TYPE
from servicetrade.simulator.world import ENTITY_URI, Event

ACTIONS = frozenset({"created", "updated", "deleted"})
# A live hook read confirmed:false on POST and confirmed:true one second later, without any handshake.
CONFIRMED_AFTER_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """One webhook; `entity_events` None means everything, otherwise type code -> actions."""

    id: int
    hook_url: str
    enabled: bool
    include_changesets: bool
    entity_events: tuple[tuple[int, tuple[str, ...]], ...] | None
    created_at: float

    def wants(self, event: Event) -> bool:
        """Whether the filter lets the event through; types without a known code need the open filter."""
        if self.entity_events is None:
            return True
        kind = BY_TYPE.get(event.type)
        return kind is not None and any(
            code == kind.code and event.action in actions for code, actions in self.entity_events
        )

    def as_json(self, now: float) -> dict[str, Any]:
        """The resource as the API shows it at `now` (Unix seconds)."""
        events = self.entity_events
        return {
            "id": self.id,
            "uri": ENTITY_URI.format(path="webhook", id=self.id),
            "hookUrl": self.hook_url,
            "enabled": self.enabled,
            "confirmed": now - self.created_at >= CONFIRMED_AFTER_S,
            "includeChangesets": self.include_changesets,
            "entityEvents": None
            if events is None
            else [{"entityType": code, "actions": list(actions)} for code, actions in events],
        }


def create(id_: int, body: Mapping[str, Any], now: float) -> Subscription:
    """A subscription from the body of POST /webhook; ValueError says what is wrong with it."""
    hook_url = body.get("hookUrl")
    if not isinstance(hook_url, str) or not _is_url(hook_url):
        raise ValueError("hookUrl: a URL is required")
    blank = Subscription(
        id=id_, hook_url=hook_url, enabled=True, include_changesets=False, entity_events=None, created_at=now
    )
    return update(blank, body)


def update(subscription: Subscription, body: Mapping[str, Any]) -> Subscription:
    """Apply the body of PUT /webhook/{id}; ValueError says what is wrong with it.

    Only enabled, includeChangesets and entityEvents are accepted; hookUrl is immutable, what is sent for
    it is passed over.
    """
    for name in ("enabled", "includeChangesets"):
        if name in body and not isinstance(body[name], bool):
            raise ValueError(f"{name}: true or false expected")
    return replace(
        subscription,
        enabled=body.get("enabled", subscription.enabled),
        include_changesets=body.get("includeChangesets", subscription.include_changesets),
        entity_events=_events(body["entityEvents"]) if "entityEvents" in body else subscription.entity_events,
    )


def _events(value: object) -> tuple[tuple[int, tuple[str, ...]], ...] | None:
    if value is None:
        return None
    if not isinstance(value, list):
        raise ValueError("entityEvents: a list or null expected")
    events = []
    for one in value:
        code = one.get("entityType") if isinstance(one, dict) else None
        actions = one.get("actions") if isinstance(one, dict) else None
        known = isinstance(actions, list) and all(isinstance(a, str) and a in ACTIONS for a in actions)
        if not isinstance(code, int) or not isinstance(actions, list) or not known:
            raise ValueError("entityEvents: {entityType: int, actions: [created|updated|deleted]} expected")
        events.append((code, tuple(actions)))
    return tuple(events)


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        port_is_fine = parts.port is None or parts.port > 0
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and port_is_fine
