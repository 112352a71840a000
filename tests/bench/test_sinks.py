"""The sinks section: its queue, its load, what it makes of times, its tables, and one small run of each contender."""

from __future__ import annotations

import asyncio
import os
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from anyio.to_thread import run_sync

from bench import sinks_tables
from bench.sections import SECTIONS
from bench.sinks_latency import Parts, parts_of, percentiles
from bench.sinks_load import planned, send
from bench.sinks_mirror import Result, figures, ours, plain
from bench.sinks_office import ACCOUNTS, accounts, open_office
from bench.sinks_queue import Queue, filled, made, pick
from bench.sinks_site import Site
from bench.sinks_usage import used
from bench.stage import Stage, partition_of
from runtime.broker_config import HOST
from schemas.change import EntityChange
from schemas.topics import PARTITIONS

pytestmark = pytest.mark.anyio

RESULT = Result(
    seconds=1.0,
    rate=100.0,
    cpu_s_per_1000={"contender": 2.0, "simulator": 0.5, "Kafka": 0.1},
    reads=100,
    outcomes={"delivered": 100},
    rows_right=100,
    rows_wanted=100,
    load=1.0,
)
PART_MS = {"p50": 40.0, "p99": 90.0, "max": 1_200.0}
CHANGE = next(made([("acme", 7)], 1))


def runs(*results: Result) -> list[dict[str, Any]]:
    return [figures(result) for result in results]


def measured(**of: list[dict[str, Any]]) -> dict[str, Any]:
    contenders = [{"name": name, "title": name, "runs": found} for name, found in of.items()]
    sizes = {"changes": 100, "entities": 100, "accounts": 20, "entity_bytes": 800}
    bounds = {"concurrency": 64, "account_concurrency": 8}
    return {**sizes, **bounds, "versions": {"Python": "3.11"}, "contenders": contenders}


def row_of(name: str, found: dict[str, Any]) -> dict[str, str]:
    (row,) = (row for row in sinks_tables.rows(found) if row[0] == name)
    return dict(zip(sinks_tables.HEADS, row, strict=True))


def change(number: int, *, due_ms: int, notifications: int = 1, closed_by: Any = "quiet") -> EntityChange:
    return replace(CHANGE, id=str(number), due_ms=due_ms, notifications=notifications, closed_by=closed_by)


# -- queue -------------------------------------------------------------------------------------------------------------


def test_the_accounts_begin_with_one_for_each_partition_of_the_raw_log() -> None:
    names = accounts()
    assert len(set(names)) == ACCOUNTS
    assert [partition_of(name) for name in names[:PARTITIONS]] == list(range(PARTITIONS))


def test_as_many_entities_are_picked_of_each_account() -> None:
    jobs = {name: range(10) for name in "abc"}
    assert Counter(account for account, _ in pick(jobs, 8)) == {"a": 3, "b": 3, "c": 2}
    with pytest.raises(ValueError, match="31 entities are wanted, 30 are there"):
        pick(jobs, 31)


def test_a_queue_has_as_many_changes_of_each_entity_and_their_sequences_grow() -> None:
    entities = pick({"a": range(5), "b": range(5)}, 10)
    changes = list(made(entities, 50))
    assert set(Counter(one.key for one in changes).values()) == {5}
    assert len({one.id for one in changes}) == 50
    assert [one.sequence for one in changes] == sorted({one.sequence for one in changes})
    assert [one.key for one in changes[:10]] != [one.key for one in changes[10:20]]


# -- load --------------------------------------------------------------------------------------------------------------


def test_each_entity_is_touched_once_or_twice_within_the_quiet_period_and_all_accounts_alike() -> None:
    ticks = defaultdict[tuple[int, int], list[int]](list)
    for tick, touch in enumerate(planned(12, rate=200, seconds=20)):
        ticks[touch].append(tick)
    assert sum(map(len, ticks.values())) == 4_000
    assert {len(found) for found in ticks.values()} == {1, 2}
    gaps = [found[1] - found[0] for found in ticks.values() if len(found) > 1]
    assert min(gaps) >= 20
    assert max(gaps) < 300
    by_account = Counter(account for account, _ in ticks)
    assert max(by_account.values()) - min(by_account.values()) <= 1


async def test_a_post_does_not_wait_for_the_answer_to_another() -> None:
    there, held = list[str](), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there.append((await reader.readuntil(b"\r\n\r\n{}")).decode())
        if len(there) == 3:
            held.set()
        await held.wait()
        writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
        writer.close()

    lines = (f"0\t/webhooks/{name}\t{{}}\n" for name in "abc")
    async with await asyncio.start_server(serve, HOST, 0) as server, asyncio.timeout(20):
        told = await send(HOST, server.sockets[0].getsockname()[1], lines)
    assert told["statuses"] == {"204": 3}
    assert sorted(text.split()[1] for text in there) == ["/webhooks/a", "/webhooks/b", "/webhooks/c"]


# -- times -------------------------------------------------------------------------------------------------------------


def test_a_window_s_way_begins_when_its_last_webhook_was_due_and_leaves_the_quiet_period_out() -> None:
    dues = {CHANGE.key: [1_000.0, 1_400.0]}
    changes = [(3_425.0, change(1, due_ms=3_410, notifications=2))]
    (found,) = parts_of(dues, changes, {"1": 3_465.0}, from_ms=0)
    assert found == Parts(append=10.0, firing=15.0, row=40.0)
    assert found.whole == 3_465 - 1_400 - 2_000


