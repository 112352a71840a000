"""The comparison behind `tradewind audit`, over random logs and tampered topics, without a broker."""

from __future__ import annotations

import io
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from audit.comparison import Comparison
from audit.records import What, read_found
from audit.report import Report
from audit.screen import EXAMPLES, show
from audit.walk import LogWalk
from processors.consolidator import Outcome
from processors.rules import read_rules
from processors.window import Origin
from schemas.change import cloud_event_headers
from schemas.encoding import decode, encode
from schemas.pipeline import PipelineTimes
from schemas.record import LogRecord
from tests.processors.running import balance, core_for, element, rules_of, tick, webhook
from tests.processors.strategies import RULES, Log, logs

LATER_MS = 2**41
"""When everything was sent."""
TIMES = PipelineTimes(horizon_s=10, memory_s=20, max_ceiling_s=5)
QUICK = b'{"default":{"quiet_ms":300,"ceiling_ms":900},"types":{}}'
Sent = tuple[What, LogRecord]


def written(outcome: Outcome) -> list[Sent]:
    """What the processors put into the topics, each kind in its order."""
    contents: list[tuple[What, bytes | None, bytes | None, Any]] = [
        ("change", change.key.encode(), encode(change), cloud_event_headers(change)) for change in outcome.changes
    ]
    contents += [
        ("dead letter", record.key, record.value or b"", (*record.headers, *letter.headers()))
        for record, letter in outcome.dead_letters
    ]
    contents += [("rules", entry.account.encode(), encode(entry), ()) for entry in outcome.rules]
    return [
        (what, LogRecord(partition=5, offset=offset, timestamp=LATER_MS, key=key, value=value, headers=tuple(headers)))
        for offset, (what, key, value, headers) in enumerate(contents)
    ]


def audited(
    log: Log,
    topics: Sequence[Sent],
    *,
    cut: int = 0,
    committed: int | None = 2**40,
    accounts: Collection[str] = (),
    keep: int | None = None,
    kept_from_ms: int | None = None,
) -> Report:
    """The audit of a log of which retention removed the first `cut` records."""
    kept: dict[What, int] = {} if kept_from_ms is None else {"change": kept_from_ms, "dead letter": kept_from_ms}
    comparison = Comparison(epoch=log.epoch, accounts=accounts, keep=keep, kept_from_ms=kept)
    rules = rules_of(log)
    for entry in core_for(log).feed(log.records[:cut]).rules:
        rules[entry.account] = read_rules(entry.rules, max_ceiling_ms=log.times.max_ceiling_ms)
    left = log.records[cut:]
    beginning = 0 if cut == 0 else log.records[cut - 1].offset + 1
    origin = Origin(log.topic, log.partition, log.epoch)
    walk = LogWalk(comparison, origin, log.times, rules, beginning=beginning, committed=committed)
    for start in range(0, len(left), 7):
        walk.feed(left[start : start + 7])
    walk.end()
    for what, record in topics:
        if (found := read_found(what, record)) is not None:
            comparison.found(found)
    differences = comparison.finish()
    return Report(
        topics={"webhooks": log.topic, "change": "changes", "dead letter": "letters", "rules": "rules"},
        group="processors",
        partitions=1,
        committed=committed is not None,
        figures=comparison.figures,
        counts=comparison.counts,
        differences=differences,
    )


def counted(report: Report) -> dict[str, int]:
    return {kind: number for kind, number in report.counts.items() if number}


# -- any log -------------------------------------------------------------------------------------------------------


