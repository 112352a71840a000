"""Sees before anything is started that the ports are free that the processes are going to listen on."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator

from fleet.plan import INGEST, Plan
from runtime.broker_config import HOST
from runtime.settings import Settings
from schemas.errors import SettingsError


def require_free_ports(plan: Plan, settings: Settings) -> None:
    """Refuse to begin where something else listens already. The embedded broker sees to its own ports.

    Raises:
        SettingsError: names the port, the process that needs it and the setting.
    """
    for host, port, whose, key in _needed(plan, settings):
        if error := _refused(host, port):
            taken = error.errno == errno.EADDRINUSE
            look = f"`ss -ltnp sport = :{port}` shows by whom; else set" if taken else "look at"
            raise SettingsError(f"{whose} cannot listen on {host}:{port}: {error.strerror or error}; {look} {key}")


def _needed(plan: Plan, settings: Settings) -> Iterator[tuple[str, int, str, str]]:
    for worker in plan.workers:
        if worker.name == INGEST:
            yield settings.ingest.host, settings.ingest.port, INGEST, "ingest.host or ingest.port"
        yield HOST, worker.ops_port, worker.name, worker.ops_key


def _refused(host: str, port: int) -> OSError | None:
    """Why nobody can listen there, or None."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the servers do
        try:
            probe.bind((host, port))
            # Several sockets may then be bound to a port; only one of them listens.
            probe.listen(1)
        except OSError as error:
            return error
    return None
