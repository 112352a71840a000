"""The harness can fail: what is missing, extra, wrong, unequal or out of order is told, and counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from schemas.change import EntityChange
from schemas.deadletter import DeadLetter
from schemas.encoding import decode, encode
from schemas.record import LogRecord
from schemas.rules import RulesInForce
from schemas.topics import CHANGES, CONTROL_HEADER, CONTROL_RULES, CONTROL_TICK, DEADLETTERS, RULES, WEBHOOKS
from tests.chaos.bounds import bindings
from tests.chaos.reading import Judgement, Picture, judge
from tests.chaos.run import TIMES
from tests.chaos.verdict import content_of
from tests.oracle import expect

QUICK = {"default": {"quiet_ms": 500, "ceiling_ms": 1_000}, "types": {}}


def webhook(offset: int, at_ms: int, value: bytes) -> LogRecord:
    return LogRecord(topic=WEBHOOKS.name, offset=offset, timestamp=at_ms, key=b"acme", value=value)


def about(entity_id: int, offset: int, at_ms: int) -> LogRecord:
    element = {"entity": {"type": "job", "id": entity_id}, "action": "updated", "timestamp": 5}
    return webhook(offset, at_ms, encode({"data": [element], "messageId": f"m-{offset}"}))


def control(offset: int, at_ms: int, kind: bytes, value: bytes = b"") -> LogRecord:
    return replace(webhook(offset, at_ms, value), headers=((CONTROL_HEADER, kind),))


LOG = (
    control(0, 1_000, CONTROL_RULES, encode(QUICK)),
    about(1, 1, 1_000),
    about(2, 2, 1_100),
    webhook(3, 1_200, b"not json"),
    about(1, 4, 3_000),
    control(5, 9_000, CONTROL_TICK),
)
"""Two windows of job 1, one of job 2, one dead letter, one change of rules."""


def stored(change: EntityChange, offset: int) -> LogRecord:
    key, value, headers = content_of(change)
    return LogRecord(topic=CHANGES.name, offset=offset, timestamp=0, key=key, value=value, headers=headers)


def good() -> Picture:
    """What a faultless pipeline makes of LOG."""
    result = expect(LOG, topic=WEBHOOKS.name, partition=0, epoch=1, times=TIMES)
    reason = DeadLetter(
        topic=WEBHOOKS.name,
        partition=0,
        offset=3,
        stage="processors",
        error="not-json",
        message="it is not",
        attempts=1,
        first_failure_ms=1_200,
        last_failure_ms=1_200,
    )
    letter = replace(LOG[3], topic=DEADLETTERS.name, offset=0, headers=tuple(reason.headers()))
    ((offset, account, version),) = result.adopted
    copy = RulesInForce(
        account=account, version=version, topic=WEBHOOKS.name, partition=0, offset=offset, rules=decode(encode(QUICK))
    )
    return Picture(
        webhooks={0: LOG},
        changes=[stored(change, offset) for offset, change in enumerate(result.changes)],
        dead_letters=[letter],
        rules=[LogRecord(topic=RULES.name, offset=0, timestamp=0, key=b"acme", value=encode(copy))],
    )


def judged(picture: Picture) -> Judgement:
    return judge(picture, times=TIMES, epoch=1)


def with_changes(changes: Sequence[LogRecord]) -> Judgement:
    return judged(replace(good(), changes=[replace(change, offset=at) for at, change in enumerate(changes)]))


def one_byte_off(value: bytes | None) -> bytes:
    damaged = bytearray(value or b"")
    damaged[len(damaged) // 2] ^= 1
    return bytes(damaged)


def test_what_is_as_it_must_be_is_good() -> None:
    judgement = judged(good())
    assert judgement.good
    assert judgement.settled
    assert judgement.changes.figures() == "expected 3, got 3, missing 0, extra 0, wrong 0, repeats 0"
    assert judgement.dead_letters.figures() == "expected 1, got 1, missing 0, extra 0, wrong 0, repeats 0"
    assert judgement.rules.figures() == "expected 1, got 1, missing 0, extra 0, wrong 0, repeats 0"


def test_an_equal_repeat_is_counted_and_no_fault() -> None:
    changes = good().changes
    judgement = with_changes([*changes, changes[0]])
    assert judgement.good
    assert judgement.changes.repeats == 1


def test_a_missing_change_is_told() -> None:
    judgement = with_changes(good().changes[1:])
    assert (judgement.good, judgement.settled) == (False, False)
    assert judgement.changes.figures() == "expected 3, got 2, missing 1, extra 0, wrong 0, repeats 0"
    assert judgement.changes.examples[0].startswith("missing: ")


def test_an_extra_change_is_told() -> None:
    changes = good().changes
    stranger = replace(changes[0], headers=tuple((k, b"0" * 32 if k == "ce_id" else v) for k, v in changes[0].headers))
    judgement = with_changes([*changes, stranger])
    assert judgement.changes.figures() == "expected 3, got 4, missing 0, extra 1, wrong 1, repeats 0"
    assert judgement.changes.examples[0].startswith("extra: servicetrade.changes[0]@3")


def test_a_change_without_an_id_is_extra() -> None:
    changes = good().changes
    assert with_changes([*changes, replace(changes[0], headers=())]).changes.extra == 1


@pytest.mark.parametrize("at", range(3))
def test_one_wrong_byte_is_told(at: int) -> None:
    changes = list(good().changes)
    changes[at] = replace(changes[at], value=one_byte_off(changes[at].value))
    judgement = with_changes(changes)
    assert judgement.changes.figures() == "expected 3, got 3, missing 0, extra 0, wrong 1, repeats 0"
    assert judgement.changes.examples[0].startswith(f"wrong: servicetrade.changes[0]@{at}")


@pytest.mark.parametrize("name", ["ce_time", "ce_type", "ce_sequence", "content-type"])
def test_a_wrong_header_is_told(name: str) -> None:
    changes = list(good().changes)
    headers = tuple((key, one_byte_off(value) if key == name else value) for key, value in changes[0].headers)
    changes[0] = replace(changes[0], headers=headers)
    assert with_changes(changes).changes.wrong >= 1


def test_a_wrong_key_is_told() -> None:
    changes = list(good().changes)
    changes[1] = replace(changes[1], key=b"acme/job/3")
    assert with_changes(changes).changes.wrong == 1


def test_an_unequal_repeat_is_told() -> None:
    changes = good().changes
    judgement = with_changes([*changes, replace(changes[0], value=one_byte_off(changes[0].value))])
    assert judgement.changes.figures() == "expected 3, got 3, missing 0, extra 0, wrong 1, repeats 1"


def test_changes_of_one_entity_out_of_order_are_told() -> None:
    changes = list(good().changes)
    first, last = (at for at, change in enumerate(changes) if change.key == b"acme/job/1")
    changes[first], changes[last] = changes[last], changes[first]
    judgement = with_changes(changes)
    assert judgement.changes.figures() == "expected 3, got 3, missing 0, extra 0, wrong 1, repeats 0"
    assert "after" in judgement.changes.examples[0]


def test_a_late_repeat_is_no_disorder() -> None:
    changes = good().changes
    assert with_changes([*changes, *changes]).good


def test_an_entity_in_two_partitions_is_told() -> None:
    changes = list(good().changes)
    last = max(at for at, change in enumerate(changes) if change.key == b"acme/job/1")
    changes[last] = replace(changes[last], partition=1)
    assert with_changes(changes).changes.wrong == 1


def test_faults_of_dead_letters_are_told() -> None:
    (letter,) = good().dead_letters
    elsewhere = tuple((key, b"4" if key == "x-dlq-offset" else value) for key, value in letter.headers)
    reworded = tuple((key, b"!" if key == "x-dlq-message" else value) for key, value in letter.headers)

    def figures(*letters: LogRecord) -> str:
        return judged(replace(good(), dead_letters=letters)).dead_letters.figures()

    assert figures(letter, letter) == "expected 1, got 1, missing 0, extra 0, wrong 0, repeats 1"
    assert figures() == "expected 1, got 0, missing 1, extra 0, wrong 0, repeats 0"
    assert figures(replace(letter, headers=elsewhere)) == "expected 1, got 1, missing 1, extra 1, wrong 0, repeats 0"
    assert figures(replace(letter, value=b"!")) == "expected 1, got 1, missing 0, extra 0, wrong 1, repeats 0"
    unequal = figures(letter, replace(letter, headers=reworded))
    assert unequal == "expected 1, got 1, missing 0, extra 0, wrong 1, repeats 1"


def test_faults_of_the_copies_of_rules_are_told() -> None:
    (copy,) = good().rules
    assert judged(replace(good(), rules=())).rules.missing == 1
    assert judged(replace(good(), rules=[replace(copy, key=b"bolt")])).rules.wrong == 1
    assert judged(replace(good(), rules=[copy, copy])).rules.repeats == 1


def test_a_window_that_never_closes_is_not_settled() -> None:
    picture = replace(good(), webhooks={0: LOG[:-1]})
    assert not judged(picture).settled


def test_a_rule_that_never_bound_is_a_zero() -> None:
    found = bindings(judged(good()).results)
    assert found["quiet"] == 3
    assert found["quarantined"] == 1
    assert found["rules changes"] == 1
    assert {name for name, times in found.items() if not times} == {
        "ceiling",
        "cut",
        "rules",
        "duplicates",
        "repeats past the horizon",
        "filtered",
        "hot keys",
    }