@settings(max_examples=30)
@given(log=logs(), choice=st.randoms(use_true_random=False))
def test_what_the_processors_make_of_any_log_agrees_with_it_and_repeats_are_no_differences(
    log: Log, choice: Any
) -> None:
    core = core_for(log)
    outcome = core.feed(log.records)
    sent = written(outcome)
    again = [*sent, *choice.sample(sent, len(sent) // 2)]
    report = audited(log, again)
    assert report.agrees, report.differences
    assert report.total("expected") == report.total("found") == len(sent)
    assert report.total("repeats") == len(sent) // 2
    figures = report.figures.values()
    sums = [
        sum(getattr(one, name) for one in figures)
        for name in ("notifications", "merged", "duplicates", "filtered", "quarantined", "still_open")
    ]
    assert tuple(sums) == balance(core)


@settings(max_examples=30)
@given(log=logs(), choice=st.randoms(use_true_random=False))
def test_what_comes_from_beyond_the_commit_may_be_there_or_not(log: Log, choice: Any) -> None:
    position = choice.randrange(len(log.records))
    core = core_for(log)
    sent = written(core.feed(log.records[:position]))
    later = written(core.feed(log.records[position:]))
    there = [one for one in later if choice.random() < 0.5]
    order = sorted([*sent, *there], key=lambda one: one[0])
    report = audited(log, order, committed=log.records[position].offset)
    assert report.agrees, report.differences
    assert (report.total("found"), report.total("ahead"), report.total("ahead_found")) == (
        len(sent),
        len(later),
        len(there),
    )


@settings(max_examples=50)
@given(log=logs(least=30, most=60), choice=st.randoms(use_true_random=False))
def test_where_the_beginning_was_removed_nothing_is_reported_that_is_not_so(log: Log, choice: Any) -> None:
    cut = choice.randrange(1, len(log.records))
    report = audited(log, written(core_for(log).feed(log.records)), cut=cut)
    assert report.agrees, report.differences


@settings(max_examples=30)
@given(log=logs(), choice=st.randoms(use_true_random=False))
def test_whatever_one_record_lacks_has_too_much_or_has_wrong_is_found(log: Log, choice: Any) -> None:
    sent = written(core_for(log).feed(log.records))
    if not sent:
        return
    victim = choice.randrange(len(sent))
    what, record = sent[victim]
    assert counted(audited(log, [*sent[:victim], *sent[victim + 1 :]])) == {"missing": 1}
    for changed, told in (
        (replace(record, key=(record.key or b"") + b"x"), "key differs"),
        (replace(record, value=(record.value or b"") + b" "), "value differs"),
        (replace(record, headers=(*record.headers, ("trace", b""))), "headers differ"),
    ):
        report = audited(log, [*sent[:victim], (what, changed), *sent[victim + 1 :]])
        assert counted(report) == {"wrong": 1}
        assert report.differences[0].detail == told


# -- examples ------------------------------------------------------------------------------------------------------


def small_log(*records: LogRecord, epoch: int = 2) -> Log:
    return Log(times=TIMES, rules_before={}, records=records, epoch=epoch)


def two_jobs() -> tuple[Log, list[Sent]]:
    """Job 1 changes twice, job 2 of another account once."""
    log = small_log(
        LogRecord(offset=1, timestamp=1_000, key=b"acme", value=QUICK, headers=RULES),
        webhook(2, 10_000, element(1)),
        webhook(3, 20_000, element(1)),
        webhook(4, 20_001, element(2), element(None), account="bolt"),
        tick(5, 60_000),
    )
    return log, written(core_for(log).feed(log.records))


def by_kind(sent: Sequence[Sent], what: What) -> list[LogRecord]:
    return [record for kind, record in sent if kind == what]


def test_an_unknown_id_is_extra_with_the_place_it_claims_and_the_place_where_it_stands() -> None:
    log, sent = two_jobs()
    change = by_kind(sent, "change")[0]
    headers = tuple((name, b"f" * 32 if name == "ce_id" else value) for name, value in change.headers)
    report = audited(log, [*sent, ("change", replace(change, offset=99, headers=headers))])
    (difference,) = report.differences
    assert (difference.kind, difference.id, difference.account, difference.subject) == (
        "extra",
        "f" * 32,
        "acme",
        "job/1",
    )
    assert report.where(difference) == "servicetrade.webhooks[3] offset 2 (acme job/1)"
    assert "stands at changes[5] offset 99" in report.sentence(difference)
    assert report.verdict() == "audit: 1 extra: first at servicetrade.webhooks[3] offset 2 (acme job/1)"


@pytest.mark.parametrize("value", [None, b"{", b"[]", b'{"id": 7}'])
def test_a_record_that_says_nothing_of_itself_is_extra(value: bytes | None) -> None:
    log, sent = two_jobs()
    report = audited(log, [*sent, ("change", LogRecord(partition=1, offset=7, timestamp=9, value=value))])
    assert counted(report) == {"extra": 1}
    assert report.verdict() == "audit: 1 extra: first at changes[1] offset 7"
    assert report.differences[0].detail == "it has no id"


def test_a_change_without_its_headers_is_known_by_its_body_and_wrong() -> None:
    log, sent = two_jobs()
    report = audited(log, [(what, replace(r, headers=()) if what == "change" else r) for what, r in sent])
    assert counted(report) == {"wrong": 3}


def test_changes_of_one_entity_that_first_appear_in_falling_order_are_told() -> None:
    log, sent = two_jobs()
    changes = by_kind(sent, "change")
    rest = [one for one in sent if one[0] != "change"]
    report = audited(log, [*(("change", record) for record in (changes[1], changes[0], *changes)), *rest])
    first, second = (decode(changes[number].value or b"")["entity_id"] for number in (0, 1))
    assert (first, second) == ("1", "1")
    assert counted(report) == {"out of order": 1}
    assert report.total("repeats") == 2
    assert "opened at offset 3" in report.differences[0].detail


def test_a_right_copy_beside_a_wrong_one_is_found_and_the_wrong_one_told() -> None:
    log, sent = two_jobs()
    change = by_kind(sent, "change")[0]
    report = audited(log, [("change", replace(change, value=b"{}")), *sent])
    assert counted(report) == {"wrong": 1}
    assert report.total("found") == report.total("expected") == len(sent)


def test_letters_of_sinks_are_not_looked_at_and_broken_letters_and_copies_are_extra() -> None:
    log, sent = two_jobs()
    letter, copy = by_kind(sent, "dead letter")[0], by_kind(sent, "rules")[0]

    def with_header(changed: str, value: bytes) -> LogRecord:
        return replace(letter, headers=tuple((n, value if n == changed else v) for n, v in letter.headers))

    assert audited(log, [*sent, ("dead letter", with_header("x-dlq-stage", b"mirror"))]).agrees
    odd: list[Sent] = [
        ("dead letter", with_header("x-dlq-offset", b"soon")),
        ("dead letter", with_header("x-dlq-offset", b"77")),
        ("dead letter", with_header("x-dlq-topic", b"other")),
        ("rules", replace(copy, value=b"{")),
        ("rules", replace(copy, value=(copy.value or b"").replace(b'"offset":1', b'"offset":"1"'))),
        ("rules", replace(copy, value=(copy.value or b"").replace(b'"offset":1', b'"offset":8'))),
    ]
    report = audited(log, [*sent, *odd])
    # An offset in quotes is the same place, written otherwise.
    assert counted(report) == {"extra": 5, "wrong": 1}


def redriven(record: LogRecord) -> LogRecord:
    return replace(record, headers=(*record.headers, ("x-redrive-to", b"mirror"), ("x-redrives", b"1")))


def test_a_redriven_change_is_a_repeat_wherever_it_stands_and_wrong_only_if_its_bytes_are() -> None:
    log, sent = two_jobs()
    first, second = by_kind(sent, "change")[:2]
    report = audited(log, [*sent, ("change", redriven(first)), ("change", redriven(redriven(second)))])
    assert report.agrees, report.differences
    assert report.total("repeats") == 2
    # Retention removed the first copy: what was redriven stands behind what came meanwhile.
    rest = [one for one in sent if one[1] is not first]
    report = audited(log, [*rest, ("change", redriven(first))])
    assert report.agrees, report.differences
    assert report.total("found", "change") == 3
    report = audited(log, [*sent, ("change", redriven(replace(first, value=b"{}")))])
    assert (counted(report), report.differences[0].detail) == ({"wrong": 1}, "value differs")
    report = audited(log, [*sent, ("change", redriven(replace(first, headers=first.headers[1:])))])
    assert (counted(report), report.differences[0].detail) == ({"wrong": 1}, "headers differ")


def test_resolutions_are_passed_over_and_a_letter_that_was_redriven_before_is_known() -> None:
    bad = webhook(2, 10_000, element(1), 7)
    again = (("tradewind-elements", b"1"), ("x-redrive-to", b"processors"), ("x-redrives", b"1"))
    log = small_log(bad, replace(bad, offset=3, headers=again), tick(4, 60_000))
    sent = written(core_for(log).feed(log.records))
    resolution = LogRecord(
        offset=9,
        timestamp=LATER_MS,
        key=b"acme",
        value=b"",
        headers=(("tradewind-resolution", b"redriven"), ("tradewind-resolves", b"0")),
    )
    report = audited(log, [*sent, ("dead letter", resolution)])
    assert report.agrees, report.differences
    assert (report.total("found", "dead letter"), report.total("found", "change")) == (2, 1)
    (letter,) = [one for one in by_kind(sent, "dead letter") if ("x-redrives", b"1") in one.headers]
    assert letter.headers[-1] == ("x-dlq-redrives", b"1")
    figures = report.figures["acme"]
    assert (figures.notifications, figures.quarantined, figures.merged) == (3, 2, 1)


def test_only_the_accounts_asked_for_are_compared() -> None:
    log, sent = two_jobs()
    mine = [one for one in sent if (one[1].key or b"").startswith(b"bolt")]
    report = audited(log, mine, accounts=["bolt"])
    assert report.agrees
    assert set(report.figures) == {"bolt"}
    assert (report.figures["bolt"].notifications, report.figures["bolt"].merged) == (2, 1)
    assert counted(audited(log, mine)) == {"missing": 3}


def test_all_differences_are_counted_and_the_first_of_the_log_kept() -> None:
    log = small_log(*(webhook(offset, 1_000, element(offset)) for offset in range(200)), tick(200, 60_000))
    report = audited(log, [], keep=3)
    assert counted(report) == {"missing": 200}
    assert [difference.offset for difference in report.differences] == [0, 1, 2]
    assert len(audited(log, []).differences) == 200


def test_what_retention_removed_from_the_topic_itself_is_not_missing() -> None:
    log, _ = two_jobs()
    report = audited(log, [], kept_from_ms=2**63)
    assert counted(report) == {"missing": 1}  # the copy of the rules, which are kept for ever
    assert report.total("unjudged") == 4
    assert report.verdict().endswith(" (4 not judged)")
    # The first change was due at 10,300, but rules may have closed it a ceiling of 5,000 before.
    assert (audited(log, [], kept_from_ms=5_299).total("unjudged"), counted(audited(log, []))) == (0, {"missing": 5})
    report = audited(log, [], kept_from_ms=5_300)
    assert (report.total("unjudged"), counted(report)) == (1, {"missing": 4})


def test_records_of_an_older_log_of_the_same_name_are_not_judged() -> None:
    log, sent = two_jobs()
    before = core_for(replace(log, epoch=1)).feed([replace(r, timestamp=r.timestamp - 900) for r in log.records])
    older = [(what, replace(record, timestamp=999)) for what, record in written(before)]
    report = audited(log, [*older, *sent])
    assert report.agrees, report.differences
    assert report.total("unjudged") == len(older) - 1  # the copy of the rules is the same in both
    assert counted(audited(replace(log, epoch=1), sent)) == {"wrong": 3}


def test_a_log_cut_by_retention_is_judged_again_when_all_that_was_removed_is_forgotten() -> None:
    removed, first_ms = webhook(0, 1_000, element(1)), 2_000
    known_ms = first_ms + TIMES.restore_ms
    log = small_log(
        removed,
        webhook(1, first_ms, element(2)),
        webhook(2, known_ms, element(3)),
        webhook(3, known_ms + 1, element(4)),
        tick(4, known_ms + 60_000),
    )
    sent = written(core_for(log).feed(log.records))
    report = audited(log, sent, cut=1)
    assert report.agrees
    assert (report.total("found"), report.total("unjudged")) == (1, 3)
    assert counted(audited(log, [], cut=1)) == {"missing": 1}


@pytest.mark.parametrize(("ahead_ms", "judged"), [(0, 0), (1, 1)])
def test_a_step_of_the_clock_ends_the_doubt_once_the_time_is_known(ahead_ms: int, judged: int) -> None:
    first_ms = 100_000
    stepped_ms = first_ms + TIMES.max_ceiling_ms + ahead_ms
    log = small_log(
        webhook(0, 99_000, element(1)),
        webhook(1, first_ms, element(2)),
        tick(2, stepped_ms),
        webhook(3, 10_000, element(3)),
        tick(4, 60_000),
    )
    report = audited(log, written(core_for(log).feed(log.records)), cut=1)
    assert report.agrees
    assert report.total("found") == judged


def test_of_a_partition_of_which_nothing_is_left_nothing_is_judged() -> None:
    log, sent = two_jobs()
    report = audited(log, sent, cut=len(log.records))
    assert report.agrees
    assert (report.total("unjudged"), report.total("expected")) == (len(sent), 0)


def test_a_group_that_committed_nothing_is_not_said_to_agree() -> None:
    log, _ = two_jobs()
    report = audited(log, [], committed=None)
    assert report.agrees
    assert "has committed nothing" in report.verdict()
    assert report.total("ahead") == 5


def test_a_core_that_loses_count_is_told() -> None:
    comparison = Comparison(epoch=2)
    walk = LogWalk(comparison, Origin("log", 3, 2), TIMES, {}, beginning=0, committed=None)
    walk.feed([webhook(0, 1_000)])
    walk._core.ledger.notifications += 2
    walk.end()
    (difference,) = comparison.finish()
    assert (difference.kind, difference.partition) == ("unbalanced", 3)
    assert difference.detail == "the core cannot account for 2 notifications"


def test_the_table_shows_every_figure_whole_however_narrow_the_place() -> None:
    log = small_log(*(webhook(offset, 1_000, element(offset)) for offset in range(1_234)), tick(2_000, 60_000))
    out = io.StringIO()
    show(audited(log, [], keep=EXAMPLES), Console(file=out, width=40))
    shown = out.getvalue().splitlines()
    assert [line.split() for line in shown if line.split()[:1] == ["acme"]] == [
        ["acme", "1,234", "1,234", "0", "0", "0", "0", "1,234", "0", "1,234", "0", "0", "0"]
    ]
    assert sum(line.startswith("missing ") for line in shown) == EXAMPLES
    assert shown[-2:] == [
        "... and 1,214 more: --json shows all",
        "audit: 1,234 missing: first at servicetrade.webhooks[3] offset 0 (acme job/0)",
    ]


def test_the_report_can_be_written_as_json() -> None:
    log, sent = two_jobs()
    told = decode(encode(audited(log, sent[1:]).as_json()))
    assert told["agrees"] is False
    assert told["counts"]["missing"] == 1
    assert told["differences"][0]["kind"] == "missing"
    assert told["accounts"]["acme"]["still_open"] == 0
