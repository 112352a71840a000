"""A receiver with a raw log of its own for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from runtime.settings import KafkaSettings
from tests.ingest.running import Running, receiver_on


@pytest.fixture
async def receiver(kafka: KafkaSettings, anyio_backend: str) -> AsyncIterator[Running]:  # noqa: ARG001 - makes the fixture run on asyncio
    async with receiver_on(kafka) as running:
        yield running
