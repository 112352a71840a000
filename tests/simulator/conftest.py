"""A simulator and a receiver for each test that asks."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.simulator.support import Receiver, Simulator, receiving, running


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with running() as started:
        yield started


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as started:
        yield started
