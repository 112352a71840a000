"""The command line as a person uses it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.fernet import Fernet

from runtime.broker_config import free_port

CONFIG = """\
[kafka]
bootstrap_servers = "127.0.0.1:1"
[store]
url = "sqlite+aiosqlite:///data.db"
key = { env = "HOME" }
[accounts.acme]
username = "api"
password = { env = "HOME" }
hook_secret = { env = "HOOK" }
"""
ENVIRONMENT = {**os.environ, "HOOK": "winter-7f3a-0123456"}


def tradewind(*arguments: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cli.main", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=folder, check=False, env=ENVIRONMENT)


def test_help_lists_the_commands() -> None:
    shown = tradewind("--help")
    assert shown.returncode == 0
    for command in ("ingest", "processors", "sink", "rules", "topics", "broker", "demo", "key"):
        assert command in shown.stdout


@pytest.mark.parametrize("arguments", [("ingest",), ("processors",), ("sink", "mirror"), ("rules", "apply")])
def test_a_command_explains_itself(arguments: tuple[str, ...]) -> None:
    shown = tradewind(*arguments, "--help")
    assert shown.returncode == 0
    assert "--config" in shown.stdout


def test_the_help_of_ingest_does_not_load_faust() -> None:
    code = "import sys; from cli.main import app; import ingest.main; sys.exit('faust' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0


def test_a_new_key_is_a_fernet_key() -> None:
    printed = tradewind("key")
    assert Fernet(printed.stdout.strip())
    assert printed.stdout != tradewind("key").stdout


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "cannot be read"),
        (CONFIG.replace("username", "user_name"), "did you mean username?"),
        ("[", "not valid TOML"),
    ],
)
def test_a_wrong_configuration_is_one_sentence_on_stderr_and_exit_code_2(
    tmp_path: Path, text: str | None, told: str
) -> None:
    path = tmp_path / "my[red]config.toml"
    if text is not None:
        path.write_text(text)
    ended = tradewind("ingest", "--config", str(path))
    sentence = " ".join(ended.stderr.split())
    assert (ended.returncode, ended.stdout) == (2, "")
    assert sentence.startswith("tradewind: ")
    assert told in sentence
    assert "my[red]config.toml" in sentence
    assert "Traceback" not in sentence


def test_an_unknown_command_is_refused() -> None:
    ended = tradewind("nonsense")
    assert ended.returncode != 0
    assert "nonsense" in ended.stdout + ended.stderr


def test_a_broker_that_is_not_there_is_told_in_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "tradewind.toml"
    path.write_text(CONFIG)
    ended = tradewind("topics", "--config", str(path))
    assert ended.returncode == 1
    assert "tradewind: Kafka: " in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_worker_waits_for_a_broker_that_is_not_there_and_can_be_stopped_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "tradewind.toml"
    path.write_text(CONFIG)
    port = free_port()
    arguments = [sys.executable, "-m", "cli.main", "processors", "--config", str(path), f"--ops-port={port}"]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(arguments, env=ENVIRONMENT, **pipes) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "broker.unreachable" in line:
                break
        assert httpx.get(f"http://127.0.0.1:{port}/livez").status_code == 200
        ready = httpx.get(f"http://127.0.0.1:{port}/readyz")
        assert (ready.status_code, ready.json()) == (503, {"started": False})
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, "")
    assert "process.stopped" in out


def test_a_session_command_on_a_store_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    config = CONFIG.replace('{ env = "HOME" }', '{ file = "key" }', 1)
    (tmp_path / "tradewind.toml").write_text(config)
    (tmp_path / "key").write_text(Fernet.generate_key().decode())
    shown = tradewind("session", "list", folder=tmp_path)
    assert (shown.returncode, shown.stdout) == (2, "")
    assert shown.stderr == f"tradewind: store.url: {tmp_path / 'data.db'} is not there\n"
    assert not (tmp_path / "data.db").exists()