def test_a_window_that_a_cut_has_closed_is_left_out_and_the_next_one_ends_with_the_entity_s_next_webhook() -> None:
    dues = {CHANGE.key: [1_000.0, 1_400.0]}
    changes = [(1_250.0, change(1, due_ms=1_200, closed_by="cut")), (3_425.0, change(2, due_ms=3_410))]
    (found,) = parts_of(dues, changes, {"1": 1_300.0, "2": 3_465.0}, from_ms=0)
    assert found.whole == 65.0


def test_windows_of_the_first_seconds_are_left_out() -> None:
    assert parts_of({CHANGE.key: [1_000.0]}, [(3_020.0, change(1, due_ms=3_010))], {"1": 3_050.0}, from_ms=1_001) == []


def test_percentiles_are_values_that_were_there() -> None:
    assert percentiles(range(1, 201)) == {"p50": 101, "p99": 199, "max": 200}


def test_cpu_time_is_that_between_two_moments() -> None:
    samples = [(0.0, {"it": 5.0}), (100.0, {"it": 5.0}), (200.0, {"it": 7.0}), (300.0, {"it": 7.0})]
    assert used(samples, 50, 150) == {"it": 1.0}
    assert used(samples, -50, 1_000) == {"it": 2.0}


# -- tables ------------------------------------------------------------------------------------------------------------


def test_a_ratio_is_that_of_a_round_and_the_table_has_them_all() -> None:
    found = measured(
        sqlite=runs(*(replace(RESULT, rate=rate) for rate in (50, 80, 30))),
        plain=runs(*(replace(RESULT, rate=rate) for rate in (100, 100, 40))),
    )
    row = row_of("sqlite", found)
    assert (row["it : plain loop"], row["round by round"]) == ("0.75", "0.50, 0.80, 0.75")
    assert row["rows right"] == "all of 100"


def test_a_wrong_row_is_shown() -> None:
    assert row_of("sqlite", measured(sqlite=runs(RESULT, replace(RESULT, rows_right=97))))["rows right"] == "WRONG 3"


def test_the_plain_loop_s_failures_are_shown() -> None:
    read = replace(RESULT, rows_right=None, outcomes={"answered": 98, "ReadError": 2})
    assert row_of("plain", measured(plain=runs(read, read)))["rows right"] == "- (4 GETs failed)"
    fine = replace(read, outcomes={"answered": 100})
    assert row_of("plain", measured(plain=runs(fine)))["rows right"] == "-"


def test_what_failed_is_shown_as_failed() -> None:
    found = measured(sqlite=runs(RESULT), plain=[])
    assert row_of("plain", found)["changes/s"] == "failed"
    assert row_of("sqlite", found)["it : plain loop"] == ""
    shown = {title: rows for title, _, _, rows in sinks_tables.more(found)}
    assert [row[-1] for row in shown["Mirror: what bounds it, and coalescing"]] == ["failed"]
    assert shown["Mirror: end to end"][0][0] == "failed"


def test_the_simulator_s_ceiling_is_what_its_cpu_time_allows() -> None:
    rows = {row[0]: row[-1] for row in sinks_tables.figure_rows(measured(plain=runs(RESULT)))}
    shares = rows["busy under the plain loop, of one core each"]
    assert shares == "plain loop 20%, simulator 5%, Kafka 1%"
    assert rows["most that the simulator could answer, with a core of its own"] == "2,000 GETs/s"


def test_the_way_of_a_webhook_is_shown_in_its_stretches() -> None:
    ways = dict.fromkeys(("whole_ms", "append_ms", "firing_ms", "row_ms"), PART_MS)
    sent = {"statuses": {"204": 90, "503": 10}, "latest_ms": 3.0, "answer_p50_ms": 2.0, "answer_p99_ms": 9.0}
    counts = {"webhooks": 100, "in_changes": 90, "changes": 60, "judged": 50, "outcomes": {"delivered": 60}}
    found = {**measured(), "latency": {"rate": 200.0, "seconds": 60, "sender": sent, **counts, **ways}}
    _, (_, about, _, rows) = sinks_tables.more(found)
    assert "(10 not answered 2xx; 90 came out)" in about
    assert [row[1:] for row in rows] == [("40", "90", "1,200")] * 4


def test_the_section_can_be_drawn_whatever_failed() -> None:
    (section,) = (one for one in SECTIONS if one.name == "sinks")
    for found in (measured(), measured(sqlite=runs(RESULT), plain=[]), measured(sqlite=[], plain=runs(RESULT))):
        for _, _, heads, rows in section.tables(found, section.about(found)):
            assert {len(row) for row in rows} <= {len(heads)}


# -- one run -----------------------------------------------------------------------------------------------------------


async def test_a_run_of_each_contender_counts_every_change_and_every_read(broker: str, tmp_path: Path) -> None:
    stage = Stage(folder=tmp_path, bootstrap_servers=broker, broker_pid=os.getpid())
    with open_office(tmp_path) as office:
        jobs = await office.furnish(dict.fromkeys(islice(accounts(), 3), 4))
        site = Site.new(stage, office, jobs, tmp_path)
        queue = await filled(stage.kafka("bench-sinks."), jobs, changes=24, entities=12)
        mirrored, read = [await _run(contender, site, queue) for contender in (ours, plain)]
    assert mirrored.rows_right == mirrored.rows_wanted == 12
    assert sum(mirrored.outcomes.values()) == 24
    assert 12 <= mirrored.reads <= 24
    assert (read.reads, read.outcomes, read.rows_right) == (24, {"answered": 24}, None)


async def _run(contender: Callable[[Site, Queue, str], Result], site: Site, queue: Queue) -> Result:
    # It has an event loop of its own.
    return await run_sync(contender, site, queue, f"test-{contender.__name__}")
