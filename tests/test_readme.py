"""What the README tells its reader to do works."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

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


@pytest.mark.parametrize("arguments", [line for line in commands("make") if line], ids=" ".join)
def test_every_make_target_exists(arguments: list[str]) -> None:
    subprocess.run(["make", "--dry-run", "--silent", *arguments], cwd=ROOT, check=True, capture_output=True)


def test_the_commands_for_a_real_account_work_as_written(kafka: KafkaSettings, tmp_path: Path) -> None:
    (block,) = [block for block in blocks("sh") if "tradewind up" in block]
    shutil.copy(ROOT / "tradewind.example.toml", tmp_path)
    env = {**os.environ, "PATH": f"{ROOT / '.venv' / 'bin'}:{os.environ['PATH']}"}
    account = "main:integration@example.com:the password"
    simulator = [sys.executable, "-m", "servicetrade.simulator", f"--port={PORTS['simulator']}", f"--account={account}"]
    running = [subprocess.Popen(simulator, stdout=subprocess.DEVNULL)]
    said = ""
    try:
        wait_until_answered(running[0], PORTS["simulator"], "_control/faults")
        for line in block.splitlines():
            words = shlex.split(line, comments=True)
            if words[0] in {"make", "export"}:  # the tests run on what these give
                continue
            if words == ["tradewind", "up"]:
                running.append(subprocess.Popen(words, cwd=tmp_path, env=env, stdout=subprocess.DEVNULL))
                for name in ("ingest.ops", "processors.ops", "mirror.ops", "command.ops"):
                    wait_until_answered(running[-1], PORTS[name], "readyz")
                continue
            done = subprocess.run(
                ["sh", "-c", line], cwd=tmp_path, env=env, input=b"the password\n", check=False, capture_output=True
            )
            said = (done.stdout + done.stderr).decode()
            assert done.returncode == 0, said
            if words[0] == "cp":
                adapt(tmp_path / "tradewind.toml", kafka)
    finally:
        codes = []
        for process in reversed(running):
            process.terminate()
            codes.append(process.wait(90))
    assert codes == [0, 0]
    assert "FAILED" not in said
    assert re.search(r"\d+ ok", said)


# Below those that free_port chooses from.
PORTS = {
    "ingest": 19080,
    "ingest.ops": 19081,
    "processors.ops": 19082,
    "mirror.ops": 19083,
    "command.ops": 19084,
    "simulator": 19099,
}


def adapt(config: Path, kafka: KafkaSettings) -> None:
    """What a person does with an editor: their broker and proxy, and here a simulator and ports that no test uses."""
    text = re.sub(r'bootstrap_servers = ".*"', f'bootstrap_servers = "{kafka.bootstrap_servers}"', config.read_text())
    text = re.sub(r'#topic_prefix = ""', f'topic_prefix = "{kafka.topic_prefix}"', text)
    text = re.sub(r'#base_url = ".*"', f'base_url = "http://127.0.0.1:{PORTS["simulator"]}"', text)
    text = re.sub(r'#public_url = ".*"', f'public_url = "http://127.0.0.1:{PORTS["ingest"]}"', text)
    for default, port in zip(("8080", "9101", "9102", "9103", "9104"), PORTS.values(), strict=False):
        text, count = re.subn(rf"#((ops_)?port = ){default}\b", rf"\g<1>{port}", text)
        assert count == 1, default
    config.write_text(text)


def wait_until_answered(process: subprocess.Popen[bytes], port: int, path: str) -> None:
    end = time.monotonic() + 60
    while True:
        assert process.poll() is None, process.args
        assert time.monotonic() < end, process.args
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=5) as answer:
                if answer.status == 200:
                    return
        except OSError:  # not listening yet, or 503: not ready
            time.sleep(0.1)


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)#]+)\)", TEXT))))
def test_every_link_leads_somewhere(target: str) -> None:
    assert (ROOT / target).exists()


def test_the_map_names_every_folder_of_the_product() -> None:
    folders = {path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith((".", "__"))}
    assert {name for name in folders if f"[{name}/]({name})" not in TEXT} == set()
