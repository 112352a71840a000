"""The plan for an account's webhooks: what is right, and in which order it is put right."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servicetrade.hook_events import ACTIONS, Events
from servicetrade.subscription_plan import (
    Action,
    Create,
    Delete,
    Hook,
    Owner,
    Update,
    Verdict,
    Wanted,
    judged,
    plan,
    read_hook,
    removal,
)
from tests.servicetrade.hook_examples import BASE, FOREIGN, JOBS, NEW, OLD, OWNER, RETIRED, WANTED, hook


def test_without_a_webhook_the_right_one_is_made() -> None:
    todo = plan([], replace(WANTED, events=JOBS, include_changesets=False))
    url = f"{BASE}/webhooks/acme/{NEW}"
    events = [{"entityType": 3, "actions": ["created", "updated", "deleted"]}]
    body = {"hookUrl": url, "enabled": True, "includeChangesets": False, "entityEvents": events}
    assert todo.actions == (Create(body=body),)
    assert todo.keep is None


def test_of_several_the_one_with_the_least_change_stays_then_the_one_with_the_lowest_id() -> None:
    one, two, three = hook(1, enabled=False, events=JOBS), hook(2, events=JOBS), hook(3, enabled=False)
    todo = plan([three, two, one], WANTED)
    assert todo.keep == two
    assert todo.actions == (
        Update(hook=two, drifted=("entityEvents",), body=WANTED.as_json()),
        Delete(hook=one, why=Verdict.DUPLICATE),
        Delete(hook=three, why=Verdict.DUPLICATE),
    )


def test_a_rotation_makes_the_new_one_first_and_then_deletes_the_old_and_the_retired() -> None:
    todo = plan([hook(1, RETIRED), hook(2, OLD)], WANTED)
    assert [type(action) for action in todo.actions] == [Create, Delete, Delete]
    assert [delete.why for delete in todo.deletes] == [Verdict.RETIRED_SECRET, Verdict.OLD_SECRET]


def test_all_fields_that_drifted_are_named_and_all_fields_are_sent() -> None:
    drifted = Hook(id=1, url=OWNER.url, enabled=False, include_changesets=False, events=JOBS)
    make = plan([drifted], WANTED).make
    assert isinstance(make, Update)
    assert make.drifted == ("enabled", "includeChangesets", "entityEvents")
    assert make.body == {"enabled": True, "includeChangesets": True, "entityEvents": None}


def test_an_end_removes_all_of_ours_whatever_they_are() -> None:
    hooks = [hook(4, enabled=False), hook(3), hook(2, OLD), hook(1, RETIRED), hook(5, url="https://other.example/")]
    assert [(one.hook.id, one.why) for one in removal(hooks, OWNER)] == [
        (4, Verdict.DUPLICATE),
        (3, Verdict.OK),
        (2, Verdict.OLD_SECRET),
        (1, Verdict.RETIRED_SECRET),
    ]


def test_a_webhook_is_judged_by_its_url_and_whether_it_is_enabled_only() -> None:
    assert judged([hook(1, events=JOBS)], OWNER) == [(hook(1, events=JOBS), Verdict.OK)]
    off = hook(1, enabled=False)
    assert judged([off], OWNER) == [(off, Verdict.DISABLED)]


def test_a_webhook_is_read_as_servicetrade_shows_it() -> None:
    shown = {"id": 2687264638045377, "hookUrl": "https://x.example", "enabled": True, "includeChangesets": True}
    assert read_hook(shown | {"confirmed": False, "entityEvents": None}) == hook(
        2687264638045377, url="https://x.example"
    )
    assert read_hook({"id": "7"}) == Hook(id=7, url="", enabled=False, include_changesets=False, events=None)


@pytest.mark.parametrize("id_", [None, 0, -1, True, 1.5, "x", "²"])
def test_a_webhook_without_an_id_is_refused(id_: Any) -> None:
    with pytest.raises(ValueError, match="without an id"):
        read_hook({"id": id_, "hookUrl": OWNER.url})


def test_no_secret_is_in_what_the_plan_prints() -> None:
    todo = plan([hook(1, OLD), hook(2, RETIRED)], WANTED)
    printed = f"{todo!r} {todo.actions!r} {WANTED!r} {judged([hook(1)], OWNER)!r}"
    assert not [secret for secret in (NEW, OLD, RETIRED) if secret in printed]


# The property


class Server:
    """ServiceTrade's webhooks as a plan changes them."""

    def __init__(self, hooks: Iterable[Hook]) -> None:
        self.hooks = {one.id: one for one in hooks}

    def apply(self, action: Action) -> None:
        match action:
            case Create(body=body):
                id_ = max(self.hooks, default=0) + 1
                self.hooks[id_] = read_hook({**body, "id": id_})
            case Update(hook=changed, body=body):
                assert "hookUrl" not in body
                self.hooks[changed.id] = read_hook({**body, "id": changed.id, "hookUrl": changed.url})
            case Delete(hook=gone):
                del self.hooks[gone.id]

    def receives(self, owner: Owner, events: Events) -> set[tuple[int, str]]:
        """Of the events those that come to us, over an enabled webhook with a live secret."""
        every = {(code, action) for code in (3, 4, 16) for action in ACTIONS} if events is None else events
        live = [one for one in self.hooks.values() if one.enabled and owner.secret_in(one) in owner.secrets]
        return {event for event in every for one in live if one.events is None or event in one.events}


EVENTS = st.none() | st.sets(st.tuples(st.sampled_from([3, 16]), st.sampled_from(ACTIONS))).map(frozenset)
OUR_URLS = st.builds(
    "{}/webhooks/acme/{}{}".format,
    st.sampled_from([BASE, "HTTPS://HOOKS.example.com:443/st"]),
    st.sampled_from([NEW, NEW, OLD, RETIRED]),
    st.sampled_from(["", "/"]),
)
HOOKS = st.lists(
    st.builds(
        Hook,
        id=st.integers(1, 30),
        url=OUR_URLS | st.sampled_from(FOREIGN),
        enabled=st.booleans(),
        include_changesets=st.booleans(),
        events=EVENTS,
    ),
    max_size=8,
    unique_by=lambda one: one.id,
)
OWNERS = st.sampled_from([OWNER, replace(OWNER, secrets=(NEW,))])


@given(hooks=HOOKS, owner=OWNERS, changesets=st.booleans(), events=EVENTS)
def test_a_plan_leaves_exactly_the_right_one_without_a_gap_touches_no_other_and_is_done_once(
    hooks: list[Hook], owner: Owner, changesets: bool, events: Events
) -> None:
    wanted = Wanted(owner=owner, include_changesets=changesets, events=events)
    server = Server(hooks)
    before = server.receives(owner, events)
    had_one = any(one.enabled and owner.secret_in(one) in owner.secrets for one in hooks)
    for action in plan(hooks, wanted).actions:
        server.apply(action)
        assert server.receives(owner, events) >= before
        assert not had_one or any(
            one.enabled and owner.secret_in(one) in owner.secrets for one in server.hooks.values()
        )
    (right,) = owner.ours(server.hooks.values())
    assert owner.secret_in(right) == NEW
    assert wanted.drift_of(right) == ()
    foreign: Mapping[int, Hook] = {one.id: one for one in hooks if owner.secret_in(one) is None}
    assert {id_: one for id_, one in server.hooks.items() if id_ != right.id} == foreign
    assert plan(server.hooks.values(), wanted).actions == ()
    assert dict(judged(server.hooks.values(), owner))[right] is Verdict.OK
