"""What the README tells its reader to do works."""

from __future__ import annotations

import asyncio
import re
import shlex
import subprocess
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from runtime.cli import app
from runtime.kafka import Producer
from runtime.kafka.topics import ensure_topics
from runtime.settings import KafkaSettings
from schemas.change import cloud_event_headers
from schemas.encoding import encode
from schemas.topics import CHANGES
from tests.schemas.test_generated import CHANGE

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


def commands(tool: str) -> list[list[str]]:
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    words = [shlex.split(line, comments=True) for line in lines]
    return [line[1:] for line in words if line and line[0].endswith(tool)]


@pytest.mark.anyio
async def test_the_consumer_of_the_readme_follows_the_changes(
    kafka: KafkaSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    (source,) = blocks("python")
    assert len([line for line in source.splitlines() if line.strip()]) <= 12
    names: dict[str, Any] = {}
    exec(compile(source, "README.md", "exec"), names)  # noqa: S102 (that is the point)
    follow: Callable[..., Coroutine[Any, Any, None]] = names["follow"]
    await ensure_topics(kafka)
    topic = kafka.topic_prefix + CHANGES.name
    async with Producer.open(kafka, client_id="test") as producer:
        await producer.send_all([(topic, CHANGE.key.encode(), encode(CHANGE), cloud_event_headers(CHANGE))])
    following = asyncio.create_task(follow(kafka.bootstrap_servers, topic))
    printed = ""
    async with asyncio.timeout(30):
        while "\n" not in printed:
            await asyncio.sleep(0.05)
            printed += capsys.readouterr().out
    following.cancel()
    with pytest.raises(asyncio.CancelledError):
        await following
    assert printed == f"com.servicetrade.job.updated {CHANGE.key} {encode(CHANGE).decode()}\n"


@pytest.mark.parametrize("arguments", commands("make"), ids=" ".join)
def test_every_make_target_exists(arguments: list[str]) -> None:
    subprocess.run(["make", "--dry-run", "--silent", *arguments], cwd=ROOT, check=True, capture_output=True)


@pytest.mark.parametrize("arguments", commands("tradewind"), ids=" ".join)
def test_every_tradewind_command_exists(arguments: list[str]) -> None:
    command, _, unused, *_ = app.parse_known_args(arguments)
    assert callable(command)
    assert unused == []


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)#]+)\)", TEXT))))
def test_every_link_leads_somewhere(target: str) -> None:
    assert (ROOT / target).exists()


def test_the_map_names_every_folder_of_the_product() -> None:
    folders = {path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith((".", "__"))}
    assert {name for name in folders if f"[{name}/]({name})" not in TEXT} == set()
