"""What the story tells of an entity equals what the core makes of the whole log."""

from __future__ import annotations

import json
import tracemalloc
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from processors.consolidator import Consolidator
from processors.notification import Notification
from processors.rules import AccountRules, EntityRule, read_rules
from processors.why_filtered import why_filtered
from processors.window import Origin
from schemas.change import EntityChange
from schemas.pipeline import PipelineTimes
from schemas.record import LogRecord
from tests.processors.strategies import ACCOUNTS, RULES, Log, logs
from views.story_entity import Entity
from views.story_event import Event
from views.story_lines import verdicts_of
from views.story_log import TOGETHER, LogStory
from views.story_sightings import Sightings

ENTITIES = tuple(
    Entity(account=account, type=kind, id=number)
    for account in ACCOUNTS
    for kind, number in (("job", "2"), ("job", "10"), ("jobitem", "2"), ("hoverboard", str(2**63 - 1)))
)


def rules_of(log: Log) -> dict[str, AccountRules]:
    most = log.times.max_ceiling_ms
    return {account: read_rules(rules, max_ceiling_ms=most) for account, rules in log.rules_before.items()}


def origin_of(log: Log) -> Origin:
    return Origin(log.topic, log.partition, log.epoch)


def told(log: Log, entity: Entity, *, at_once: int, together: int = TOGETHER) -> tuple[LogStory, list[Event]]:
    story, events = LogStory(entity, origin_of(log), log.times, rules_of(log), together=together), []
    for start in range(0, len(log.records), at_once):
        events += story.feed(log.records[start : start + at_once])
    return story, events


def changes_of(log: Log, entity: Entity) -> list[EntityChange]:
    core = Consolidator(origin_of(log), log.times, rules_of(log))
    return [change for change in core.feed(log.records).changes if change.key == entity.key]


def merged_places(changes: Sequence[EntityChange]) -> list[tuple[int, int]]:
    return [(source.offset, source.index) for change in changes for source in change.sources]


few = st.sampled_from((0, 1, TOGETHER))
"""So many notifications of a webhook are told one by one."""


@given(log=logs(), entity=st.sampled_from(ENTITIES), at_once=st.sampled_from((1, 7, 1000)), together=few)
def test_the_windows_of_the_story_are_the_changes_that_the_core_makes_of_the_whole_log(
    log: Log, entity: Entity, at_once: int, together: int
) -> None:
    story, events = told(log, entity, at_once=at_once, together=together)
    changes = changes_of(log, entity)
    windows = [event.facts for event in events if event.kind == "window"]
    assert [one["change_id"] for one in windows] == [change.id for change in changes]
    assert [one["notifications"] for one in windows] == [change.notifications for change in changes]
    assert [one["closed_by"] for one in windows] == [change.closed_by for change in changes]
    assert story.changes == {change.id for change in changes}


@given(log=logs(), entity=st.sampled_from(ENTITIES))
def test_what_opens_and_joins_windows_is_what_the_changes_were_merged_from(log: Log, entity: Entity) -> None:
    story, events = told(log, entity, at_once=1000)
    kept = [event.facts for event in events if event.facts.get("verdict") in ("opened", "joined")]
    places = [(one["offset"], one["index"]) for one in kept]
    merged = merged_places(changes_of(log, entity))
    assert places[: len(merged)] == merged
    assert (len(places) > len(merged)) == story.window_open
    opened = sum(one["verdict"] == "opened" for one in kept)
    assert opened == len(story.changes) + story.window_open


@given(log=logs(), entity=st.sampled_from(ENTITIES), together=few)
def test_told_together_as_many_become_the_same_as_told_one_by_one(log: Log, entity: Entity, together: int) -> None:
    alone, apart = told(log, entity, at_once=1000, together=1000)
    story, events = told(log, entity, at_once=1000, together=together)
    by_record: list[Counter[tuple[int, str]]] = [Counter(), Counter()]
    for counted, those in zip(by_record, (apart, events), strict=True):
        for event in those:
            if event.kind == "webhook":
                for verdict, count in verdicts_of([event]).items():
                    counted[event.facts["offset"], verdict] += count
    assert by_record[0] == by_record[1]
    assert (story.window_open, story.changes) == (alone.window_open, alone.changes)


