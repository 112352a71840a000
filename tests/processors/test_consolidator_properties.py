"""Holds the core to docs/guarantees.md over random logs: against the oracle, over batches, crashes and neighbours."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from processors.consolidator import Outcome
from processors.rules import AccountRules, read_rules
from schemas.change import EntityChange
from schemas.encoding import encode
from schemas.record import LogRecord
from tests.oracle import expect, json_object
from tests.processors.running import balance, core_for, core_with, element, rules_of, tick, webhook, written
from tests.processors.strategies import TICK, Log, logs


@settings(max_examples=100)
@given(log=logs())
def test_the_core_makes_of_any_log_what_the_oracle_makes_of_it(log: Log) -> None:
    expected = expect(
        log.records,
        topic=log.topic,
        partition=log.partition,
        epoch=log.epoch,
        times=log.times,
        rules_before=log.rules_before,
    )
    core = core_for(log)
    outcome = core.feed(log.records)
    assert [encode(change) for change in outcome.changes] == [encode(change) for change in expected.changes]
    assert [(record.offset, letter.elements) for record, letter in outcome.dead_letters] == expected.dead
    again = {record.offset: letter.redrives for record, letter in outcome.dead_letters if letter.redrives}
    assert again == expected.again
    assert [(rules.offset, rules.account, rules.version) for rules in outcome.rules] == expected.adopted
    assert {**log.rules_before, **{rules.account: rules.rules for rules in outcome.rules}} == expected.rules
    assert balance(core) == (
        expected.notifications,
        expected.merged,
        expected.duplicates,
        expected.filtered,
        expected.quarantined,
        expected.open,
    )


@settings(max_examples=60)
@given(log=logs(), sizes=st.lists(st.integers(1, 9), min_size=1, max_size=8))
def test_how_the_log_is_cut_into_batches_changes_nothing(log: Log, sizes: list[int]) -> None:
    cut: list[Outcome] = []
    start = 0
    core = core_for(log)
    while start < len(log.records):
        size = sizes[len(cut) % len(sizes)]
        cut.append(core.feed(log.records[start : start + size]))
        start += size
    assert written(cut) == written([core_for(log).feed(log.records)])


def stretch_start(log: Log, position: int) -> int:
    """Index of the first record that a restore for this position reads: what offsets-for-times finds."""
    bound = log.records[position - 1].timestamp - log.times.restore_ms
    return next(index for index, record in enumerate(log.records) if record.timestamp >= bound)


@settings(max_examples=40)
@given(log=logs(least=20, most=44))
def test_a_crash_anywhere_loses_and_changes_nothing(log: Log) -> None:
    core = core_for(log)
    outcomes = [core.feed([record]) for record in log.records]
    for position in range(1, len(log.records)):
        start = stretch_start(log, position)
        rules: dict[str, AccountRules] = rules_of(log)
        for outcome in outcomes[: start + 1]:
            for item in outcome.rules:
                rules[item.account] = read_rules(item.rules, max_ceiling_ms=log.times.max_ceiling_ms)
        restored = core_for(log, rules)
        restored.follow(log.records[start:position])
        assert written([restored.feed(log.records[position:])]) == written(outcomes[position:]), position


@settings(max_examples=60)
@given(log=logs())
def test_at_every_position_the_ledger_balances_and_no_window_is_past_its_due_time(log: Log) -> None:
    core = core_for(log)
    for record in log.records:
        core.feed([record])
        assert core.ledger.imbalance(core.open_notifications) == 0
        due_ms, now_ms = core.next_due_ms(), core.now_ms
        assert now_ms is not None
        assert (due_ms is None) == (core.open_windows == 0)
        if due_ms is not None:
            assert now_ms <= due_ms <= now_ms + log.times.max_ceiling_ms


@settings(max_examples=60)
@given(log=logs())
def test_no_window_is_held_beyond_the_largest_ceiling_and_nothing_is_emitted_twice(log: Log) -> None:
    changes = core_for(log).feed(log.records).changes
    assert all(0 <= change.due_ms - change.opened_ms <= log.times.max_ceiling_ms for change in changes)
    assert len({change.id for change in changes}) == len(changes)
    merged = [(source.offset, source.index) for change in changes for source in change.sources]
    assert len(set(merged)) == len(merged)


@settings(max_examples=60)
@given(log=logs())
def test_the_sequence_of_an_entity_grows_whatever_the_clock_does(log: Log) -> None:
    last: dict[str, str] = {}
    for change in core_for(log).feed(log.records).changes:
        assert change.sequence > last.get(change.key, "")
        last[change.key] = change.sequence


@settings(max_examples=60)
@given(log=logs())
def test_an_account_gets_the_same_changes_whatever_arrives_for_others(log: Log) -> None:
    alone = [record if record.key == b"acme" else replace(record, value=b"", headers=TICK) for record in log.records]
    mine = [encode(change) for change in core_for(log).feed(log.records).changes if change.account == "acme"]
    assert mine == [encode(change) for change in core_for(log).feed(alone).changes if change.account == "acme"]


def only_of(record: LogRecord, entity_type: str) -> LogRecord:
    """The record with the elements of other types made unreadable, so that they count for nothing."""
    body = json_object(record.value)
    if record.headers or body is None or not body.get("messageId") or not isinstance(body.get("data"), list):
        return record
    data = [item if kind_of(item) == entity_type else None for item in body["data"]]
    return replace(record, value=json.dumps({**body, "data": data}).encode())


def kind_of(item: Any) -> str:
    entity = item.get("entity") if isinstance(item, dict) else None
    return str(entity.get("type")).lower() if isinstance(entity, dict) else ""


@settings(max_examples=60)
@given(log=logs())
def test_an_entity_gets_the_same_changes_whatever_arrives_for_others(log: Log) -> None:
    # A message id that is not a string is replaced by a hash of the body, which the rewriting would change; and one
    # that several messages share makes a job's notification a duplicate of one that the rewriting took away.
    shared = (b'"messageId": 5', b'"messageId": "m1"')
    kept = [record for record in log.records if not any(text in (record.value or b"") for text in shared)]
    jobs = [encode(change) for change in core_for(log).feed(kept).changes if change.entity_type == "job"]
    alone = core_for(log).feed([only_of(record, "job") for record in kept]).changes
    assert jobs == [encode(change) for change in alone if change.entity_type == "job"]


places = st.tuples(st.integers(0, 20), st.sampled_from(["created", "updated", "deleted"]))
changesets = st.lists(
    st.fixed_dictionaries(
        {"field": st.sampled_from("abc"), "oldValue": st.integers(0, 2), "newValue": st.integers(0, 2)}
    ),
    max_size=3,
)


@settings(max_examples=100)
@given(data=st.data(), unordered=st.lists(st.tuples(places, changesets), unique_by=lambda item: item[0], max_size=12))
def test_what_a_window_says_does_not_depend_on_the_order_in_which_it_arrived(
    data: st.DataObject, unordered: list[tuple[tuple[int, str], list[Any]]]
) -> None:
    # Place (own timestamp and action) is unique, so that position in the log decides nothing.
    def folded(arrivals: list[tuple[tuple[int, str], list[Any]]]) -> list[EntityChange]:
        records = [
            webhook(offset, 1_000, element(action=action, timestamp=at, changeset=changeset, userId=at))
            for offset, ((at, action), changeset) in enumerate(arrivals)
        ]
        changes = core_with().feed([*records, tick(99, 60_000)]).changes
        # The opening notification names the change, and sources and users are in log order.
        return [
            replace(
                change,
                id="",
                sequence="",
                sources=(),
                users=tuple(sorted(user for user in change.users if user is not None)),
            )
            for change in changes
        ]

    assert folded(data.draw(st.permutations(unordered))) == folded(unordered)
