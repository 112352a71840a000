"""The load of the ingest section: wrk, 64 connections that stay open, webhooks to the URLs of 50 accounts in turn."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from bench.environment import NotAtHandError
from bench.stage import Child, child
from bench.workload import account_name, generate

CONNECTIONS = 64
ACCOUNTS = 50
BODIES = 2_000
"""Different ones, so that they do not compress better than what really comes."""
PATIENCE_S = 10
"""wrk counts an answer that takes longer as a socket error."""
_SCRIPT = Path(__file__).with_name("ingest_wrk.lua")
_NO_WRK = (
    "wrk, which makes the load, is not on the PATH: apt-get install wrk (Debian, Ubuntu), brew install wrk (macOS)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What wrk counted."""

    answers: int
    """With a whole head and body, whatever the status."""
    refused: int
    """Of these, with a status from 400 on. No contender answers below 200 or 300 to 399, so the rest are 2xx."""
    socket_errors: int
    """Connections that failed or broke, and answers that took longer than PATIENCE_S."""
    seconds: float
    p50_ms: float
    """Of all answers, from the request."""
    p99_ms: float
    max_ms: float

    @property
    def accepted(self) -> int:
        """Requests answered 2xx."""
        return self.answers - self.refused

    @property
    def rate(self) -> float:
        """Requests answered 2xx, a second."""
        return self.accepted / self.seconds


def find_wrk() -> str:
    """Where wrk is.

    Raises:
        NotAtHandError: it is not installed; says how to.
    """
    if (found := shutil.which("wrk")) is None:
        raise NotAtHandError(_NO_WRK)
    return found


def secret_of(account: str) -> str:
    """The secret in the account's webhook URL."""
    return f"of-{account}-in-this-measurement"


def secrets() -> dict[str, str]:
    """The secret of each account."""
    return {account: secret_of(account) for account in map(account_name, range(ACCOUNTS))}


def write_requests(path: Path) -> None:
    """Write what ingest_wrk.lua reads: path and body, line after line; the accounts in turn."""
    posted = generate(BODIES, start_ms=round(time.time() * 1000), span_s=60)
    lines = (
        f"/webhooks/{account}/{secret_of(account)}\n{one.body.decode()}\n"
        for account, one in ((account_name(number % ACCOUNTS), one) for number, one in enumerate(posted))
    )
    path.write_text("".join(lines))


def load(port: int, requests: Path, log: Path, *, seconds: int) -> AbstractContextManager[Child]:
    """Send to a port of loopback for so long, or until SIGINT; read what came of it with `answers_of`.

    Raises:
        NotAtHandError: wrk is not installed.
    """
    given = {"--threads": 1, "--connections": CONNECTIONS, "--duration": f"{seconds}s", "--timeout": f"{PATIENCE_S}s"}
    command = [find_wrk(), "--latency", *(str(word) for pair in given.items() for word in pair)]
    return child([*command, "--script", str(_SCRIPT), f"http://127.0.0.1:{port}", "--", str(requests)], log)


def answers_of(sender: Child, *, deadline_s: float) -> Answers:
    """Wait for the end of a load, and read what it counted.

    Raises:
        RuntimeError: it failed, or did not end in time.
    """
    try:
        sender.process.wait(deadline_s)
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"wrk has not ended after {deadline_s:.0f} s") from None
    return read_answers(sender.log.read_text())


def read_answers(text: str) -> Answers:
    """The counts in wrk's output, which ingest_wrk.lua writes as its last line.

    Raises:
        RuntimeError: there are none.
    """
    last = text.rstrip().rpartition("\n")[2]
    if not last.startswith("{"):
        raise RuntimeError(f"wrk failed: {text[-2000:].strip()}")
    return Answers(**json.loads(last))
