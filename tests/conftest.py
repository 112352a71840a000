"""What every test may ask for: above all one real broker, started once and shared; and repeatable random tests."""

from __future__ import annotations

import os
import signal
import uuid
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from runtime.broker import running_broker
from runtime.settings import KafkaSettings
from tests.containers import in_containers, kafka_container

# Whoever starts the tests in the background has Ctrl-C ignored, and so would every process that they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Random tests are repeatable: the same examples on every machine.
settings.register_profile(
    "repeatable", derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
# A longer search with new examples: TRADEWIND_HYPOTHESIS=search, with --hypothesis-seed to repeat it.
settings.register_profile("search", deadline=None, max_examples=5_000, suppress_health_check=list(HealthCheck))
settings.load_profile(os.environ.get("TRADEWIND_HYPOTHESIS", "repeatable"))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The bootstrap servers of a broker that lasts for the whole run: embedded, or in a container."""
    if in_containers():
        with kafka_container() as bootstrap_servers:
            yield bootstrap_servers
        return
    with running_broker(tmp_path_factory.mktemp("kafka")) as running:
        yield running.bootstrap_servers


@pytest.fixture
def kafka(broker: str) -> KafkaSettings:
    """The shared broker, with topic names that are this test's own."""
    return KafkaSettings(bootstrap_servers=broker, topic_prefix=f"t{uuid.uuid4().hex[:8]}.")
