"""Asks the processes themselves: /readyz and /metrics of their ops ports, in plain HTTP, each address by itself."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from fleet.plan import make_plan
from runtime.settings import Settings
from schemas.encoding import decode
from schemas.errors import SettingsError
from views.status_data import INGEST_NAME, METRICS, Process

LOOPBACK = "127.0.0.1"
ANSWER_S = 2.0
MOST_BYTES = 4 * 1024 * 1024

_OK_OR_NOT_READY = (200, 503)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a process should answer."""

    name: str
    host: str
    port: int

    @property
    def address(self) -> str:
        """host:port, an IPv6 address in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def configured_targets(settings: Settings, tables: frozenset[str]) -> list[Target]:
    """The ops ports of the configuration, on this machine; of sinks that only run if somebody wants them, too.

    And those that `tradewind up` finds for processes whose port another one has, as processors-2.

    Args:
        settings: all of them.
        tables: those that the configuration has, of `fleet.plan.OPTIONAL`.
    """
    sinks = settings.sinks
    ports = {
        INGEST_NAME: settings.ingest.ops_port,
        "processors": settings.processors.ops_port,
        "mirror": sinks.mirror.ops_port,
        "command": sinks.command.ops_port,
        **({"forward": sinks.forward_ops_port} if sinks.forward else {}),
        **{f"custom/{name}": one.ops_port for name, one in sinks.custom.items()},
    }
    found: dict[int, str] = {}
    for name, port in (*ports.items(), *_planned(settings, tables)):
        found.setdefault(port, name)
    return [Target(name=name, host=LOOPBACK, port=port) for port, name in found.items()]


def _planned(settings: Settings, tables: frozenset[str]) -> list[tuple[str, int]]:
    try:
        plan = make_plan(settings, tables)
    except SettingsError:  # nothing for `tradewind up`, as with port 0; but each process by itself may run
        return []
    return [(worker.name, worker.ops_port) for worker in plan.workers]


def read_targets(addresses: Sequence[str]) -> list[Target]:
    """The processes at these addresses, HOST:PORT or PORT.

    Raises:
        SettingsError: one is not written so.
    """
    found = []
    for address in addresses:
        host, _, port = address.rpartition(":")
        if not port.isascii() or not port.isdigit() or not 0 < int(port) < 2**16:
            raise SettingsError(f"--ops: is written HOST:PORT, as in 127.0.0.1:9102; found {address!r}")
        found.append(Target(name="", host=host.strip("[]") or LOOPBACK, port=int(port)))
    return found


Resolve = Callable[[str], Awaitable[Sequence[str]]]


async def addresses_of(host: str) -> list[str]:
    """The IPv4 addresses of a name, or, if there is none, its IPv6 ones.

    Not both: ops ports listen on IPv4 (runtime.ops), and the others would be shown as processes that do not answer.

    Raises:
        OSError: there is no such name.
    """
    found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    four = [str(where[0]) for family, *_, where in found if family == socket.AF_INET]
    return list(dict.fromkeys(four or [str(where[0]) for *_, where in found]))


async def each_process(targets: Sequence[Target], resolve: Resolve = addresses_of) -> list[Target]:
    """The same, but each address of a name that has several, as a service of several containers, by itself.

    Asked by its name each connection could be to another one. A name that leads nowhere stays: `ask` says so.
    """
    found = await asyncio.gather(*(_expanded(target, resolve) for target in targets))
    return list(dict.fromkeys(target for several in found for target in several))


async def ask_each(targets: Sequence[Target]) -> list[Process]:
    """What each process says, wherever their names lead by now."""
    return await asyncio.gather(*(ask(target) for target in await each_process(targets)))


async def _expanded(target: Target, resolve: Resolve) -> list[Target]:
    if _is_address(target.host):
        return [target]
    try:
        async with asyncio.timeout(ANSWER_S):
            addresses = await resolve(target.host)
    except (OSError, UnicodeError):  # TimeoutError is one of OSError
        return [target]
    return [replace(target, host=address) for address in addresses] if len(addresses) > 1 else [target]


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


async def ask(target: Target) -> Process:
    """What the process says; one that does not is told so, and never raises."""
    try:
        async with asyncio.timeout(ANSWER_S):
            conditions, metrics = await _conditions(target), await _metrics(target)
    except TimeoutError:
        silent = f"no answer within {ANSWER_S:g} s"
    except ConnectionRefusedError:
        silent = "nobody listens there"
    except OSError as error:
        silent = error.strerror or str(error)
    except ValueError as error:
        silent = f"something else answers there: {error}"
    else:
        return Process(name=target.name, address=target.address, silent="", conditions=conditions, metrics=metrics)
    return Process(name=target.name, address=target.address, silent=silent)


async def _conditions(target: Target) -> dict[str, bool]:
    status, answer = await _get(target, "/readyz")
    if status not in _OK_OR_NOT_READY:
        raise ValueError(f"HTTP {status}")
    body = decode(answer)
    if not isinstance(body, dict):
        raise ValueError("no object")
    return {str(name): holds is True for name, holds in body.items()}


async def _metrics(target: Target) -> dict[str, float]:
    status, answer = await _get(target, "/metrics")
    if status != _OK_OR_NOT_READY[0]:
        raise ValueError(f"HTTP {status}")
    return read_metrics(answer.decode(errors="replace"))


def read_metrics(text: str) -> dict[str, float]:
    """The METRICS in Prometheus' text format; they are without labels."""
    found: dict[str, float] = {}
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        if name in METRICS:
            found[name] = float(value)
    return found


async def _get(target: Target, path: str) -> tuple[int, bytes]:
    """Status and body of a GET in HTTP/1.0, which needs no client library.

    Raises:
        OSError: nobody answers.
        ValueError: what answers is no HTTP server, or says more than anybody of ours.
    """
    reader, writer = await asyncio.open_connection(target.host, target.port)
    try:
        writer.write(f"GET {path} HTTP/1.0\r\nHost: {target.address}\r\n\r\n".encode())
        answer = await reader.read(MOST_BYTES)
        while more := await reader.read(MOST_BYTES):
            answer += more
            if len(answer) > MOST_BYTES:
                raise ValueError("the answer has no end")
    finally:
        writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    words = head.split(maxsplit=2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/"):  # noqa: PLR2004 - version and status
        raise ValueError("no HTTP")
    return int(words[1]), body
