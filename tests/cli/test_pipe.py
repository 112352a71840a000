"""A reader of stdout that has enough, as `| head`: every command ends quietly."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cli.pipe import nobody_reads, while_somebody_reads
from runtime.kafka.topics import ensure_topics
from runtime.settings import KafkaSettings
from tests.cli.test_replay import FEWER, RANGE, configure
from tests.replay.history import History, history_on

pytestmark = pytest.mark.anyio


@pytest.fixture
async def office(kafka: KafkaSettings) -> AsyncIterator[History]:
    async with history_on(kafka) as opened:
        await ensure_topics(kafka)
        await opened.office("acme", seconds=20)
        await opened.live()
        yield opened


def closed_pipe() -> int:
    """The end for writing of a pipe that nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    return writing


def ended(*arguments: str) -> tuple[int, str]:
    """Run a command whose stdout nobody reads; its exit code, and what it said on stderr."""
    stdout = closed_pipe()
    try:
        command = [sys.executable, "-m", "cli.main", *arguments]
        done = subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=120, check=False)
    finally:
        os.close(stdout)
    return done.returncode, done.stderr


@pytest.mark.usefixtures("office")
async def test_nobody_who_reads_is_no_failure_of_any_command(kafka: KafkaSettings, tmp_path: Path) -> None:
    config = str(configure(tmp_path, kafka))
    (tmp_path / "rules.toml").write_text(FEWER)
    story = ("story", "job/1", "--account", "acme")
    diff = ("replay", *RANGE, "--into", "diff", "--rules", str(tmp_path / "rules.toml"))
    for command in (
        story,
        (*story, "--json"),
        ("rules", "history", "--json"),
        ("rules", "show"),
        diff,
        (*diff, "--json"),
    ):
        code, said = await asyncio.to_thread(ended, *command, "--config", config)
        assert (code, "Traceback" in said, "Broken" in said) == (0, False, False), (command, said)


def test_a_broken_pipe_of_something_else_is_raised() -> None:
    assert not nobody_reads()
    with pytest.raises(BrokenPipeError), while_somebody_reads():
        raise BrokenPipeError