@given(log=logs(most=20), together=few)
def test_the_verdicts_of_all_entities_together_are_the_cores_ledger(log: Log, together: int) -> None:
    # Alone in the log, so that no element is about anything but these entities.
    core = Consolidator(origin_of(log), log.times, rules_of(log))
    core.feed(log.records)
    types, numbers = ("job", "jobitem", "hoverboard"), ("2", "10", str(2**63 - 1))
    verdicts: Counter[str] = Counter()
    for account in ACCOUNTS:
        for kind in types:
            for number in numbers:
                entity = Entity(account=account, type=kind, id=number)
                verdicts.update(verdicts_of(told(log, entity, at_once=1000, together=together)[1]))
    assert verdicts["repeat"] == core.ledger.duplicates
    assert verdicts["filtered"] == core.ledger.filtered
    assert verdicts["opened"] + verdicts["joined"] == core.ledger.merged + core.open_notifications


NAMES = ("status", "due", "note")
subsets = st.none() | st.frozensets(st.sampled_from(NAMES))
rules = st.builds(
    EntityRule,
    keep=st.booleans(),
    actions=st.none() | st.frozensets(st.sampled_from(("created", "updated", "deleted"))),
    fields=subsets,
    ignore_users=st.frozensets(st.integers(1, 3)),
)
notifications = st.builds(
    Notification,
    index=st.just(0),
    entity_type=st.sampled_from(("job", "quote")),
    entity_id=st.just(7),
    action=st.sampled_from(("created", "updated", "deleted")),
    at=st.just(5),
    user_id=st.none() | st.integers(1, 4),
    changeset=st.lists(st.tuples(st.sampled_from(NAMES), st.none(), st.none()), max_size=2),
    changeset_complete=st.booleans(),
)


@given(default=rules, types=st.dictionaries(st.just("job"), rules), notification=notifications)
def test_a_notification_is_said_to_be_filtered_exactly_if_its_rule_does_not_keep_it(
    default: EntityRule, types: Mapping[str, EntityRule], notification: Notification
) -> None:
    account = AccountRules(version="1", default=default, types=types)
    why = why_filtered(account, notification)
    assert (why is None) == account.of(notification.entity_type).keeps(notification)
    if why is not None:
        assert why.startswith("types.job." if notification.entity_type in types else "default.")


@given(
    bodies=st.lists(
        st.tuples(
            st.sampled_from((0, 1, 9_000, 700_000)),
            st.sampled_from(("a", "b")),
            st.lists(st.sampled_from((7, 8)), min_size=1, max_size=3),
        ),
        max_size=12,
    )
)
def test_a_message_id_that_other_entities_used_before_makes_a_repeat_as_it_does_in_the_core(
    bodies: Sequence[tuple[int, str, Sequence[int]]],
) -> None:
    at_ms, records = 1_000_000, []
    for offset, (step_ms, message_id, numbers) in enumerate(bodies):
        at_ms += step_ms
        value = body(message_id, *(element(number) for number in numbers))
        records.append(LogRecord(offset=offset, timestamp=at_ms, key=b"acme", value=value))
    core = Consolidator(Origin("w", 3, 1), logs_times())
    core.feed(records)
    events = [
        event
        for number in ("7", "8")
        for event in LogStory(replace(JOB, id=number), Origin("w", 3, 1), logs_times(), {}).feed(records)
    ]
    assert sum(event.facts.get("verdict") == "repeat" for event in events) == core.ledger.duplicates


# -- examples ------------------------------------------------------------------------------------------------------

QUIET = {"default": {"quiet_ms": 300, "ceiling_ms": 900}, "types": {}}
JOB = Entity(account="acme", type="job", id="7")


def element(number: Any = 7, *, kind: str = "job", action: str = "updated", **more: Any) -> dict[str, Any]:
    return {"entity": {"type": kind, "id": number}, "action": action, "timestamp": 1_000, **more}


