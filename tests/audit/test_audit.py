"""`tradewind audit` on a real broker: over what a worker wrote, and over topics that somebody tampered with."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from audit.audit import audit
from audit.report import Report
from runtime.kafka import Partition
from runtime.kafka.topics import committed_offsets
from runtime.settings import KafkaSettings
from schemas.errors import LogGapError, SettingsError
from schemas.record import LogRecord
from schemas.topics import CHANGES, CONTROL_HEADER, DEADLETTERS, RULES, WEBHOOKS
from tests.processors.pipeline import (
    ACCOUNT,
    ACCOUNTS,
    CONFIG,
    FAUST_LEAVES_ITS_LOOP_OPEN,
    TIMES,
    Pipeline,
    committing,
    group_of,
    job,
    pipeline_on,
    removed_before,
    settings_on,
    until,
    values,
    working,
)

pytestmark = [pytest.mark.anyio, FAUST_LEAVES_ITS_LOOP_OPEN]


async def audited(kafka: KafkaSettings, *, accounts: Sequence[str] = ()) -> Report:
    return await audit(settings_on(kafka), accounts=accounts, keep=None, watch=lambda _done, _total: None)


async def command(kafka: KafkaSettings, folder: Path, *arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of `tradewind audit`."""
    config = folder / "tradewind.toml"
    text = CONFIG.format(servers=kafka.bootstrap_servers, prefix=kafka.topic_prefix, times=TIMES, group=group_of(kafka))
    config.write_text(text + "".join(ACCOUNT.format(name=name) for name in ACCOUNTS))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cli.main", "audit", "--config", str(config), *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "HOOK": "of-no-use-in-this-test"},
    )
    out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


def counted(report: Report) -> dict[str, int]:
    return {kind: number for kind, number in report.counts.items() if number}


async def commit_all(pipeline: Pipeline) -> None:
    """Commit as if a worker had consumed the whole log."""
    partitions = await pipeline.reader.partitions(pipeline.kafka.topic_prefix + WEBHOOKS.name)
    async with committing(pipeline.kafka, group_of(pipeline.kafka)) as commit:
        assert await commit({partition: await pipeline.reader.end(partition) for partition in partitions})


async def caught_up(pipeline: Pipeline) -> bool:
    committed = await committed_offsets(pipeline.kafka, group_of(pipeline.kafka))
    partitions = await pipeline.reader.partitions(pipeline.kafka.topic_prefix + WEBHOOKS.name)
    ends = {partition: await pipeline.reader.end(partition) for partition in partitions}
    return all(committed.get(partition) == end for partition, end in ends.items() if end)


async def worked(pipeline: Pipeline) -> None:
    """Let a worker consolidate a small log with repeats, rules, filtered and unreadable elements, to the end."""
    async with working(pipeline.kafka):
        await pipeline.rules("acme", "bolt")
        for number in range(6):
            await pipeline.post("acme", job(number % 3, userId=number), job(7), message_id=f"a{number % 5}")
            await pipeline.post("bolt", job(number, changeset={"field": "status", "newValue": number}))
        await pipeline.post("acme", 17, job(8))
        await pipeline.raw(b"acme", b"\xff", ("trace", b"\x00"))
        await pipeline.rules("bolt", keep=False)
        await pipeline.post("bolt", job(9))
        await until(pipeline.complete)
        await until(lambda: caught_up(pipeline))


async def send(pipeline: Pipeline, topic: str, record: LogRecord, **changed: Any) -> None:
    """Append a copy of a record with something else in it, to the same partition."""
    sent = await pipeline.producer.send(
        pipeline.kafka.topic_prefix + topic,
        key=record.key,
        value=changed.get("value", record.value or b""),
        headers=changed.get("headers", record.headers),
        partition=record.partition,
    )
    await sent


