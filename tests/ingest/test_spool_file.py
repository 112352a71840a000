"""The spool's file: what a commit returned for is there afterwards, in order, whatever happens to the process."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest.spool_file import SHRINK_BYTES, SpooledWebhook, SpoolFile
from schemas.errors import SpoolError


@pytest.fixture
def file(tmp_path: Path) -> Iterator[SpoolFile]:
    with closing(SpoolFile.claim(tmp_path / "spool")) as claimed:
        yield claimed


def webhook(number: int, partition: int = 0, body: bytes | None = None) -> SpooledWebhook:
    return SpooledWebhook(
        number, partition, "acme", f"receipt {number}".encode(), 1_000 + number, body or b"body %d" % number
    )


def everything(file: SpoolFile, partition: int = 0) -> list[SpooledWebhook]:
    return file.read(partition, after=0, max_rows=10_000, max_bytes=2**30)


def test_what_is_committed_is_read_in_order_with_every_byte(file: SpoolFile) -> None:
    rows = [webhook(number, number % 2, bytes(range(256)) * number) for number in range(1, 20)]
    assert file.commit(rows, {}) == 1_001
    assert everything(file, 0) == rows[1::2]
    assert everything(file, 1) == rows[::2]
    found = file.contents()
    assert (found.waiting, found.last_id) == ({0: 9, 1: 10}, 19)
    assert found.body_bytes == sum(len(row.body) for row in rows)


def test_a_read_stops_at_its_bounds_but_gives_at_least_one(file: SpoolFile) -> None:
    file.commit([webhook(number, body=b"x" * 100) for number in range(1, 6)], {})
    assert [row.id for row in file.read(0, after=0, max_rows=10, max_bytes=1)] == [1]
    assert [row.id for row in file.read(0, after=1, max_rows=10, max_bytes=150)] == [2, 3]
    assert [row.id for row in file.read(0, after=2, max_rows=2, max_bytes=10_000)] == [3, 4]
    assert file.read(0, after=5, max_rows=10, max_bytes=10) == []


def test_draining_removes_up_to_an_id_of_a_partition_and_leaves_what_is_parked(file: SpoolFile) -> None:
    file.commit([webhook(number, number % 2) for number in range(1, 9)], {})
    assert file.commit([], {0: 6}, parked=[4]) == 1_001
    assert [row.id for row in everything(file, 0)] == [8]
    assert [row.id for row in everything(file, 1)] == [1, 3, 5, 7]
    assert file.commit([], {0: 8, 1: 7}) is None
    assert file.contents().body_bytes == len(b"body 4")


def test_a_commit_that_fails_changes_nothing(file: SpoolFile) -> None:
    file.commit([webhook(1), webhook(2)], {})
    with pytest.raises(sqlite3.IntegrityError):
        file.commit([webhook(3), webhook(2)], {0: 1})
    assert [row.id for row in everything(file)] == [1, 2]


def test_two_processes_never_share_a_file_and_the_next_takes_what_nobody_holds(tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    first, second = SpoolFile.claim(folder), SpoolFile.claim(folder)
    first.commit([webhook(1), webhook(2)], {})
    second.commit([webhook(1, body=b"of the second")], {}, parked=[1])
    second.commit([webhook(2, body=b"of the second too")], {})
    second.close()
    with closing(SpoolFile.claim(folder)) as third:
        assert [row.body for row in everything(third)] == [b"of the second", b"of the second too"]
        first.close()
        with closing(SpoolFile.claim(folder)) as fourth:
            assert [row.body for row in everything(fourth)] == [b"body 1", b"body 2"]
    with closing(SpoolFile.claim(folder)) as last:
        bodies = {row.body for row in everything(last)}
        assert bodies == {b"body 1", b"body 2", b"of the second", b"of the second too"}
        assert sorted(path.suffix for path in folder.iterdir()) == [".db", ".db-wal", ".lock", ".lock"]


def test_the_bodies_are_for_the_owner_only(tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    with closing(SpoolFile.claim(folder)) as claimed:
        claimed.commit([webhook(1)], {})
        assert folder.stat().st_mode & 0o077 == 0
        assert [path.name for path in folder.iterdir() if path.stat().st_mode & 0o077] == []


def test_a_folder_that_cannot_be_used_is_told_with_its_key(tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("a file")
    with pytest.raises(SpoolError, match=r"ingest\.spool\.folder: .*spool cannot be used"):
        SpoolFile.claim(tmp_path / "spool")


def test_an_empty_file_gives_the_disk_its_space_back_and_goes_on(file: SpoolFile, tmp_path: Path) -> None:
    (path,) = (tmp_path / "spool").glob("*.db")
    file.commit([webhook(1, body=os.urandom(SHRINK_BYTES + 1))], {})
    file.commit([], {0: 1})
    file.shrink()
    held = sum(each.stat().st_size for each in path.parent.iterdir())
    assert held < SHRINK_BYTES / 10
    file.commit([webhook(2)], {})
    assert [row.id for row in everything(file)] == [2]


KILLED = """
import os, sys
from pathlib import Path
from ingest.spool_file import SpooledWebhook, SpoolFile
file = SpoolFile.claim(Path(sys.argv[1]))
number = file.contents().last_id
while True:
    rows = [SpooledWebhook(number + i, 0, "acme", b"r", 1, os.urandom(3000)) for i in range(1, 8)]
    file.commit(rows, {0: number - 20} if number % 3 == 0 else {})
    number += 7
    print(number, flush=True)
"""


def test_what_a_killed_process_had_committed_is_there(tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    told = 0
    for commits in (1, 13, 40):
        with subprocess.Popen(
            [sys.executable, "-c", KILLED, str(folder)], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            for _ in range(commits):
                told = int(process.stdout.readline())
            process.send_signal(signal.SIGKILL)
            rest = process.stdout.read().split()
        told = int(rest[-1]) if rest else told
        with closing(SpoolFile.claim(folder)) as after:
            ids = [row.id for row in everything(after)]
            # One more commit may have been on its way.
            assert ids[-1] in (told, told + 7)
            assert ids == list(range(ids[0], ids[-1] + 1))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["commit", "reopen"]),
            st.lists(st.integers(0, 2), max_size=6),
            st.dictionaries(st.integers(0, 2), st.integers(0, 40), max_size=2),
            st.sets(st.integers(1, 40), max_size=2),
        ),
        max_size=12,
    )
)
def test_it_holds_what_a_list_in_memory_would(
    tmp_path_factory: pytest.TempPathFactory,
    steps: list[tuple[str, list[int], dict[int, int], set[int]]],
) -> None:
    folder = tmp_path_factory.mktemp("spool")
    model: dict[int, SpooledWebhook] = {}
    parked: set[int] = set()
    file = SpoolFile.claim(folder)
    last_id = 0
    try:
        for what, partitions, drained, to_park in steps:
            if what == "reopen":
                file.close()
                file = SpoolFile.claim(folder)
                parked = set()
                continue
            rows = [webhook(last_id + number, partition) for number, partition in enumerate(partitions, start=1)]
            last_id += len(rows)
            file.commit(rows, drained, to_park)
            model |= {row.id: row for row in rows}
            parked |= to_park & set(model)
            gone = {
                row.id for row in model.values() if row.id not in parked and row.id <= drained.get(row.partition, -1)
            }
            model = {id_: row for id_, row in model.items() if id_ not in gone}
            for partition in range(3):
                waiting = [row for row in model.values() if row.partition == partition and row.id not in parked]
                assert everything(file, partition) == waiting
            assert file.contents().body_bytes == sum(len(row.body) for row in model.values())
    finally:
        file.close()
