"""`tradewind up` as its user runs it: a configuration with all sinks, the process, and its screen."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cryptography.fernet import Fernet

from runtime.broker_config import free_port
from runtime.probe import is_ready

HOOK_SECRET = "hook-7f3a-0123456789"
CUSTOM = """
from pathlib import Path

async def deliver(change, context):
    with Path(context.options["file"]).open("a") as file:
        file.write(change.subject + "\\n")
"""


class Site:
    """A folder with a configuration of everything, at ports of its own."""

    def __init__(self, folder: Path, *, subscriber_port: int = 9) -> None:
        self.folder = folder
        self.config = folder / "tradewind.toml"
        self.noted = folder / "noted"
        self.port: dict[str, int] = {}
        for name in ("broker", "servicetrade", "ingest", "ops", "processors", "mirror", "command", "forward", "custom"):
            self.port[name] = free_port(self.port.values())
        (folder / "key").write_text(Fernet.generate_key().decode())
        (folder / "password").write_text("the password")
        (folder / "hook").write_text(HOOK_SECRET)
        (folder / "whsec").write_text("whsec_" + "A" * 32)
        (folder / "noting.py").write_text(CUSTOM)
        self.config.write_text(self._text(subscriber_port))

    def _text(self, subscriber_port: int) -> str:
        port = self.port
        return f"""\
[kafka]
bootstrap_servers = "127.0.0.1:{port["broker"]}"
[broker]
data_dir = "kafka"
port = {port["broker"]}
[store]
url = "sqlite+aiosqlite:///{self.folder}/store.db"
key = {{ file = "key" }}
[servicetrade]
base_url = "http://127.0.0.1:{port["servicetrade"]}"
[accounts.main]
username = "api"
password = {{ file = "password" }}
hook_secret = {{ file = "hook" }}
[ingest]
port = {port["ingest"]}
ops_port = {port["ops"]}
public_url = "http://127.0.0.1:{port["ingest"]}"
spool = {{ folder = "spool" }}
[processors]
ops_port = {port["processors"]}
session_timeout_s = 60
[sinks]
forward_ops_port = {port["forward"]}
[sinks.mirror]
ops_port = {port["mirror"]}
[sinks.command]
ops_port = {port["command"]}
[sinks.forward.crm]
url = "http://127.0.0.1:{subscriber_port}/"
secret = {{ file = "whsec" }}
allow_private = true
[sinks.custom.noting]
deliver = "noting:deliver"
options = {{ file = "{self.noted}" }}
ops_port = {port["custom"]}
"""


class Up:
    """A running `tradewind up`; `lines` grows as it prints."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        self._gone = threading.Event()
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as stdout:
            for line in stdout:
                self.lines.append(line)
                if self._gone.is_set():
                    return

    @property
    def screen(self) -> str:
        return "".join(self.lines)

    def hang_up(self) -> None:
        """Read one more line, and then close the pipe."""
        self._gone.set()

    def wait_for(self, pattern: str, *, deadline_s: float = 60) -> re.Match[str]:
        end = time.monotonic() + deadline_s
        while not (found := re.search(pattern, self.screen)):
            assert self.process.poll() is None or re.search(pattern, self.screen), self.screen
            assert time.monotonic() < end, f"no {pattern!r} on the screen:\n{self.screen}"
            time.sleep(0.02)
        return found

    def pids(self) -> dict[str, int]:
        """As the table tells them, restarts included."""
        table = re.findall(r"^up +\| \S+ \S+ info +([\w-]+) +(\d+) ", self.screen, re.MULTILINE)
        back = re.findall(r"([\w-]+) died .* ready after [\d.]+ s, pid (\d+)", self.screen)
        return {name: int(pid) for name, pid in (*table, *back)}

    def children(self) -> list[int]:
        """The processes that it has now."""
        pid = self.process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def lines_of(self, name: str, *, after: str) -> list[str]:
        """What a process printed after the first line that has these words."""
        start = next(number for number, line in enumerate(self.lines) if after in line)
        return [line for line in self.lines[start:] if line.startswith(f"{name} ")]

    def finish(self, *, deadline_s: float = 60) -> int:
        """The exit code, and with it the whole screen."""
        code = self.process.wait(deadline_s)
        self._reading.join(10)
        return code


@contextmanager
def tradewind_up(site: Site, *options: str) -> Iterator[Up]:
    """`tradewind up`; what is left of it at the end is killed."""
    process = subprocess.Popen(
        [sys.executable, "-m", "cli.main", "up", "--config", str(site.config), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=site.folder,
        env={**os.environ, "PYTHONPATH": str(site.folder)},
    )
    up = Up(process)
    try:
        yield up
    finally:
        if process.poll() is None:
            process.kill()
        up.finish()


@contextmanager
def servicetrade(site: Site) -> Iterator[None]:
    """The simulated ServiceTrade that the configuration names."""
    command = [sys.executable, "-m", "servicetrade.simulator", f"--port={site.port['servicetrade']}"]
    process = subprocess.Popen([*command, "--account=main:api:the password"], stdout=subprocess.DEVNULL)
    try:
        until(lambda: answers_2xx(f"http://127.0.0.1:{site.port['servicetrade']}/_control/day"))
        yield
    finally:
        process.terminate()
        process.wait(30)


@dataclass
class Receiver:
    """A subscriber that takes everything."""

    port: int
    bodies: list[bytes]


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A subscriber on a port of its own, for as long as the block lasts."""
    bodies: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield Receiver(server.server_port, bodies)
        finally:
            server.shutdown()
            thread.join()


def answers_2xx(url: str) -> bool:
    """Whether a local process says that it is ready."""
    return asyncio.run(is_ready(url))


def until(condition: Callable[[], bool], *, deadline_s: float = 30) -> None:
    """Wait for the condition; fails the test when the deadline passes."""
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, "the condition did not come true in time"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    """Whether the process runs; a zombie does not."""
    try:
        return ") Z" not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
