"""Pure: which entity types ServiceTrade has, and where each is read, as data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class EntityType:
    """One kind of entity.

    Sources: code and `name` from ServiceTrade's Node SDK example and integrators' live subscriptions; where nobody
    has published a value it is None, never a guess that looks like a fact.
    """

    name: str
    """What `entity.type` says in a webhook, lower case."""
    code: int | None = None
    """What `entityEvents[].entityType` says in a webhook subscription; None: not public."""
    path: str | None = None
    """Below /api; GET path lists, GET path/id reads one. None: no such path is known."""
    list_key: str | None = None
    """Where `data` of a list keeps its items."""
    sends_webhooks: bool = True
    """Whether ServiceTrade lists it among the types that a webhook can be about."""


ENTITY_TYPES: tuple[EntityType, ...] = (
    EntityType(name="appointment", code=16, path="/appointment", list_key="appointments"),
    EntityType(name="asset", code=2, path="/asset", list_key="assets", sends_webhooks=False),
    EntityType(name="attachment", path="/attachment", list_key="attachments"),
    # Clock events are read through a job or as a list (GET /clock); one alone has no known path.
    EntityType(name="clockevent"),
    EntityType(name="company", code=5, path="/company", list_key="companies"),
    EntityType(name="contact", code=22, path="/contact", list_key="contacts"),
    EntityType(name="deficiency", code=10, path="/deficiency", list_key="deficiencies"),
    EntityType(name="invoice", path="/invoice", list_key="invoices"),
    EntityType(name="job", code=3, path="/job", list_key="jobs"),
    EntityType(name="jobitem", code=23, path="/jobitem", list_key="jobItems"),
    EntityType(name="location", code=11, path="/location", list_key="locations"),
    EntityType(name="quote", code=9, path="/quote", list_key="quotes"),
    # Items are created under /quote/{id}/item; reading one alone has no known path.
    EntityType(name="quoteitem"),
    EntityType(
        name="servicerequest", code=18, path="/servicerequest", list_key="serviceRequests", sends_webhooks=False
    ),
    EntityType(name="user", code=4, path="/user", list_key="users"),
    # The webhook subscriptions themselves.
    EntityType(name="webhook", path="/webhook", list_key="webhooks", sends_webhooks=False),
)

_BY_NAME = {entity_type.name: entity_type for entity_type in ENTITY_TYPES}


def entity_type_of(name: str) -> EntityType:
    """The type called `name`; an unknown one is data as well: no code, no path."""
    return _BY_NAME.get(name) or EntityType(name=name)


def path_of(name: str) -> str | None:
    """Path below /api at which entities of this type are read, or None if there is none that is known."""
    return entity_type_of(name).path
