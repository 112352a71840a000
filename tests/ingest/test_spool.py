"""The spool: many webhooks share a commit, drained ones go, and a disk that is full for a while is no end."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ingest.spool import Spool
from runtime.settings import SpoolSettings
from schemas.errors import SpoolError
from tests.ingest.running import until_true

pytestmark = pytest.mark.anyio


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """No file of this process may grow beyond the size: SQLite sees what it sees on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def add(spool: Spool, partition: int, *bodies: bytes) -> int:
    last_id, written = spool.add(partition, [("acme", b"r", body) for body in bodies])
    await written
    return last_id


async def test_what_is_drained_while_a_commit_is_under_way_is_removed_all_the_same(tmp_path: Path) -> None:
    async with Spool.open(SpoolSettings(folder=tmp_path)) as spool:
        for turns in range(30):
            ids = [await add(spool, partition, b"x") for partition in range(3)]
            for partition, last_id in enumerate(ids):
                spool.drained(partition, up_to=last_id, count=1, body_bytes=1)
                for _ in range(turns):
                    await asyncio.sleep(0)
            for partition in range(3):
                async with asyncio.timeout(30):
                    while await spool.read(partition, after=0):  # noqa: ASYNC110 - the disk tells nobody
                        await asyncio.sleep(0.001)
    async with Spool.open(SpoolSettings(folder=tmp_path)) as spool:
        assert not any(spool.waiting.values())


async def test_what_was_drained_just_before_the_end_does_not_come_again(tmp_path: Path) -> None:
    async with Spool.open(SpoolSettings(folder=tmp_path)) as spool:
        last_id = await add(spool, 0, b"x", b"y")
        spool.drained(0, up_to=last_id - 1, count=1, body_bytes=1)
    async with Spool.open(SpoolSettings(folder=tmp_path)) as spool:
        assert [row.body for row in await spool.read(0, after=0)] == [b"y"]


async def test_a_full_disk_refuses_and_is_told_and_when_there_is_space_again_all_is_well_by_itself(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with Spool.open(SpoolSettings(folder=tmp_path)) as spool:
        kept = await add(spool, 0, b"kept" * 1_000)
        with full_disk(200_000):
            with pytest.raises(SpoolError, match="the spool's disk"):
                await add(spool, 0, b"x" * 1_000_000)
            assert spool.ready() == {"accepting": False}
            assert [row.id for row in await spool.read(0, after=0)] == [kept]
        await until_true(spool.has_room)
        later = await add(spool, 0, b"later")
        assert [row.id for row in await spool.read(0, after=0)] == [kept, later]
        assert spool.waiting == {0: 2}
    assert [record.getMessage() for record in caplog.records] == ["ingest.spool_failed"]


async def test_a_spool_that_is_all_drained_is_made_anew_on_a_disk_that_is_still_full(tmp_path: Path) -> None:
    async with Spool.open(SpoolSettings(folder=tmp_path)) as spool:
        last_id = await add(spool, 0, *[b"x" * 50_000] * 8)
        (wal,) = tmp_path.glob("*-wal")  # noqa: ASYNC240 - one look at a folder
        with full_disk(wal.stat().st_size):
            with pytest.raises(SpoolError):
                await add(spool, 0, b"y" * 2_000_000)
            spool.drained(0, up_to=last_id, count=8, body_bytes=400_000)
            await until_true(spool.has_room)
            await add(spool, 0, b"goes on")
            assert [row.body for row in await spool.read(0, after=0)] == [b"goes on"]


async def test_bounds_in_bytes_and_age_refuse_and_throw_nothing_away(tmp_path: Path) -> None:
    async with Spool.open(SpoolSettings(folder=tmp_path, max_bytes=10, max_age_s=3_600)) as spool:
        last_id = await add(spool, 0, b"12345678")
        with pytest.raises(SpoolError, match="may hold 10"):
            spool.add(0, [("acme", b"r", b"too much")])
        assert not spool.has_room()
        spool.drained(0, up_to=last_id, count=1, body_bytes=8)
        assert spool.has_room()
    async with Spool.open(SpoolSettings(folder=tmp_path, max_age_s=0.001)) as spool:
        await add(spool, 0, b"old")
        await until_true(lambda: not spool.has_room())
        with pytest.raises(SpoolError, match="waits for more than"):
            spool.add(0, [("acme", b"r", b"new")])
        assert [row.body for row in await spool.read(0, after=0)] == [b"old"]
