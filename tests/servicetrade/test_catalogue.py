"""The catalogue of entity types, and what a configuration makes of it."""

from __future__ import annotations

import pytest

from schemas.entity_type import EntityType
from servicetrade.catalogue import BUILT_IN, Catalogue


def test_codes_are_unique_and_thirteen_types_send_webhooks() -> None:
    codes = [kind.code for kind in BUILT_IN.values() if kind.code is not None]
    assert len(set(codes)) == len(codes)
    assert sum(kind.sends_webhooks is True for kind in BUILT_IN.values()) == 13


def test_paths_are_those_of_the_api_and_unknown_types_have_none() -> None:
    catalogue = Catalogue()
    assert catalogue.of("job").path == "/job"
    assert catalogue.of("quoteitem").path is None
    assert catalogue.of("something new") == EntityType()


def test_a_configured_type_adds_to_what_is_built_in_and_may_be_new() -> None:
    catalogue = Catalogue({"invoice": EntityType(code=12), "comment": EntityType(path="/comment", list_key="comments")})
    assert catalogue.of("invoice") == EntityType(
        code=12, path="/invoice", list_key="invoices", page_limit=2000, sends_webhooks=True
    )
    assert catalogue.of("comment").path == "/comment"
    assert catalogue.of("job") == BUILT_IN["job"]


def test_a_configured_false_is_not_taken_for_unknown() -> None:
    assert Catalogue({"job": EntityType(sends_webhooks=False)}).of("job").sends_webhooks is False


@pytest.mark.parametrize("path", ["job", "/", "//elsewhere.example", "/job/../user", "/job?x=1", "/job/", ""])
def test_a_path_that_could_lead_elsewhere_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="path"):
        EntityType(path=path)


def test_a_page_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="page_limit"):
        EntityType(page_limit=0)
