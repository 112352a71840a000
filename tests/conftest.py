"""What every test may ask for: above all one real broker, started once and shared."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from runtime.broker import running_broker
from runtime.settings import KafkaSettings


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The bootstrap servers of an embedded broker that lasts for the whole run."""
    with running_broker(tmp_path_factory.mktemp("kafka")) as running:
        yield running.bootstrap_servers


@pytest.fixture
def kafka(broker: str) -> KafkaSettings:
    """The shared broker, with topic names that are this test's own."""
    return KafkaSettings(bootstrap_servers=broker, topic_prefix=f"t{uuid.uuid4().hex[:8]}.")
