"""A process of the product as a supervisor sees it: signals, the drain, the exit code, the last words."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest

PROGRAM = """
import asyncio, sys
from runtime.process import run_process
async def main(stop):
    {body}
sys.exit(run_process("test", "info", main))
"""


def start(body: str) -> subprocess.Popen[str]:
    code = PROGRAM.format(body=body)
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def events(output: str) -> list[str]:
    return [json.loads(line)["event"] for line in output.splitlines()]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_the_process_finish_and_exit_with_0(number: signal.Signals) -> None:
    with start('print(\'{"event": "up"}\', flush=True); await stop.wait(); await asyncio.sleep(0.01)') as process:
        assert process.stdout is not None
        lines = [process.stdout.readline(), process.stdout.readline()]
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, "")
    assert events("".join(lines) + out) == ["process.started", "up", "process.stopping", "process.stopped"]


def test_a_main_that_returns_ends_the_process_with_0() -> None:
    with start("return") as process:
        out, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert events(out) == ["process.started", "process.stopped"]


def test_a_crash_is_one_line_with_the_traceback_and_exit_code_1() -> None:
    with start("raise ValueError('broken')") as process:
        out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (1, "")
    last = json.loads(out.splitlines()[-1])
    assert (last["event"], last["error"]) == ("process.crashed", "ValueError('broken')")
    assert "Traceback" in last["traceback"]


def test_a_crash_while_draining_is_a_crash() -> None:
    with start("print('{\"event\": \"up\"}', flush=True); await stop.wait(); raise ValueError('late')") as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=30)
    assert process.returncode == 1
    assert events(out)[-1] == "process.crashed"


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        ("SettingsError('store.key: not a Fernet key')", "store.key: not a Fernet key"),
        ("Refused('Kafka refuses the user')", "Kafka refuses the user"),
        ("ExceptionGroup('of tasks', [SettingsError('a'), ExceptionGroup('', [Refused('b'), Refused('a')])])", "a; b"),
    ],
)
def test_a_configuration_that_is_refused_is_one_sentence_without_a_traceback_and_exit_code_2(
    raised: str, told: str
) -> None:
    body = (
        "from schemas.errors import SettingsError\n"
        "    class Refused(SettingsError, ConnectionError):\n"
        "        pass\n"
        f"    raise {raised}"
    )
    with start(body) as process:
        out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (2, "")
    last = json.loads(out.splitlines()[-1])
    assert (last["event"], last["level"], last["error"]) == ("process.refused", "error", told)
    assert "traceback" not in last


def test_a_refusal_together_with_any_other_error_is_a_crash() -> None:
    body = (
        "from schemas.errors import SettingsError\n"
        "    raise ExceptionGroup('of tasks', [SettingsError('a'), ValueError('b')])"
    )
    with start(body) as process:
        out, _ = process.communicate(timeout=30)
    assert process.returncode == 1
    assert events(out)[-1] == "process.crashed"
