"""Topics for each test on the shared broker, and the databases and the fake that ServiceTrade's client is tested on."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from runtime.settings import KafkaSettings, StoreSettings
from tests.servicetrade.conftest import api, sqlite_settings, store_settings
from tests.sinks.support import Topics, open_topics

__all__ = ["api", "sqlite_settings", "store_settings"]


@pytest.fixture
async def topics(kafka: KafkaSettings, sqlite_settings: StoreSettings) -> AsyncIterator[Topics]:
    async with open_topics(kafka, sqlite_settings) as found:
        yield found
