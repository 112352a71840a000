"""Pure: which entity types ServiceTrade has, and where each is read, as data that the configuration can extend."""

from __future__ import annotations

from collections.abc import Mapping

from schemas.entity_type import EntityType

# Codes: ServiceTrade's Node SDK example and integrators' live subscriptions. Page limits and the jobs' default filter:
# integrators' transcripts of the published docs.
BUILT_IN: Mapping[str, EntityType] = {
    "appointment": EntityType(code=16, path="/appointment", list_key="appointments", sends_webhooks=True),
    "asset": EntityType(code=2, path="/asset", list_key="assets", sends_webhooks=False),
    "attachment": EntityType(path="/attachment", list_key="attachments", sends_webhooks=True),
    # Clock events are read through a job or as a list (GET /clock); one alone has no known path.
    "clockevent": EntityType(sends_webhooks=True),
    "company": EntityType(code=5, path="/company", list_key="companies", sends_webhooks=True),
    "contact": EntityType(code=22, path="/contact", list_key="contacts", sends_webhooks=True),
    "deficiency": EntityType(code=10, path="/deficiency", list_key="deficiencies", sends_webhooks=True),
    "invoice": EntityType(path="/invoice", list_key="invoices", page_limit=2000, sends_webhooks=True),
    # Without a status a list of jobs holds only the scheduled ones.
    "job": EntityType(
        code=3, path="/job", list_key="jobs", page_limit=2000, list_query={"status": "*"}, sends_webhooks=True
    ),
    "jobitem": EntityType(code=23, path="/jobitem", list_key="jobItems", sends_webhooks=True),
    # Without a limit locations come ten at a time.
    "location": EntityType(code=11, path="/location", list_key="locations", page_limit=5000, sends_webhooks=True),
    "quote": EntityType(code=9, path="/quote", list_key="quotes", sends_webhooks=True),
    # Items are created under /quote/{id}/item; reading one alone has no known path.
    "quoteitem": EntityType(sends_webhooks=True),
    "servicerequest": EntityType(code=18, path="/servicerequest", list_key="serviceRequests", sends_webhooks=False),
    "user": EntityType(code=4, path="/user", list_key="users", sends_webhooks=True),
    # The webhook subscriptions themselves.
    "webhook": EntityType(path="/webhook", list_key="webhooks", sends_webhooks=False),
}


class Catalogue:
    """Entity types by name; an unknown one is data as well: it has no code and no path.

    Args:
        configured: [servicetrade.types.NAME] of the configuration; what it leaves out stays as it is built in.
    """

    def __init__(self, configured: Mapping[str, EntityType] | None = None) -> None:
        self._types = dict(BUILT_IN)
        for name, changes in (configured or {}).items():
            self._types[name] = self.of(name).with_changes(changes)

    def of(self, name: str) -> EntityType:
        """The type called `name`."""
        return self._types.get(name) or EntityType()