async def test_what_a_worker_wrote_agrees_until_somebody_tampers_with_it(kafka: KafkaSettings, tmp_path: Path) -> None:
    async with pipeline_on(kafka) as pipeline:
        await worked(pipeline)
        changes = await pipeline.check(repeats=True)
        code, out, err = await command(kafka, tmp_path)
        assert (code, err) == (0, "")
        unique = len({record.value for record in changes})
        assert out.splitlines()[-1] == f"audit: 2 partitions, 22 notifications, {unique} changes: all there, all equal"
        assert any(line.split()[:2] == ["acme", "15"] for line in out.splitlines())
        figures = (await audited(kafka)).figures
        balance = {
            name: (one.notifications, one.duplicates, one.filtered, one.quarantined, one.still_open)
            for name, one in figures.items()
        }
        assert balance == {"acme": (15, 2, 0, 2, 0), "bolt": (7, 0, 1, 0, 0)}

        (bolt,) = [record for record in changes if record.key == b"bolt/job/4"]
        await send(pipeline, CHANGES.name, bolt)
        report = await audited(kafka)
        assert report.agrees
        assert report.total("repeats") == len(changes) - unique + 1

        told = json.loads(bolt.value or b"")
        place = told["sources"][0]["offset"]
        await send(pipeline, CHANGES.name, bolt, value=(bolt.value or b"") + b" ")
        code, out, _ = await command(kafka, tmp_path)
        assert code == 1
        where = (
            f"{kafka.topic_prefix}servicetrade.webhooks[{await home(pipeline, b'bolt')}] offset {place} (bolt job/4)"
        )
        assert out.splitlines()[-1] == f"audit: 1 wrong: first at {where}"
        assert f"change {told['id']}, {where}, stands at" in out
        assert "value differs" in out

        headers = tuple((name, b"0" * 32 if name == "ce_id" else value) for name, value in bolt.headers)
        await send(pipeline, CHANGES.name, bolt, headers=headers)
        letter = (await pipeline.all(DEADLETTERS.name))[0]
        await send(pipeline, DEADLETTERS.name, letter, value=b"another")
        copy = (await pipeline.all(RULES.name))[0]
        await send(pipeline, RULES.name, copy, value=b"{}")
        code, out, _ = await command(kafka, tmp_path, "--json")
        assert code == 1
        shown = json.loads(out)
        assert {kind: number for kind, number in shown["counts"].items() if number} == {"extra": 2, "wrong": 2}
        kinds = {(difference["kind"], difference["what"]) for difference in shown["differences"]}
        assert kinds == {("wrong", "change"), ("extra", "change"), ("wrong", "dead letter"), ("extra", "rules")}
        (extra,) = [one for one in shown["differences"] if (one["kind"], one["what"]) == ("extra", "change")]
        assert (extra["id"], extra["account"], extra["subject"]) == ("0" * 32, "bolt", "job/4")

        assert counted(await audited(kafka, accounts=["bolt"]))["extra"] >= 1
        assert (await audited(kafka, accounts=["crew"])).agrees


async def home(pipeline: Pipeline, key: bytes) -> int:
    """The account's partition of the raw log."""
    return next(record.partition for record in await pipeline.all(WEBHOOKS.name) if record.key == key)


async def test_what_was_committed_but_never_written_is_missing_with_its_place(
    kafka: KafkaSettings, tmp_path: Path
) -> None:
    async with pipeline_on(kafka) as pipeline:
        await pipeline.rules("acme")
        await pipeline.post("acme", job(5))
        await pipeline.post("acme", None)
        await pipeline.rules("acme")  # closes the window
        await commit_all(pipeline)
        code, out, _ = await command(kafka, tmp_path)
        assert code == 1
        log = f"{kafka.topic_prefix}servicetrade.webhooks[{await home(pipeline, b'acme')}]"
        assert out.splitlines()[-1] == f"audit: 4 missing: first at {log} offset 0 (acme)"
        differences = (await audited(kafka)).differences
        assert [(one.what, one.offset, one.subject) for one in differences] == [
            ("rules", 0, ""),
            ("change", 1, "job/5"),
            ("dead letter", 2, ""),
            ("rules", 3, ""),
        ]
        assert all(line in out for line in (f"{log} offset 1 (acme job/5)", f"dead letter, {log} offset 2 (acme)"))


async def test_what_is_not_committed_need_not_be_there_yet(kafka: KafkaSettings, tmp_path: Path) -> None:
    async with pipeline_on(kafka) as pipeline:
        await pipeline.post("acme", job(5))
        await pipeline.rules("acme")
        code, out, _ = await command(kafka, tmp_path)
        assert code == 0
        assert "has committed nothing" in out.splitlines()[-1]
        assert "(2 ahead of the commit)" in out.splitlines()[-1]