def body(message_id: str, *elements: Any) -> bytes:
    return json.dumps({"messageId": message_id, "data": list(elements)}).encode()


def log_of(*entries: tuple[int, bytes, bytes, tuple[tuple[str, bytes], ...]]) -> Iterator[LogRecord]:
    for offset, (at_ms, key, value, headers) in enumerate(entries):
        yield LogRecord(
            topic="w", partition=3, offset=offset, timestamp=1_000_000 + at_ms, key=key, value=value, headers=headers
        )


def events_of(*entries: tuple[int, bytes, bytes, tuple[tuple[str, bytes], ...]]) -> list[Event]:
    log = logs_times()
    return sorted(LogStory(JOB, Origin("w", 3, 1), log, {}).feed(log_of(*entries)), key=Event.order)


def logs_times() -> PipelineTimes:
    return PipelineTimes(horizon_s=600, memory_s=900, max_ceiling_s=300)


def test_ids_are_the_same_with_and_without_zeros_and_types_in_any_case() -> None:
    events = events_of(
        (0, b"acme", body("m1", element("007")), ()),
        (5, b"acme", body("m2", element(7, kind="JOB")), ()),
        (9, b"acme", body("m3", element(70), element(7, kind="jobitem")), ()),
    )
    assert [event.facts["verdict"] for event in events] == ["opened", "joined"]


def test_an_escaped_id_is_found() -> None:
    value = body("m1", element("X")).replace(b'"X"', b'"\\u0037"')
    assert [event.facts["verdict"] for event in events_of((0, b"acme", value, ()))] == ["opened"]


def test_a_repeat_says_what_it_repeats_and_who_sent_it_twice() -> None:
    first, other = ("tradewind-receipt", b"r1"), ("tradewind-receipt", b"r2")
    value = body("m1", element())
    events = events_of(
        (0, b"acme", value, (first,)), (1_200, b"acme", value, (other,)), (1_300, b"acme", value, (first,))
    )
    assert [event.facts["verdict"] for event in events] == ["opened", "repeat", "repeat"]
    assert "a repeat of what came 1.2 s before, sent again" in events[1].text
    # The one before it is the nearest that has the same message.
    assert "a repeat of what came 100 ms before" in events[2].text


def test_an_element_that_cannot_be_read_is_told_of_the_entity_that_it_names() -> None:
    events = events_of((0, b"acme", body("m1", element(action="renamed"), element(8, action="renamed")), ()))
    (event,) = events
    assert (event.facts["verdict"], event.facts["why"], event.facts["index"]) == ("quarantined", "bad-action", 0)


def test_a_body_that_cannot_be_read_is_told_if_it_mentions_the_entity() -> None:
    cut = body("m1", element())[:-9]
    other = body("m1", element(70))[:-9]
    events = events_of((0, b"acme", cut, ()), (1, b"acme", other, ()))
    assert [event.facts["offset"] for event in events] == [0]
    assert events[0].facts["why"] == "not-json"


def test_late_and_out_of_order_notifications_are_told_so() -> None:
    late = {**element(), "timestamp": 990}
    events = events_of((0, b"acme", body("m1", element()), ()), (400, b"acme", body("m2", late), ()))
    assert "late" not in events[0].text
    assert "out of order: happened 10 s before one that came earlier" in events[1].text
    assert "late: happened 10.4 s before" in events[1].text


def test_rules_are_told_with_what_they_say_of_the_type_and_close_windows() -> None:
    rules = {"default": {}, "types": {"job": {"ignore_users": [5], "quiet_ms": 1_500, "ceiling_ms": 1_500}}}
    events = events_of(
        (0, b"acme", body("m1", element()), ()),
        (500, b"acme", json.dumps(rules).encode(), RULES),
        (600, b"acme", body("m2", element(userId=5)), ()),
        (700, b"acme", b"{}", RULES),
    )
    assert [event.kind for event in events] == ["webhook", "rules", "window", "webhook", "rules"]
    assert "types.job: quiet 1.5 s, ceiling 1.5 s; nothing by user 5" in events[1].text
    assert "by new rules" in events[2].text
    assert events[3].text.endswith("filtered, because types.job.ignore_users holds 5")
    assert "refused" in events[4].text


