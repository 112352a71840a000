"""The verdict can fail: each kind of fault, planted into a good log, is told and counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random

import pytest

from schemas.encoding import decode
from schemas.record import LogRecord
from schemas.topics import RECEIPT_HEADER
from tests.ingest_chaos.bodies import Bodies
from tests.ingest_chaos.changes import InChanges, judge_changes
from tests.ingest_chaos.verdict import Attempt, Sent, Verdict, judge

Log = dict[int, list[LogRecord]]
FAULTS = (
    "missing",
    "unexplained_repeats",
    "out_of_order",
    "strangers",
    "without_receipt",
    "shared_receipts",
    "wrong_answers",
)


def attempt(began: float, status: int | None = 204, *, reached: bool = True) -> Attempt:
    return Attempt(began=began, ended=began + 0.5, status=status, reached=reached)


def message(number: int, *attempts: Attempt, account: str = "acme") -> Sent:
    body = f'{{"data":[{{"entity":{{"type":"job","id":{number}}},"action":"updated"}}],"messageId":"m{number}"}}'
    return Sent(
        account=account,
        message_id=f"m{number}",
        body=body.encode(),
        readable=True,
        attempts=attempts or (attempt(number),),
    )


SENT = [message(number) for number in range(5)]


def stored(one: Sent, offset: int, receipt: str = "", partition: int = 0) -> LogRecord:
    return LogRecord(
        partition=partition,
        offset=offset,
        timestamp=1_000 + offset,
        key=one.account.encode(),
        value=one.body,
        headers=((RECEIPT_HEADER, (receipt or f"r-{one.message_id}").encode()),),
    )


def log_of(*records: LogRecord) -> Log:
    """The records in this order, whatever their offsets were."""
    return {0: [replace(record, offset=offset) for offset, record in enumerate(records)]}


def good_log(sent: Sequence[Sent] = SENT) -> list[LogRecord]:
    return [stored(one, offset) for offset, one in enumerate(sent)]


def faults(verdict: Verdict) -> dict[str, int]:
    return {name: getattr(verdict, name) for name in FAULTS if getattr(verdict, name)}


def test_a_log_that_holds_what_was_sent_once_and_in_order_is_good() -> None:
    verdict = judge(SENT, log_of(*good_log()))
    assert verdict.good
    assert (verdict.sent, verdict.accepted, verdict.refused, verdict.records) == (5, 5, 0, 5)
    assert not verdict.examples


def test_an_accepted_message_that_is_not_there_is_missing() -> None:
    records = good_log()
    verdict = judge(SENT, log_of(*records[:2], *records[3:]))
    assert faults(verdict) == {"missing": 1}
    assert not verdict.good
    assert verdict.examples == ["missing: acme m2, answered [204]"]


def test_nothing_at_all_in_the_log_is_all_missing() -> None:
    assert faults(judge(SENT, {0: [], 1: []})) == {"missing": 5}


@pytest.mark.parametrize("at", [0, 20, -1])
def test_one_wrong_byte_is_a_missing_message_and_a_stranger(at: int) -> None:
    records = good_log()
    damaged = bytearray(records[1].value or b"")
    damaged[at] ^= 1
    verdict = judge(SENT, log_of(records[0], replace(records[1], value=bytes(damaged)), *records[2:]))
    assert faults(verdict) == {"missing": 1, "strangers": 1}


def test_a_cut_off_body_is_a_missing_message_and_a_stranger() -> None:
    records = good_log()
    verdict = judge(SENT, log_of(replace(records[0], value=(records[0].value or b"")[:-1]), *records[1:]))
    assert faults(verdict) == {"missing": 1, "strangers": 1}


def test_the_right_bytes_under_another_accounts_key_are_missing() -> None:
    records = good_log()
    verdict = judge(SENT, log_of(replace(records[0], key=b"bolt"), *records[1:]))
    assert faults(verdict) == {"missing": 1, "strangers": 1}


def test_a_record_that_nobody_sent_is_a_stranger_but_for_accounts_that_are_passed_over() -> None:
    log = log_of(*good_log(), stored(message(99, account="fuzz"), 0))
    assert faults(judge(SENT, log)) == {"strangers": 1}
    assert judge(SENT, log, passed_over=["fuzz"]).good


def test_a_repeat_under_another_receipt_that_one_request_cannot_explain_is_told() -> None:
    verdict = judge(SENT, log_of(*good_log(), stored(SENT[3], 9, "another")))
    assert faults(verdict) == {"unexplained_repeats": 1}
    assert verdict.examples[0].startswith("unexplained repeat: m3, 1 requests")


def test_repeats_under_one_receipt_are_allowed_and_counted() -> None:
    records = good_log()
    verdict = judge(SENT, log_of(*records, records[3], records[3], records[1]))
    assert verdict.good
    assert verdict.same_receipt_twice == 2


def test_a_repeat_that_the_sender_asked_for_is_allowed_also_where_the_first_request_had_no_answer() -> None:
    resent = message(0, attempt(0, None), attempt(0.7))
    sent = [resent, *SENT[1:]]
    verdict = judge(sent, log_of(*good_log(sent), stored(resent, 9, "second")))
    assert verdict.good
    assert verdict.resent_twice == 1


def test_a_request_that_reached_nobody_explains_no_repeat() -> None:
    resent = message(0, attempt(0, None, reached=False), attempt(0.7))
    sent = [resent, *SENT[1:]]
    assert faults(judge(sent, log_of(*good_log(sent), stored(resent, 9, "second")))) == {"unexplained_repeats": 1}


def test_more_receipts_than_requests_are_told_one_by_one() -> None:
    resent = message(0, attempt(0, 503), attempt(0.7))
    copies = [stored(resent, 0, f"r{n}") for n in range(4)]
    assert faults(judge([resent], log_of(*copies))) == {"unexplained_repeats": 2}


def test_a_refused_message_may_stand_in_the_log_or_not() -> None:
    refused = [message(number, *[attempt(number + n / 10, 503) for n in range(3)]) for number in (5, 6)]
    verdict = judge([*SENT, *refused], log_of(*good_log(), stored(refused[0], 9)))
    assert verdict.good
    assert (verdict.accepted, verdict.refused, verdict.refused_but_stored) == (5, 2, 1)


def test_two_messages_that_changed_places_are_out_of_order() -> None:
    records = good_log()
    verdict = judge(SENT, log_of(records[0], records[2], records[1], *records[3:]))
    assert faults(verdict) == {"out_of_order": 1}
    assert verdict.examples[0].startswith("out of order: acme m2 at (0, 1) stands before m1")


def test_a_message_that_comes_far_too_late_is_out_of_order_with_all_that_overtook_it() -> None:
    records = good_log()
    assert faults(judge(SENT, log_of(*records[1:], records[0]))) == {"out_of_order": 4}


def test_a_late_repeat_is_no_disorder() -> None:
    records = good_log()
    assert judge(SENT, log_of(*records, *records)).good


def test_messages_that_were_on_their_way_at_the_same_time_may_stand_in_any_order() -> None:
    together = [message(number, attempt(number / 10)) for number in range(3)]
    assert judge(together, log_of(*reversed(good_log(together)))).good


def test_a_message_whose_every_copy_stands_behind_a_later_message_is_out_of_order_once() -> None:
    first = message(0, attempt(0, None), attempt(0.7))
    second = message(1, attempt(2))
    log = log_of(stored(second, 0), stored(first, 1, "a"), stored(first, 2, "b"))
    assert faults(judge([first, second], log)) == {"out_of_order": 1}


def test_accounts_have_no_order_among_each_other() -> None:
    other = message(7, attempt(-1), account="bolt")
    assert judge([*SENT, other], log_of(*good_log(), stored(other, 9))).good


def test_a_refused_message_out_of_its_order_is_no_fault() -> None:
    refused = message(9, *[attempt(n / 10, 503) for n in range(3)])
    assert judge([refused, *SENT], log_of(*good_log(), stored(refused, 9))).good


def test_an_account_in_two_partitions_is_out_of_order() -> None:
    records = good_log()
    log = {0: records[:3], 1: [replace(record, partition=1) for record in records[3:]]}
    assert faults(judge(SENT, log)) == {"out_of_order": 1}


@pytest.mark.parametrize("headers", [(), ((RECEIPT_HEADER, b""),), (("receipt", b"r"),)])
def test_a_record_without_a_receipt_is_told(headers: tuple[tuple[str, bytes], ...]) -> None:
    records = good_log()
    assert faults(judge(SENT, log_of(replace(records[0], headers=headers), *records[1:]))) == {"without_receipt": 1}


def test_a_receipt_on_two_messages_is_told() -> None:
    records = good_log()
    verdict = judge(SENT, log_of(*records[:4], stored(SENT[4], 4, "r-m0")))
    assert faults(verdict) == {"shared_receipts": 1}


@pytest.mark.parametrize("status", [301, 400, 404, 408, 413, 429, 500, 502])
def test_an_answer_that_servicetrade_misunderstands_is_told(status: int) -> None:
    sent = [message(0, attempt(0, status), attempt(0.6)), *SENT[1:]]
    assert faults(judge(sent, log_of(*good_log(sent)))) == {"wrong_answers": 1}


def test_requests_that_were_not_answered_in_time_are_counted() -> None:
    hung = replace(attempt(0, None), timed_out=True)
    verdict = judge([message(0, hung, hung, hung), *SENT[1:]], log_of(*good_log(SENT[1:])))
    assert (verdict.good, verdict.late, verdict.refused) == (True, 3, 1)


def test_messages_that_the_log_could_not_tell_apart_are_not_judged() -> None:
    with pytest.raises(ValueError, match="same account and body"):
        judge([SENT[0], SENT[0]], {})


def in_changes(sent: Sequence[Sent], *records: LogRecord) -> InChanges:
    return judge_changes(sent, log_of(*records))


def test_a_repeat_within_the_horizon_makes_one_change_all_the_same() -> None:
    told = in_changes(SENT, *good_log(), *good_log())
    assert told.good
    assert (told.messages, told.changes, told.duplicates) == (5, 5, 5)


def test_a_repeat_after_the_horizon_makes_a_second_change_and_is_told() -> None:
    late = replace(stored(SENT[0], 5), timestamp=700_000)
    told = in_changes(SENT, *good_log(), late)
    assert (told.good, told.more_than_once) == (False, 1)
    assert told.examples == ["in 2 changes: acme m0"]


def test_a_body_that_is_in_no_change_is_told() -> None:
    broken = replace(SENT[0], body=b"{}")
    told = in_changes([broken], stored(broken, 0))
    assert (told.good, told.never) == (False, 1)


def test_a_body_that_is_not_utf8_must_be_quarantined() -> None:
    broken = replace(SENT[0], body=SENT[0].body.replace(b"m0", b"m\xff"), readable=False)
    assert in_changes([broken], stored(broken, 0)).good
    told = in_changes([replace(SENT[0], readable=False)], stored(SENT[0], 0))
    assert (told.good, told.not_quarantined) == (False, 1)


def test_what_is_not_in_the_log_or_belongs_to_an_account_that_is_passed_over_does_not_count() -> None:
    fuzzed = message(1, account="fuzz")
    told = judge_changes(SENT[:1], log_of(stored(fuzzed, 0)), passed_over=["fuzz"])
    assert (told.good, told.messages, told.changes) == (True, 0, 0)


def test_bodies_are_unlike_each_other_some_large_some_not_utf8_and_the_rest_readable() -> None:
    bodies = Bodies(account="acme", rng=Random(1))
    made = [bodies.next(5) for _ in range(600)]
    assert len({body.value for body in made}) == len({body.message_id for body in made}) == 600
    assert any(len(body.value) > 80_000 for body in made)
    broken = [body for body in made if not body.readable]
    assert broken
    for body in broken:
        with pytest.raises(UnicodeDecodeError):
            body.value.decode()
    assert all(decode(body.value)["messageId"] == body.message_id for body in made if body.readable)


def test_the_same_seed_writes_the_same_bodies() -> None:
    one, other = (Bodies(account="acme", rng=Random(3)) for _ in range(2))
    assert [one.next(5) for _ in range(50)] == [other.next(5) for _ in range(50)]
