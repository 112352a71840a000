"""Who takes part in the throughput contest, how each is started, and what each says it put out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from bench.environment import PEERS, Peers
from bench.oracle import Piece, Window
from bench.stage import Child, Stage, child, worker
from runtime.kafka.topics import full_name
from runtime.settings import KafkaSettings
from schemas.record import LogRecord
from schemas.topics import CHANGES, WEBHOOKS

QUIET = "quiet"
CUT = "cut"


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """A filled raw topic, and what has to come out of it."""

    kafka: KafkaSettings
    notifications: int
    windows: frozenset[Window]
    grace_ms: int
    """How late a record may be after others of its partition; longer than the workload: nothing may be dropped."""
    closing_ms: int
    """Time of the records that only move event time on: behind the end of the workload and its grace."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of one contender."""

    stage: Stage
    peers: Peers
    label: str
    """Unlike that of any other run: the consumer group's name, and part of the output topic's."""
    workload: Workload
    passes: int = 1
    """How often Kafka Streams goes over the topic in the same process; the last pass counts."""

    @property
    def raw(self) -> str:
        """Full name of the filled topic."""
        return full_name(self.workload.kafka, WEBHOOKS)

    @property
    def log(self) -> Path:
        """Where a peer's output goes."""
        return self.stage.folder / f"{self.label}.log"

    def arguments(self) -> list[str]:
        """What every peer is told."""
        given = {
            "servers": self.stage.bootstrap_servers,
            "topic": self.raw,
            "output": f"{self.label}.output",
            "group": self.label,
            "state": str(self.stage.folder / f"{self.label}.state"),
            "grace-ms": str(self.workload.grace_ms),
            "notifications": str(self.workload.notifications),
            "closing-ms": str(self.workload.closing_ms),
        }
        return [word for name, value in given.items() for word in (f"--{name}", value)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """One of those that are measured side by side."""

    name: str
    title: str
    start: Callable[[Run], AbstractContextManager[Child]]
    begun_ms: Callable[[Run], float | None]
    """When it began, Unix milliseconds; None while it has not."""
    output: Callable[[Run], str]
    """Full name of the topic it writes to."""
    piece: Callable[[LogRecord], Piece]
    is_there: Callable[[Peers], bool] = lambda _: True


# -- peers -------------------------------------------------------------------------------------------------------------


def _peer_piece(record: LogRecord) -> Piece:
    told = orjson.loads(record.value or b"")
    return Piece(told["key"], told["first_ms"], told["last_ms"], told["count"])


def _peer_begun_ms(run: Run) -> float | None:
    told = re.findall(r"^first (\d+)$", run.log.read_text(errors="replace"), re.MULTILINE)
    return float(told[run.passes - 1]) if len(told) >= run.passes else None


def _peer_output(run: Run) -> str:
    return f"{run.label}.output" if run.passes == 1 else f"{run.label}.output-{run.passes}"


def _peer(name: str, title: str, program: str) -> Contender:
    def start(run: Run) -> AbstractContextManager[Child]:
        return child([str(run.peers.python), str(PEERS / program), *run.arguments()], run.log)

    return Contender(
        name=name, title=title, start=start, begun_ms=_peer_begun_ms, output=_peer_output, piece=_peer_piece
    )


def _start_streams(run: Run) -> AbstractContextManager[Child]:
    more = ["--passes", str(run.passes), "--expected", str(len(run.workload.windows))]
    return child([*run.peers.java, *run.arguments(), *more], run.log)


# -- ours --------------------------------------------------------------------------------------------------------------


def _start_ours(run: Run) -> AbstractContextManager[Child]:
    return worker(run.stage, run.workload.kafka, instance=run.label, group=run.label)


def _our_begun_ms(run: Run) -> float | None:
    """When the first partition's restore began: the first that a worker with an assignment does."""
    for line in run.log.read_bytes().splitlines():
        if b'"processors.restored"' in line:
            told = orjson.loads(line)
            return (datetime.fromisoformat(told["time"]).timestamp() - float(told["seconds"])) * 1000
    return None


def _our_piece(record: LogRecord) -> Piece:
    told: dict[str, Any] = orjson.loads(record.value or b"")
    key = f"{told['account']}/{told['entity_type']}/{told['entity_id']}"
    # The built-in quiet period; what another bound has closed does not tell its last notification.
    last_ms = told["due_ms"] - 2_000 if told["closed_by"] == QUIET else None
    return Piece(key, told["opened_ms"], last_ms, told["notifications"], is_cut=told["closed_by"] == CUT)


OURS = Contender(
    name="ours",
    title="**tradewind**",
    start=_start_ours,
    begun_ms=_our_begun_ms,
    output=lambda run: full_name(run.workload.kafka, CHANGES),
    piece=_our_piece,
)
STREAMS = Contender(
    name="kafka-streams",
    title="Kafka Streams",
    start=_start_streams,
    begun_ms=_peer_begun_ms,
    output=_peer_output,
    piece=_peer_piece,
    is_there=lambda peers: bool(peers.java),
)
CONTENDERS = (
    OURS,
    _peer("faust", "plain Faust", "plain_faust.py"),
    _peer("quix", "Quix Streams", "quix.py"),
    _peer("bytewax", "Bytewax", "with_bytewax.py"),
    STREAMS,
    _peer("bare", "bare loop, no guarantees", "bare_loop.py"),
)


def chosen(names: Iterable[str]) -> tuple[Contender, ...]:
    """The contenders of these names; all of them if there are none.

    Raises:
        ValueError: nobody is called so.
    """
    wanted = set(names)
    if unknown := wanted - {one.name for one in CONTENDERS}:
        raise ValueError(f"no contender is called {', '.join(sorted(unknown))}")
    return tuple(one for one in CONTENDERS if not wanted or one.name in wanted)
