"""`tradewind rules apply` while webhooks come in and workers are killed: what comes out is what the oracle says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from cli.rules import rules_app
from runtime.settings import KafkaSettings
from schemas.encoding import encode
from schemas.topics import CHANGES, RULES, WEBHOOKS
from tests.oracle import expect
from tests.processors.pipeline import (
    ACCOUNT,
    ACCOUNTS,
    CONFIG,
    TIMES,
    Pipeline,
    group_of,
    job,
    pipeline_on,
    until,
    values,
    worker_process,
)

pytestmark = pytest.mark.anyio

ROUNDS = (
    "[defaults]\nquiet_s = 0.3\nceiling_s = 0.9",
    "[defaults]\nquiet_s = 0.2\nceiling_s = 0.9\nignore_users = [1]\n[accounts.bolt]\nquiet_s = 0.4",
    "[defaults]\nquiet_s = 0.3\nceiling_s = 1.5\nactions = ['updated']\n[accounts.crew.types.job]\nkeep = false",
    "[defaults]\nquiet_s = 0.3\nceiling_s = 0.9",
)


@asynccontextmanager
async def load(pipeline: Pipeline) -> AsyncIterator[None]:
    """Hot entities of every account, in steps too small for their windows to close by silence."""

    async def post() -> None:
        for number in range(1_000_000):
            for account in ACCOUNTS:
                elements = [job(number % 3, userId=number % 4), job(7, action=("updated", "created")[number % 2])]
                await pipeline.post(account, *elements, message_id=f"{account}-{number - number % 5 // 4}")
            await asyncio.sleep(0.1)

    task = asyncio.create_task(post())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def apply(folder: Path, kafka: KafkaSettings, text: str) -> None:
    """As a person does it."""
    head = CONFIG.format(servers=kafka.bootstrap_servers, prefix=kafka.topic_prefix, times=TIMES, group=group_of(kafka))
    accounts = "".join(ACCOUNT.format(name=name) for name in ACCOUNTS).replace('env = "HOOK"', 'file = "hook"')
    (folder / "hook").write_text("of-no-use-in-this-test")
    (folder / "apply.toml").write_text(head + accounts)
    (folder / "rules.toml").write_text(text)
    arguments = ["apply", str(folder / "rules.toml"), "--config", str(folder / "apply.toml")]
    assert await asyncio.to_thread(rules_app, arguments, result_action="return_value") == 0


async def test_rules_applied_under_load_with_kills_hold_from_their_position_on_for_every_reader(
    kafka: KafkaSettings, tmp_path: Path
) -> None:
    async with (
        pipeline_on(kafka) as pipeline,
        worker_process(kafka, tmp_path, "one") as first,
        worker_process(kafka, tmp_path, "two"),
    ):

        async def copied(number: int) -> bool:
            return len({(one["partition"], one["offset"]) for one in values(await pipeline.all(RULES.name))}) >= number

        async with load(pipeline):
            await apply(tmp_path, kafka, ROUNDS[0])
            await until(lambda: copied(len(ACCOUNTS)))
            await apply(tmp_path, kafka, ROUNDS[1])
            first.kill()
            await first.wait()
            await apply(tmp_path, kafka, ROUNDS[2])
            await apply(tmp_path, kafka, ROUNDS[3])
            await until(lambda: copied(4 * len(ACCOUNTS)))
        await until(pipeline.complete, deadline_s=60)
        changes = await pipeline.check(repeats=True)
        wanted: set[bytes] = set()
        closed_by = set()
        for partition in await pipeline.reader.partitions(kafka.topic_prefix + WEBHOOKS.name):
            records = await pipeline.records(partition)
            said = expect(records, topic=partition.topic, partition=partition.number, epoch=1, times=TIMES)
            wanted |= {encode(change) for change in said.changes}
            closed_by |= {change.closed_by for change in said.changes}
        assert {change.value for change in changes} == wanted
        assert "rules" in closed_by
        # Changes fell under most of the versions, which are one per account and round, but for what came before any.
        versions = {(one["account"], one["rules_version"]) for one in values(await pipeline.all(CHANGES.name))}
        assert len(versions) > 2 * len(ACCOUNTS)
