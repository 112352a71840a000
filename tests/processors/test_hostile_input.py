"""The core under input that is built to break it: what it holds stays bounded, and nothing goes uncounted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from processors.consolidator import Consolidator
from processors.rules import read_rules
from schemas.change import EntityChange
from schemas.encoding import encode
from schemas.pipeline import PipelineTimes
from schemas.record import LogRecord
from tests.oracle import expect
from tests.processors.running import ORIGIN, balance, element, tick, webhook

START_MS = 1_000_000_000
TIMES = PipelineTimes(horizon_s=6, memory_s=9, max_ceiling_s=3)
"""Small, so that a few hundred records outlast them, and because the oracle tries every millisecond for a cut."""
RULE = {"default": {"quiet_ms": 200, "ceiling_ms": 1_500}, "types": {}}
MAX_SOURCES = 32


class Run:
    """A log fed record by record, and the most that the core held meanwhile."""

    def __init__(self, records: Sequence[LogRecord]) -> None:
        self.core = Consolidator(ORIGIN, TIMES, {"acme": read_rules(RULE, max_ceiling_ms=TIMES.max_ceiling_ms)})
        self.records = records
        self.changes: list[EntityChange] = []
        self.most_windows = self.most_remembered = 0
        for record in records:
            self.changes += self.core.feed([record]).changes
            self.most_windows = max(self.most_windows, self.core.open_windows)
            self.most_remembered = max(self.most_remembered, self.core.remembered_messages)
            assert self.core.ledger.imbalance(self.core.open_notifications) == 0

    def merged(self) -> int:
        return sum(change.notifications for change in self.changes)

    def check_against_the_oracle(self) -> None:
        told = expect(
            self.records,
            topic=ORIGIN.topic,
            partition=ORIGIN.partition,
            epoch=ORIGIN.epoch,
            times=TIMES,
            rules_before={"acme": RULE},
        )
        assert [encode(change) for change in self.changes] == [encode(change) for change in told.changes]
        counted = (told.notifications, told.merged, told.duplicates, told.filtered, told.quarantined, told.open)
        assert balance(self.core) == counted


def spaced(number: int, gap_ms: int, *, entities: int | None = None) -> list[LogRecord]:
    """Webhooks at an even pace, in turn about so many entities, or each about one of its own."""
    return [
        webhook(at, START_MS + at * gap_ms, element(at % entities if entities else at, at=at)) for at in range(number)
    ]


def closing(records: Sequence[LogRecord]) -> list[LogRecord]:
    """The records, and a tick after which nothing is open."""
    return [*records, tick(len(records), max(record.timestamp for record in records[-50:]) + TIMES.max_ceiling_ms)]


def test_one_entity_without_rest_keeps_to_the_ceiling_in_bounded_memory() -> None:
    # 24 s of updates, without a pause of more than 20 ms.
    run = Run(closing(spaced(1_200, 20, entities=1)))
    run.check_against_the_oracle()
    assert run.most_windows == 1
    assert max(change.due_ms - change.opened_ms for change in run.changes) == 1_500
    assert {change.closed_by for change in run.changes} == {"ceiling", "cut", "quiet"}
    assert max(len(change.sources) for change in run.changes) == MAX_SOURCES
    assert run.merged() == 1_200
    # At most two horizons of messages, 50 a second.
    assert run.most_remembered <= 2 * 6 * 50 + 2


def test_a_message_of_ten_thousand_elements_comes_out_whole() -> None:
    elements = [element(number) for number in range(10_000)]
    run = Run([webhook(0, START_MS, *elements), webhook(1, START_MS + 100, *elements), tick(2, START_MS + 9_000)])
    assert run.most_windows == 10_000
    assert run.most_remembered == 2
    counts: Counter[str] = Counter()
    for change in run.changes:
        counts[change.entity_id] += change.notifications
    assert counts == {str(number): 2 for number in range(10_000)}
    assert [change.due_ms for change in run.changes] == sorted(change.due_ms for change in run.changes)


def test_wide_messages_are_as_the_oracle_says() -> None:
    elements = [element(number % 90) for number in range(300)]
    run = Run(
        closing(
            [
                webhook(0, START_MS, *elements),
                webhook(1, START_MS + 50, *elements[:200], message_id="message-0"),
                webhook(2, START_MS + 100, *elements),
            ]
        )
    )
    run.check_against_the_oracle()
    assert run.core.ledger.duplicates == 200
    assert run.merged() == 600


def test_ever_new_entities_leave_nothing_behind() -> None:
    # 40 s at 200 a second: more than four memories and six horizons.
    run = Run(closing(spaced(8_000, 5)))
    assert run.most_windows <= 200 // 5 + 1
    assert run.most_remembered <= 2 * 6 * 200 + 2
    assert run.core.open_windows == 0
    assert len(run.changes) == run.merged() == 8_000


def test_new_entities_are_as_the_oracle_says() -> None:
    run = Run(closing(spaced(300, 80)))
    run.check_against_the_oracle()
    assert run.most_windows <= 4


def stretches(*steps_ms: int) -> list[LogRecord]:
    """Twenty records in 400 ms, two entities in turn, after each step of the clock."""
    records: list[LogRecord] = []
    now = START_MS
    for step in steps_ms:
        now += step
        for _ in range(20):
            records.append(webhook(len(records), now, element(len(records) % 2)))
            now += 20
    return closing(records)


def test_a_clock_that_is_set_back_a_little_moves_nothing() -> None:
    run = Run(stretches(0, -500, -1_000, -TIMES.max_ceiling_ms // 2))
    run.check_against_the_oracle()
    assert "clock" not in {change.closed_by for change in run.changes}
    assert run.merged() == 80


def test_a_clock_that_is_set_far_back_closes_what_is_open_and_loses_nothing() -> None:
    run = Run(stretches(0, -60_000, -3_600_000, -TIMES.max_ceiling_ms - 401))
    run.check_against_the_oracle()
    assert sum(change.closed_by == "clock" for change in run.changes) == 6
    assert run.merged() == 80


def test_a_clock_that_goes_an_hour_ahead_and_back_loses_nothing() -> None:
    run = Run(stretches(0, 3_600_000, 0, -3_600_000, 100))
    run.check_against_the_oracle()
    assert run.merged() == 100
    assert run.core.open_windows == 0
