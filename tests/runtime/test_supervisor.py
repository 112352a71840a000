"""The supervisor, with real processes that die, hang and ignore signals."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from runtime.parent_death import start_guard
from runtime.supervisor import ProcessEvent, ProcessSpec, Supervisor
from schemas.errors import SupervisorError

pytestmark = pytest.mark.anyio

SLEEPER = "import time; print('up', flush=True); time.sleep(60)"
STUBBORN = (
    "import signal, subprocess, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    "child = subprocess.Popen(['sleep', '60']); print('up', child.pid, flush=True); time.sleep(60)"
)


def python(name: str, script: str, *args: str, **rest: object) -> ProcessSpec:
    return ProcessSpec(name=name, argv=(sys.executable, "-c", script, *args), **rest)  # type: ignore[arg-type]


async def until(condition: Callable[[], bool], *, deadline_s: float = 20) -> None:
    async with asyncio.timeout(deadline_s):
        while not condition():  # noqa: ASYNC110 - what it waits for lies outside of this process
            await asyncio.sleep(0.01)


def is_gone(pid: int) -> bool:
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return state.stdout.strip()[:1] in ("", "Z")


async def test_a_killed_process_is_started_again_and_counted(tmp_path: Path) -> None:
    events: list[ProcessEvent] = []
    async with Supervisor(log_dir=tmp_path, on_event=events.append) as supervisor:
        await supervisor.start(python("worker", SLEEPER))
        first = supervisor.pid("worker")
        assert first is not None
        os.kill(first, signal.SIGKILL)
        await until(lambda: supervisor.restarts("worker") == 1)
        second = supervisor.pid("worker")

    assert second not in (None, first)
    assert [(e.kind, e.pid, e.status) for e in events] == [
        ("started", first, None),
        ("died", first, -signal.SIGKILL),
        ("restarted", second, None),
        ("stopped", second, -signal.SIGTERM),
    ]


async def test_a_process_that_keeps_dying_is_started_again_and_again(tmp_path: Path) -> None:
    async with Supervisor(log_dir=tmp_path) as supervisor:
        await supervisor.start(python("worker", "raise SystemExit(3)"))
        await until(lambda: supervisor.restarts("worker") >= 3)


async def test_processes_drain_in_the_reverse_order_of_their_start(tmp_path: Path) -> None:
    script = (
        "import signal, sys, time\n"
        "def drain(*_):\n"
        "    time.sleep(0.05); open(sys.argv[2], 'a').write(sys.argv[1]); raise SystemExit\n"
        "signal.signal(signal.SIGTERM, drain)\n"
        "print('up', flush=True)\n"
        "time.sleep(60)\n"
    )
    lines: list[tuple[str, str]] = []
    async with Supervisor(log_dir=tmp_path, on_line=lambda *line: lines.append(line)) as supervisor:
        for name in "abc":
            await supervisor.start(python(name, script, name, str(tmp_path / "order")))
        await until(lambda: len(lines) == 3)

    assert (tmp_path / "order").read_text() == "cba"


async def test_a_process_that_ignores_sigterm_is_killed_with_its_children(tmp_path: Path) -> None:
    events: list[ProcessEvent] = []
    lines: list[str] = []
    async with Supervisor(
        log_dir=tmp_path, on_event=events.append, on_line=lambda _, line: lines.append(line)
    ) as supervisor:
        await supervisor.start(python("stubborn", STUBBORN, stop_deadline_s=0.1))
        await until(lambda: lines != [])
        await supervisor.stop("stubborn")
        assert supervisor.pid("stubborn") is None

    assert events[-1].status == -signal.SIGKILL
    await until(lambda: is_gone(int(lines[0].split()[1])))


async def test_a_kill_ends_all_at_once_and_for_good(tmp_path: Path) -> None:
    events: list[ProcessEvent] = []
    lines: list[str] = []
    async with Supervisor(
        log_dir=tmp_path, on_event=events.append, on_line=lambda _, line: lines.append(line)
    ) as supervisor:
        for name in ("a", "b"):
            await supervisor.start(python(name, STUBBORN, stop_deadline_s=3600))
        assert supervisor.names == ("a", "b")
        await until(lambda: len(lines) == 2)
        draining = asyncio.create_task(supervisor.stop("b"))
        supervisor.kill()
        await draining

    assert {(e.kind, e.name, e.status) for e in events[2:]} == {("stopped", name, -signal.SIGKILL) for name in "ab"}
    assert len(events) == 4
    await until(lambda: all(is_gone(int(line.split()[1])) for line in lines))


async def test_a_death_is_told_after_the_last_words(tmp_path: Path) -> None:
    said: list[str] = []
    async with Supervisor(
        log_dir=tmp_path,
        on_event=lambda event: said.append(event.kind),
        on_line=lambda _, line: said.append(line),
    ) as supervisor:
        await supervisor.start(python("worker", "raise SystemExit('x' * 300_000)"))
        await until(lambda: "restarted" in said)

    first_life = said[: said.index("died")]
    assert first_life[0] == "started"
    assert sum(map(len, first_life[1:])) == 300_000


def test_no_process_outlives_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    script = (
        "import asyncio, pathlib, sys\n"
        "from runtime.supervisor import ProcessSpec, Supervisor\n"
        "async def main():\n"
        "    async with Supervisor(log_dir=pathlib.Path(sys.argv[1])) as supervisor:\n"
        "        await supervisor.start(ProcessSpec(name='child', argv=(sys.executable, '-c', sys.argv[2])))\n"
        "        print(supervisor.pid('child'), flush=True)\n"
        "        await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up'); time.sleep(60)"
    argv = [sys.executable, "-c", script, str(tmp_path), stubborn]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert not is_gone(pid)
        parent.kill()

    asyncio.run(until(lambda: is_gone(pid)))


async def test_a_process_leads_a_session_of_its_own(tmp_path: Path) -> None:
    async with Supervisor(log_dir=tmp_path) as supervisor:
        await supervisor.start(python("worker", SLEEPER))
        pid = supervisor.pid("worker")
        assert pid is not None
        assert os.getsid(pid) == pid


async def test_a_process_starts_once_what_it_depends_on_answers(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    server = ProcessSpec(
        name="server",
        argv=(sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "-d", str(tmp_path), str(port)),
        ready=f"http://127.0.0.1:{port}/",
    )
    events: list[str] = []
    async with Supervisor(
        log_dir=tmp_path, on_event=lambda event: events.append(f"{event.name} {event.kind}")
    ) as supervisor:
        await supervisor.start(server)
        await supervisor.start(python("client", SLEEPER, depends_on=("server",)))
        with socket.create_connection(("127.0.0.1", port)):
            assert events == ["server started", "client started"]


async def test_a_process_that_is_not_ready_in_time_is_told_with_the_end_of_its_log(tmp_path: Path) -> None:
    async def never() -> bool:
        return (tmp_path / "never").exists()

    lines: list[str] = []
    async with Supervisor(log_dir=tmp_path, on_line=lambda _, line: lines.append(line)) as supervisor:
        await supervisor.start(python("worker", SLEEPER, ready=never))
        await until(lambda: lines == ["up"])
        with pytest.raises(SupervisorError, match=r"(?s)worker is not ready after 0\.1 s.*\nup"):
            await supervisor.wait_ready("worker", deadline_s=0.1)


async def test_a_command_that_does_not_exist_is_named_in_its_log(tmp_path: Path) -> None:
    async with Supervisor(log_dir=tmp_path) as supervisor:
        await supervisor.start(ProcessSpec(name="typo", argv=("no-such-command",)))
        await until(lambda: supervisor.restarts("typo") >= 1)

    assert "cannot run no-such-command: No such file" in (tmp_path / "typo.log").read_text()


async def test_output_of_several_lives_is_appended_to_one_log(tmp_path: Path) -> None:
    lines: list[str] = []
    async with Supervisor(log_dir=tmp_path, on_line=lambda _, line: lines.append(line)) as supervisor:
        await supervisor.start(python("worker", "import os; print(os.environ['WORD'], end='')", env={"WORD": "hi"}))
        await until(lambda: len(lines) >= 2)

    assert set(lines) == {"hi"}
    assert (tmp_path / "worker.log").read_text() == "hi" * len(lines)


def test_where_the_kernel_cannot_help_a_guard_ends_the_child_of_a_dead_parent() -> None:
    with (
        subprocess.Popen(["sleep", "60"]) as parent,
        subprocess.Popen(["sleep", "60"]) as child,
    ):
        guard = start_guard(parent.pid, child.pid, signal.SIGTERM)
        parent.kill()
        parent.wait()
        assert child.wait(20) == -signal.SIGTERM
        _, status = os.waitpid(guard, 0)

    assert os.waitstatus_to_exitcode(status) == 0


async def test_a_name_can_be_used_once(tmp_path: Path) -> None:
    async with Supervisor(log_dir=tmp_path) as supervisor:
        await supervisor.start(python("worker", SLEEPER))
        with pytest.raises(SupervisorError, match="already"):
            await supervisor.start(python("worker", SLEEPER))
        with pytest.raises(SupervisorError, match="no process reader"):
            supervisor.pid("reader")
