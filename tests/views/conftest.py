"""The stores and the topics that views are tested on."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from runtime.settings import KafkaSettings
from tests.servicetrade.conftest import sqlite_settings, store_settings
from tests.sinks.letter_making import Office, open_office

__all__ = ["sqlite_settings", "store_settings"]


@pytest.fixture
async def office(kafka: KafkaSettings) -> AsyncIterator[Office]:
    async with open_office(kafka) as opened:
        yield opened
