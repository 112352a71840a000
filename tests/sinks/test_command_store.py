"""The table of commands, on each database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from runtime.database import open_database
from runtime.settings import StoreSettings
from runtime.store_schema import upgrade
from sinks.command_core import Known, fingerprint_of
from sinks.command_result import result_of
from sinks.command_store import CommandStore
from tests.sinks.command_world import a_command

pytestmark = pytest.mark.anyio

COMMAND = a_command("POST")
NEW = Known(fingerprint=fingerprint_of(COMMAND))
INTENT = replace(NEW, state="sent", attempts=1, offset=2**40)


@asynccontextmanager
async def opened(settings: StoreSettings) -> AsyncIterator[CommandStore]:
    async with open_database(settings) as engine:
        store = CommandStore(engine)
        await upgrade(engine)
        yield store


async def test_what_was_saved_is_found_with_its_age_by_the_databases_clock(store_settings: StoreSettings) -> None:
    async with opened(store_settings) as store:
        assert await store.find("acme", "c1") is None
        assert await store.read("acme", "c1") is None
        saved = await store.save(COMMAND, INTENT, "t1", sent_now=True)
        assert saved is not None
        assert saved.sent_ms is not None
        assert saved == replace(INTENT, token="t1", sent_ms=saved.sent_ms)
        found = await store.find("acme", "c1")
        assert found is not None
        assert 0 <= found.age_s < 60
        assert replace(found, age_s=0.0) == saved
        assert await store.find("bolt", "c1") is None
        row = await store.read("acme", "c1")
        assert row is not None
        assert (row.method, row.entity_type, row.entity_id, row.state) == ("POST", "job", None, "sent")


async def test_an_outcome_is_saved_with_its_result_and_the_time_of_the_intent_stays(
    store_settings: StoreSettings,
) -> None:
    async with opened(store_settings) as store:
        intended = await store.save(COMMAND, INTENT, "t1", sent_now=True)
        assert intended is not None
        result = result_of(COMMAND, "done", messages=("grüß",), entity={"id": 2**53, "text": "\x00"}, attempts=1)
        closed = await store.save(COMMAND, replace(intended, state="done", result=result), "t2", sent_now=False)
        assert closed == replace(intended, state="done", result=result, token="t2")
        found = await store.find("acme", "c1")
        assert found is not None
        assert replace(found, age_s=0.0) == closed


async def test_what_was_read_before_another_wrote_replaces_nothing(store_settings: StoreSettings) -> None:
    async with opened(store_settings) as store, opened(store_settings) as other:
        first = await store.save(COMMAND, INTENT, "t1", sent_now=True)
        assert await other.save(COMMAND, INTENT, "t2", sent_now=True) is None
        assert first is not None
        assert await other.save(COMMAND, replace(first, attempts=2), "t3", sent_now=True) is not None
        assert await store.save(COMMAND, replace(first, state="uncertain"), "t4", sent_now=False) is None
        found = await store.find("acme", "c1")
        assert found is not None
        assert (found.state, found.attempts, found.token) == ("sent", 2, "t3")


async def test_of_many_who_write_at_once_one_succeeds(store_settings: StoreSettings) -> None:
    async with opened(store_settings) as store, opened(store_settings) as other:
        saved = await asyncio.gather(
            *(one.save(COMMAND, INTENT, f"{n}{id(one)}", sent_now=True) for one in (store, other) for n in range(5))
        )
        assert sum(one is not None for one in saved) == 1
