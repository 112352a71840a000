"""The pure parts of a backfill: types as people say them, and what of a page is usable."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.entity_type import EntityType
from servicetrade.hook_events import all_types
from sinks.backfill_plan import listed, page_limits


def test_a_page_is_as_large_as_asked_for_where_the_type_allows_it() -> None:
    types = all_types({"job": EntityType(page_limit=200)})
    assert page_limits(["job", "location", "contact"], types) == {"job": 200, "location": 500, "contact": None}
    assert page_limits(["location", "contact"], types, 2000) == {"location": 2000, "contact": 2000}
    assert page_limits(["job"], types, 2000) == {"job": 200}


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("locations", "no type 'locations' is known; did you mean location"),
        ("zebra", "no type 'zebra' is known; known: appointment, "),
        ("quoteitem", r"no list of the type 'quoteitem' is known; .*\[servicetrade.types.quoteitem\]"),
        ("webhook", "are not mirrored"),
    ],
)
def test_a_type_that_cannot_be_backfilled_is_said(name: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        page_limits(["job", name], all_types({}))


def test_no_type_at_all_is_said() -> None:
    with pytest.raises(ValueError, match="names at least one type"):
        page_limits([], all_types({}))


def test_items_come_in_the_order_of_their_keys_each_once_and_only_with_an_id() -> None:
    items: list[dict[str, Any]] = [
        {"id": 2687264638045377, "updated": 1},
        {"id": "9", "name": "old", "updated": 1},
        {"id": 9, "name": "new", "updated": 2},
        {"id": "9", "name": "older", "updated": 1},
        {"id": "10"},
        {"id": None},
        {"id": -1},
        {"name": "nobody"},
        {"id": "1/../2"},
    ]
    found = listed("acme", "job", items)
    assert [(key[2], snapshot.name) for key, snapshot in found] == [
        ("10", None),
        ("2687264638045377", None),
        ("9", "new"),
    ]
