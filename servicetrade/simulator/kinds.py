"""Pure: the entity types that the simulator knows, with their paths, list keys, codes and limits.

It keeps a table of its own on purpose: a fake that shared the product's catalogue would share its mistakes.
Sources: design notes servicetrade.md sections 5 and 7 (published list of webhook-capable types, live codes).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One entity type.

    Args:
        type: the `entity.type` string of a webhook.
        path: the resource under /api, or None where no path is published (quote items).
        list_key: the key of the array in a list answer.
        code: `entityType` of a subscription, or None where it is not published.
        readable: whether GET /api/{path}/{id} exists.
        notifies: whether changes of this type make webhooks.
        default_limit: page size without `limit`; only those of job, invoice and location are published.
        max_limit: the largest page size.
        incremental: whether the list honours updatedAfter and its three siblings.
    """

    type: str
    path: str | None
    list_key: str
    code: int | None = None
    readable: bool = True
    notifies: bool = True
    default_limit: int = 100
    max_limit: int = 2000
    incremental: bool = False


KINDS: tuple[Kind, ...] = (
    Kind(type="asset", path="asset", list_key="assets", code=2, notifies=False),
    Kind(type="job", path="job", list_key="jobs", code=3, default_limit=2000, incremental=True),
    Kind(type="user", path="user", list_key="users", code=4),
    Kind(type="company", path="company", list_key="companies", code=5),
    Kind(type="quote", path="quote", list_key="quotes", code=9),
    Kind(type="deficiency", path="deficiency", list_key="deficiencies", code=10, incremental=True),
    Kind(
        type="location",
        path="location",
        list_key="locations",
        code=11,
        default_limit=10,
        max_limit=5000,
        incremental=True,
    ),
    Kind(type="appointment", path="appointment", list_key="appointments", code=16),
    Kind(type="servicerequest", path="servicerequest", list_key="serviceRequests", code=18, notifies=False),
    Kind(type="contact", path="contact", list_key="contacts", code=22),
    Kind(type="jobitem", path="jobitem", list_key="jobItems", code=23, incremental=True),
    Kind(type="invoice", path="invoice", list_key="invoices", default_limit=2000, incremental=True),
    Kind(type="attachment", path="attachment", list_key="attachments"),
    Kind(type="quoteitem", path=None, list_key="items", readable=False),
    Kind(type="clockevent", path="clock", list_key="events", readable=False),
)
BY_TYPE = {kind.type: kind for kind in KINDS}
BY_PATH = {kind.path: kind for kind in KINDS if kind.path is not None}

# Fields that point at one entity, or at several; stored as bare ids.
REFERENCES = {
    "vendor": "company",
    "customer": "company",
    "company": "company",
    "location": "location",
    "owner": "user",
    "sales": "user",
    "user": "user",
    "primaryContact": "contact",
    "currentAppointment": "appointment",
    "job": "job",
    "quote": "quote",
    "invoice": "invoice",
    "asset": "asset",
}
REFERENCE_LISTS = {"techs": "user", "serviceRequests": "servicerequest"}

# The only fields that a changeset is known to carry.
TRACKED_FIELDS = {"appointment": ("status", "windowStart", "windowEnd"), "job": ("status",)}
