"""What webhooks are about: read, asked for by the names of types, and shown by them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from schemas.entity_type import EntityType
from servicetrade.hook_events import ACTIONS, all_types, events_about, events_as_json, read_events, shown_events
from tests.servicetrade.hook_examples import JOBS, TYPES, WANTED, hook


def test_events_are_compared_as_sets() -> None:
    told = [{"entityType": "16", "actions": ["deleted", "created"]}, {"entityType": 3, "actions": ["updated"]}]
    again = [
        {"entityType": 3, "actions": ["updated", "updated"]},
        {"entityType": 16, "actions": ["created", "deleted"]},
    ]
    assert read_events(told) == read_events(again)
    assert events_as_json(read_events(told)) == [
        {"entityType": 3, "actions": ["updated"]},
        {"entityType": 16, "actions": ["created", "deleted"]},
    ]


@pytest.mark.parametrize("value", ["all", [3], [{"entityType": 3}], [{"entityType": True, "actions": []}], {}, 0])
def test_events_of_an_unknown_shape_are_neither_everything_nor_what_is_wanted(value: Any) -> None:
    events = read_events(value)
    assert events is not None
    assert events != JOBS
    wanted = replace(WANTED, events=JOBS)
    assert wanted.drift_of(hook(1, events=read_events([*(events_as_json(JOBS) or []), 3]))) == ("entityEvents",)


def test_types_are_asked_for_and_shown_by_name() -> None:
    events = events_about(["job", "appointment", "job"], TYPES)
    assert events == frozenset((code, action) for code in (3, 16) for action in ACTIONS)
    assert shown_events(events, TYPES) == "job, appointment"
    assert shown_events(frozenset({(3, "updated"), (3, "created"), (77, "deleted")}), TYPES) == (
        "job (created, updated), code 77 (deleted)"
    )
    assert shown_events(None, TYPES) == "everything"
    assert shown_events(frozenset(), TYPES) == "nothing"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("jobb", r"no type 'jobb' is known; did you mean job\?"),
        ("zzz", r"known: appointment, .*\[servicetrade\.types\.NAME\] code ="),
        ("asset", r"sends no webhooks about the type 'asset'.*\[servicetrade\.types\.asset\] sends_webhooks = true"),
        ("invoice", r"code of the type 'invoice' is not known.*\[servicetrade\.types\.invoice\] code ="),
    ],
)
def test_a_type_that_cannot_be_asked_for_is_refused_with_what_to_do(name: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        events_about(["job", name], TYPES)


def test_a_type_of_the_configuration_can_be_asked_for() -> None:
    types = all_types(
        {"invoice": EntityType(code=12), "permit": EntityType(code=40), "asset": EntityType(sends_webhooks=True)}
    )
    events = events_about(["invoice", "permit", "asset"], types)
    assert events is not None
    assert {code for code, _ in events} == {12, 40, 2}
