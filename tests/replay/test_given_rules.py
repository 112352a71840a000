"""Rules that hold in a replay instead of those of then: what counts as such, and what ids come of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from processors.restore import read_rules_history
from processors.rules import read_rules
from replay.core import core_at
from replay.diffing import diff
from replay.given_rules import GivenRules, find_rules, read_copies
from replay.ranges import Span, find_ranges
from replay.selection import Selection
from runtime.kafka import Partition
from runtime.settings import KafkaSettings
from schemas.change import EntityChange
from schemas.encoding import encode
from schemas.rules import RulesInForce
from schemas.topics import RULES, WEBHOOKS
from tests.processors.pipeline import TIMES, job
from tests.replay.history import History, at, history_on

pytestmark = pytest.mark.anyio


@pytest.fixture
async def history(kafka: KafkaSettings) -> AsyncIterator[History]:
    async with history_on(kafka) as opened:
        yield opened


async def copy(history: History, value: bytes) -> None:
    await history.producer.send_all([(history.kafka.topic_prefix + RULES.name, b"acme", value, ())])


async def home_of(history: History, account: str) -> Partition:
    found = {(one.key or b"").decode(): one.partition for one in await history.all(WEBHOOKS.name)}
    return (await history.partitions())[found[account]]


async def changes_by(history: History, home: Partition, given: GivenRules) -> list[EntityChange]:
    core = await core_at(
        history.reader, history.settings, home, 0, history=[], selection=Selection(fixed_rules=True), given=given
    )
    return core.feed(Selection(fixed_rules=True).see(await history.records(home))).changes


async def test_rules_that_held_once_give_no_id_of_the_live_run_because_windows_close_elsewhere(
    history: History,
) -> None:
    await history.rules("acme", 0)
    await history.post("acme", 1, job(1))
    await history.rules("acme", 1.1, ignore_users=[9])  # it closes the window live
    await history.post("acme", 1.2, job(1))
    await history.tick("acme", 60)
    live = await history.live()
    once = read_rules({"default": {"quiet_ms": 300, "ceiling_ms": 900}, "types": {}}, max_ceiling_ms=2_000)
    made = await changes_by(history, await home_of(history, "acme"), GivenRules({"acme": once}))
    assert [one.notifications for one in live] == [1, 1]
    assert [one.notifications for one in made] == [2]
    assert live[0].sequence == made[0].sequence
    assert live[0].rules_version == once.version
    assert made[0].rules_version == f"replay-{once.version}"
    assert made[0].id not in {one.id for one in live}


async def test_an_account_that_has_had_no_rules_gets_no_id_of_the_live_run_either(history: History) -> None:
    await history.post("acme", 1, job(1))
    await history.tick("acme", 60)
    (live,) = await history.live()
    (made,) = await changes_by(history, await home_of(history, "acme"), GivenRules({}))
    assert (live.rules_version, made.rules_version) == ("builtin", "replay-builtin")
    assert live.id != made.id
    assert (live.sequence, live.sources) == (made.sequence, made.sources)


async def test_what_a_diff_compares_are_contents_whatever_the_versions(history: History) -> None:
    await history.post("acme", 1, job(1))
    await history.post("bolt", 1, job(1))
    await history.tick("acme", 60)
    await history.tick("bolt", 60)
    await history.live()
    ranges = await find_ranges(history.reader, history.settings, Span(from_ms=at(0), to_ms=at(50)))
    written = {"default": {"quiet_ms": TIMES.max_ceiling_ms, "ceiling_ms": TIMES.max_ceiling_ms}, "types": {}}
    given = GivenRules({"acme": read_rules(written, max_ceiling_ms=TIMES.max_ceiling_ms)})
    compared = await diff(history.settings, ranges, given, has_path=lambda _name: True)
    assert compared.tally.total().kinds == {"same": 2}


async def test_windows_that_both_runs_have_open_at_the_end_are_not_judged(history: History) -> None:
    for number in range(20):
        await history.post("acme", number * 0.001, job(number))
    await history.tick("acme", 60)
    await history.live({0: 20, 1: 20})
    ranges = await find_ranges(history.reader, history.settings, Span(from_ms=at(0), to_ms=at(50)))
    compared = await diff(history.settings, ranges, GivenRules({}), has_path=lambda _name: True)
    assert compared.tally.still_open == 20
    assert compared.unread == []
    ranges = await find_ranges(history.reader, history.settings, Span(from_ms=at(0), to_ms=at(70)))
    compared = await diff(history.settings, ranges, GivenRules({}), types=("quote",), has_path=lambda _name: True)
    assert compared.tally.still_open == 0
    assert [(one.records, one.reached, one.reached_ms) for one in compared.unread] == [(1, 20, at(60))]


async def test_what_stands_among_the_copies_of_rules_and_is_none_is_passed_over_and_counted(history: History) -> None:
    await history.rules("acme", 0)
    await history.live()
    for junk in (b"junk", b"{}", encode({"account": 1, "version": 1, "topic": 1, "partition": 1, "offset": "x"})):
        await copy(history, junk)
    entries, foreign = await read_copies(history.reader, history.settings)
    assert ([one.account for one in entries], foreign) == (["acme"], 3)
    # The processors have to stop there: with a rule missing they would go on under another one.
    with pytest.raises(ValueError, match=r".+"):
        await read_rules_history(history.reader, history.kafka.topic_prefix + RULES.name)


async def test_only_what_stands_in_the_accounts_own_partition_and_in_this_log_is_in_force(
    history: History, tmp_path: Path
) -> None:
    await history.rules("acme", 0, quiet_ms=400)
    await history.live()
    home = await home_of(history, "acme")

    async def copied(partition: int, offset: int) -> None:
        rules = {"default": {"keep": False}, "types": {}}
        one = RulesInForce(
            account="acme", version="", topic=home.topic, partition=partition, offset=offset, rules=rules
        )
        await copy(history, encode(one))

    await copied(1 - home.number, 0)
    await copied(home.number, 1_000)
    known, _ = await read_copies(history.reader, history.settings)
    assert len(known) == 3
    now = await find_rules(history.reader, history.settings, "now", known=known, accounts=())
    assert now is not None
    assert now.by_account["acme"].default.quiet_ms == 400
    # A file goes before, and what it does not name has the rules of now.
    (tmp_path / "rules.toml").write_text("[defaults]\nquiet_s = 0.5\nceiling_s = 1\n")
    said = str(tmp_path / "rules.toml")
    read = await find_rules(history.reader, history.settings, said, known=known, accounts=("bolt",))
    assert read is not None
    assert {name: one.default.quiet_ms for name, one in read.by_account.items()} == {"acme": 400, "bolt": 500}
    assert await find_rules(history.reader, history.settings, "then", known=known, accounts=()) is None