def test_another_accounts_records_only_move_the_time() -> None:
    events = events_of(
        (0, b"acme", body("m1", element()), ()),
        (90_000, b"bolt", body("m1", element()), ()),
        (90_001, b"bolt", json.dumps(QUIET).encode(), RULES),
    )
    assert [event.kind for event in events] == ["webhook", "window"]
    assert events[1].at_ms == 1_002_000


def test_a_record_that_was_redriven_to_a_sink_is_nothing_to_the_story() -> None:
    to_mirror, to_us = (("x-redrive-to", b"mirror"),), (("x-redrive-to", b"processors"), ("x-redrives", b"2"))
    events = events_of((0, b"acme", body("m1", element()), to_mirror), (9, b"acme", body("m1", element()), to_us))
    assert [event.facts["offset"] for event in events] == [1]
    assert "redriven (2)" in events[0].text


def test_an_entity_of_the_same_id_and_another_type_is_noticed() -> None:
    story = LogStory(JOB, Origin("w", 3, 1), logs_times(), {})
    record = next(log_of((0, b"acme", body("m1", element(kind="quote")), ())))
    assert story.feed([record, replace(record, offset=1, key=b"bolt")]) == []
    assert story.namesakes == {"acme/quote/7": 1}


# -- what it costs -------------------------------------------------------------------------------------------------


def test_thousands_of_notifications_in_one_webhook_are_one_event_that_counts_them() -> None:
    entries = [element(userId=at % 2, action="renamed" if at % 50 == 0 else "updated") for at in range(4_000)]
    rules = {"default": {"ignore_users": [0], "quiet_ms": 1_500, "ceiling_ms": 1_500}, "types": {}}
    value = body("m1", *entries)
    events = events_of(
        (0, b"acme", json.dumps(rules).encode(), RULES), (1, b"acme", value, ()), (2, b"acme", value, ())
    )
    _, first, bad, again, bad_again = events
    assert first.facts["verdicts"] == {"opened": 1, "joined": 1_999, "filtered": 1_920}
    assert first.text == "3,920 notifications in one webhook: 1 opens a window, 1,999 joined the window, 1,920 filtered"
    assert again.facts["verdicts"] == {"repeat": 3_920}
    assert bad.facts["verdicts"] == bad_again.facts["verdicts"] == {"quarantined": 80}
    assert bad.text.startswith("80 elements about it could not be read, the first: action is 'renamed'")
    assert verdicts_of(events).total() == 8_000


def test_one_of_many_that_comes_again_alone_is_said_to_repeat_them() -> None:
    many = [element() for _ in range(TOGETHER + 1)]
    events = events_of((0, b"acme", body("m1", *many), ()), (700, b"acme", body("m1", element()), ()))
    assert events[1].facts["verdict"] == "repeat"
    assert "a repeat of what came 700 ms before, sent again" in events[1].text


def test_a_story_keeps_no_bodies() -> None:
    story = LogStory(JOB, Origin("w", 3, 1), logs_times(), {})
    padding = "p" * 500_000
    tracemalloc.start()
    try:
        for offset in range(20):
            value = json.dumps({"messageId": f"m{offset}", "data": [element()], "padding": padding}).encode()
            story.feed([LogRecord(offset=offset, timestamp=1_000_000 + offset, key=b"acme", value=value)])
            del value
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 2 * len(padding)


def test_sightings_older_than_the_horizon_are_forgotten_and_all_of_them_when_the_clock_steps_back() -> None:
    seen, record = Sightings(100), LogRecord(offset=1, timestamp=5)
    for at_ms in range(0, 1_000, 50):
        seen.put(f"m{at_ms}", 0, record, at_ms)
    assert [at_ms for at_ms in range(0, 1_000, 50) if seen.of(f"m{at_ms}", 0)] == [850, 900, 950]
    seen.put("m850", None, record, 960)
    assert seen.of("m850", 7)
    assert len(seen) == 3
    seen.put("m", 0, record, 10)
    assert len(seen) == 1
