"""Which processes a configuration asks for on one machine, at which ports, and which not and why. Decides only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from runtime.settings import Settings
from schemas.errors import SettingsError
from schemas.suggestion import did_you_mean
from schemas.topics import PARTITIONS

BROKER = "broker"
INGEST = "ingest"
PROCESSORS = 2
"""By default: while one starts again, the other goes on."""

OPTIONAL = ("broker", "sinks.mirror", "sinks.command")
"""Tables whose presence alone says that their process is wanted, an empty one, too: the settings do not tell."""

_LAST_PORT = 65_535


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """A process of the product.

    Attributes:
        name: unique; `processors-2`.
        family: what `--only` calls it and those like it; `processors`, `custom-crm`.
        command: what follows `tradewind`.
        ops_port: of /livez, /readyz and /metrics.
        ops_key: the setting that the port comes from.
        does: a few words on it, for people.
    """

    name: str
    family: str
    command: tuple[str, ...]
    ops_port: int
    ops_key: str
    does: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """What is not started."""

    name: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to start, in the order of the flow."""

    broker: bool
    """Whether to start the embedded broker."""
    workers: tuple[Worker, ...]
    left_out: tuple[LeftOut, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Of all processes."""
        return (*((BROKER,) if self.broker else ()), *(worker.name for worker in self.workers))


def tables_in(document: Mapping[str, Any]) -> frozenset[str]:
    """Which of the `OPTIONAL` tables a configuration has."""
    found = {*document, *(f"sinks.{name}" for name in document.get("sinks", {}))}
    return frozenset(found.intersection(OPTIONAL))


def make_plan(
    settings: Settings, tables: frozenset[str], *, processors: int = PROCESSORS, only: Sequence[str] = ()
) -> Plan:
    """Decide what runs.

    Args:
        settings: all of them.
        tables: which of the `OPTIONAL` ones the configuration has.
        processors: how many of them.
        only: names or families of processes: no others; empty: all.

    Raises:
        SettingsError: too few or too many processors, an impossible port, or `only` names what there is not.
    """
    if not 1 <= processors <= PARTITIONS:
        raise SettingsError(f"--processors: from 1 to {PARTITIONS}, the partitions of a topic; found {processors}")
    why = dict(_not_wanted(settings, tables))
    workers = _at_ports_of_their_own(settings, list(_wanted(settings, tables, processors)))
    families = {**({} if BROKER in why else {BROKER: BROKER}), **{one.name: one.family for one in workers}}
    for word in only:
        _require(word, families, why)
    chosen = {name for name, family in families.items() if not only or name in only or family in only}
    why |= {name: "not in --only" for name in families if name not in chosen}
    return Plan(
        broker=BROKER in chosen,
        workers=tuple(worker for worker in workers if worker.name in chosen),
        left_out=tuple(LeftOut(name=name, why=reason) for name, reason in why.items()),
    )


def _not_wanted(settings: Settings, tables: frozenset[str]) -> Iterator[tuple[str, str]]:
    servers, port = settings.kafka.bootstrap_servers, settings.broker.port
    if "broker" not in tables:
        yield BROKER, f"the configuration has no [broker]; Kafka is at {servers}"
    elif servers not in (f"127.0.0.1:{port}", f"localhost:{port}"):
        yield BROKER, f"kafka.bootstrap_servers is {servers}, and [broker] would be at 127.0.0.1:{port}"
    elif settings.kafka.security != "plaintext":
        yield BROKER, f'kafka.security is "{settings.kafka.security}", and [broker] would be plaintext, on loopback'
    for sink in ("mirror", "command"):
        if f"sinks.{sink}" not in tables:
            yield sink, f"the configuration has no [sinks.{sink}]"
    if not settings.sinks.forward:
        yield "forward", "the configuration has no [sinks.forward.NAME]"
    if not settings.sinks.custom:
        yield "custom", "the configuration has no [sinks.custom.NAME]"


def _wanted(settings: Settings, tables: frozenset[str], processors: int) -> Iterator[Worker]:
    """All that the configuration asks for, at the ports that it says."""
    sinks = settings.sinks
    yield Worker(
        name=INGEST,
        family=INGEST,
        command=("ingest",),
        ops_port=settings.ingest.ops_port,
        ops_key="ingest.ops_port",
        does=f"webhooks at {settings.ingest.host}:{settings.ingest.port}",
    )
    for number in range(1, processors + 1):
        yield Worker(
            name=f"processors-{number}",
            family="processors",
            command=("processors",),
            ops_port=settings.processors.ops_port,
            ops_key="processors.ops_port",
            does="webhooks into changes",
        )
    if "sinks.mirror" in tables:
        yield _sink("mirror", sinks.mirror.ops_port, "changes into rows")
    if "sinks.command" in tables:
        yield _sink("command", sinks.command.ops_port, "commands to ServiceTrade")
    if sinks.forward:
        to = f"changes to {', '.join(sinks.forward)}"
        yield replace(_sink("forward", sinks.forward_ops_port, to), ops_key="sinks.forward_ops_port")
    for name, how in sinks.custom.items():
        yield _sink(f"custom-{name}", how.ops_port, f"changes to {how.deliver}", "custom", name)


def _sink(family: str, ops_port: int, does: str, *command: str) -> Worker:
    words = command or (family,)
    return Worker(
        name=f"{family}-1",
        family=family,
        command=("sink", *words),
        ops_port=ops_port,
        ops_key=f"sinks.{'.'.join(words)}.ops_port",
        does=does,
    )


def _at_ports_of_their_own(settings: Settings, workers: Sequence[Worker]) -> list[Worker]:
    """Who comes first gets the port that is configured; others the next above it that is meant for nobody.

    Those of sinks that are not started are left free: whoever adds one moves no port that something else asks.
    """
    sinks = settings.sinks
    given = {settings.ingest.port, settings.broker.port}
    meant = given | {worker.ops_port for worker in workers}
    meant |= {sinks.mirror.ops_port, sinks.command.ops_port, sinks.forward_ops_port}
    placed = []
    for worker in workers:
        port = worker.ops_port
        if port in given:
            while port in meant:
                port += 1
        if not 0 < port <= _LAST_PORT:
            raise SettingsError(f"{worker.ops_key}: {worker.name} needs a port from 1 to {_LAST_PORT}, found {port}")
        given.add(port)
        meant.add(port)
        placed.append(replace(worker, ops_port=port))
    return placed


def _require(word: str, families: Mapping[str, str], why: Mapping[str, str]) -> None:
    """Refuse a word of --only that names nothing."""
    if word in families or word in families.values():
        return
    if word in why:
        raise SettingsError(f"--only: {word} cannot be started: {why[word]}")
    known = dict.fromkeys((*families.values(), *families))
    raise SettingsError(f"--only: there is no {word!r} to start; {did_you_mean(word, known, 'there is')}")
