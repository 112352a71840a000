"""Connects clients; where none can be connected, says what is wrong, and whether that can pass by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Protocol

from aiokafka.conn import collect_hosts
from aiokafka.errors import KafkaConnectionError

from runtime.kafka.arguments import client_arguments
from runtime.kafka.diagnosis import Finding, look_at
from runtime.settings import KafkaSettings
from schemas.errors import SettingsError


class BrokerRefused(SettingsError, ConnectionError):
    """The brokers answer, but not to somebody with this configuration: waiting does not help.

    No KafkaError, which whoever waits for the brokers takes for their absence.
    """


class _Client(Protocol):
    async def start(self) -> Any:
        """Connect."""


async def connect(client: _Client, settings: KafkaSettings) -> None:
    """Start a client of aiokafka's, which, where that fails, tells only that it did.

    Raises:
        BrokerRefused: what is configured is wrong: user, password, certificate, or TLS where there is none.
        KafkaConnectionError: no broker can be reached, or a reason that may pass.
    """
    try:
        await client.start()
    except KafkaConnectionError as error:
        arguments = client_arguments(settings)
        servers = collect_hosts(settings.bootstrap_servers, randomize=False)
        found = await asyncio.gather(*(look_at(host, port, settings.security, arguments) for host, port, _ in servers))
        raise _failure(found) from error


def _failure(found: Sequence[Finding]) -> Exception:
    if lasting := [one for one in found if one.lasting]:
        why = lasting[0].why
        servers = ", ".join(one.server for one in lasting if one.why == why)
        return BrokerRefused(f"Kafka at {servers} {why}")
    seen = ", ".join(f"{one.server} ({one.why})" for one in found)
    unreachable: Exception = KafkaConnectionError(f"Unable to bootstrap from {seen}")
    return unreachable
