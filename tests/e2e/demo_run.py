"""Runs the demo as a user does, as a process with a screen, and reads that screen."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class DemoRun:
    """A running demo; `lines` grows as it prints."""

    def __init__(self, process: subprocess.Popen[str], folder: Path) -> None:
        self.process = process
        self.folder = folder
        self.lines: list[str] = []
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)

    @property
    def screen(self) -> str:
        return "".join(self.lines)

    def wait_for(self, pattern: str, *, deadline_s: float, times: int = 1) -> list[re.Match[str]]:
        """All matches on the screen, once there are so many."""
        end = time.monotonic() + deadline_s
        while len(found := list(re.finditer(pattern, self.screen))) < times:
            assert self.process.poll() is None or len(list(re.finditer(pattern, self.screen))) >= times, self.screen
            assert time.monotonic() < end, f"no {pattern!r} on the screen:\n{self.screen}"
            time.sleep(0.05)
        return found

    def pids(self) -> dict[str, int]:
        """Process ids by name, as the screen tells them, restarts included."""
        found = {name: int(pid) for name, pid in re.findall(r"([a-z]+(?:-\d)?) (\d+)", self.wait_for_pids())}
        found |= {
            name: int(pid)
            for name, pid in re.findall(r"\+ ([\w-]+) ready again after [\d.]+ s, pid (\d+)", self.screen)
        }
        return found

    def wait_for_pids(self) -> str:
        return self.wait_for(r"pids: (.*)", deadline_s=120)[0][1]

    def finish(self, *, deadline_s: float) -> int:
        """The exit code, and with it the whole screen."""
        code = self.process.wait(deadline_s)
        self._reading.join(10)
        return code

    def outage(self, name: str) -> float:
        """How long the process that died was away, in seconds."""
        found = re.findall(rf"\+ {name} ready again after ([\d.]+) s", self.screen)
        return sum(map(float, found)) if found else float("inf")

    def told(self, name: str) -> str:
        """What stands behind a name at the end: where Kafka, the store or the configuration is."""
        return self.wait_for(rf"· {name} +(\S+)", deadline_s=10)[0][1]

    def figure(self, name: str) -> int:
        """A number from the ledger."""
        match = re.search(rf"^\s*{re.escape(name)}\s+(\d+)", self.screen, re.MULTILINE)
        assert match, f"no {name!r} on the screen:\n{self.screen}"
        return int(match[1])


@contextmanager
def demo_run(folder: Path, *options: str) -> Iterator[DemoRun]:
    """The demo in `folder`; whatever is left of it is stopped at the end."""
    environ = {**os.environ, "COLUMNS": "160"}
    process = subprocess.Popen(
        [sys.executable, "-m", "cli.main", "demo", "--folder", str(folder), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environ,
    )
    try:
        yield DemoRun(process, folder)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        assert process.stdout is not None
        process.stdout.close()


def alive(pid: int) -> bool:
    """Whether the process runs; a zombie does not."""
    try:
        return ") Z" not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