async def test_an_empty_log_agrees_with_empty_topics_and_not_with_others(kafka: KafkaSettings, tmp_path: Path) -> None:
    async with pipeline_on(kafka) as pipeline:
        assert (await command(kafka, tmp_path))[0] == 0
        await send(pipeline, CHANGES.name, LogRecord(offset=0, timestamp=0, key=b"acme/job/1", value=b"{}"))
        code, out, _ = await command(kafka, tmp_path)
        assert code == 1
        assert out.splitlines()[-1].endswith("servicetrade.changes[0] offset 0 (acme job/1)")


async def test_of_a_log_cut_by_retention_only_what_can_be_known_is_judged(kafka: KafkaSettings) -> None:
    async with pipeline_on(kafka) as pipeline:
        await worked(pipeline)
        number = await home(pipeline, b"bolt")
        partition = Partition(kafka.topic_prefix + WEBHOOKS.name, number)
        await removed_before(kafka, partition, 3)
        report = await audited(kafka, accounts=["bolt"])
        assert report.agrees, report.differences
        # The whole log is younger than what a state depends on: nothing but the copies of rules is left to judge.
        assert report.total("expected", "change") == 0
        changes = {
            record.value for record in await pipeline.all(CHANGES.name) if (record.key or b"").startswith(b"bolt")
        }
        assert report.total("unjudged", "change") >= len(changes)
        copies = [copy for copy in values(await pipeline.all(RULES.name)) if copy["account"] == "bolt"]
        assert report.total("found", "rules") + report.total("unjudged", "rules") == len(copies)
        assert "not judged" in report.verdict()


async def test_what_retention_removed_from_the_changes_first_is_not_missing(kafka: KafkaSettings) -> None:
    async with pipeline_on(kafka) as pipeline:
        await worked(pipeline)
        partitions = await pipeline.reader.partitions(kafka.topic_prefix + CHANGES.name)
        for keep in (1, 0):
            for partition in partitions:
                await removed_before(kafka, partition, await pipeline.reader.end(partition) - keep)
            report = await audited(kafka)
            assert report.agrees, report.differences
            assert report.total("found", "change") == keep * len(partitions)
            unjudged = report.total("unjudged", "change")
            assert unjudged == report.total("expected", "change") - keep * len(partitions) > 0


async def test_rules_from_before_the_beginning_of_the_log_are_in_force_there(kafka: KafkaSettings) -> None:
    async with pipeline_on(kafka, partitions=1) as pipeline:
        await pipeline.rules("acme", keep=False)
        rules = await pipeline.records(Partition(kafka.topic_prefix + WEBHOOKS.name, 0))
        await commit_all(pipeline)
        report = await audited(kafka)
        assert counted(report) == {"missing": 1}
        entry = {
            "account": "acme",
            "version": "v",
            "topic": kafka.topic_prefix + WEBHOOKS.name,
            "partition": 0,
            "offset": 0,
            "rules": json.loads(rules[0].value or b""),
        }
        await send(
            pipeline, RULES.name, LogRecord(offset=0, timestamp=0, key=b"acme", value=json.dumps(entry).encode())
        )
        await pipeline.post("acme", job(1))
        await removed_before(kafka, Partition(kafka.topic_prefix + WEBHOOKS.name, 0), 1)
        await commit_all(pipeline)
        assert (await audited(kafka)).figures["acme"].filtered == 1
        entry["rules"] = {"default": 7}
        await send(
            pipeline, RULES.name, LogRecord(offset=0, timestamp=0, key=b"acme", value=json.dumps(entry).encode())
        )
        await removed_before(kafka, Partition(kafka.topic_prefix + RULES.name, 0), 1)
        with pytest.raises(LogGapError, match=r"rules in force where .* begins cannot be read"):
            await audited(kafka)


async def test_more_committed_than_the_log_holds_and_an_unknown_account_are_refused(
    kafka: KafkaSettings, tmp_path: Path
) -> None:
    async with pipeline_on(kafka, partitions=1) as pipeline:
        await pipeline.raw(b"elsewhere", b"", (CONTROL_HEADER, b"tick"))
        with pytest.raises(SettingsError, match="account nobody is neither"):
            await audited(kafka, accounts=["nobody"])
        assert (await audited(kafka, accounts=["elsewhere"])).agrees
        async with committing(kafka, group_of(kafka)) as commit:
            assert await commit({Partition(kafka.topic_prefix + WEBHOOKS.name, 0): 9})
        code, _, err = await command(kafka, tmp_path)
        assert code == 2
        assert "ends at 1, but 9 is committed" in err
