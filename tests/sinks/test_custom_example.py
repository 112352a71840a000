"""examples/custom_sink.py does what it says, as it stands, and docs/sinks.md quotes it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from starlette.responses import Response

from runtime.settings import StoreSettings
from runtime.sink_settings import CustomSettings
from runtime.toml_reader import Secret
from schemas.errors import Reject, RetryLater
from sinks.memory import Remembering
from sinks.outcome import Delivered
from tests.servicetrade.fake import FakeServiceTrade
from tests.sinks.making import arrived, change
from tests.sinks.subscriber import Subscriber, answer, subscriber
from tests.sinks.test_custom import opened

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[2]
SOURCE = (ROOT / "examples/custom_sink.py").read_text("utf-8")
INVOICE = arrived(change(1, 7, entity_type="invoice"))


@pytest.fixture
async def billing() -> AsyncIterator[Subscriber]:
    async with subscriber() as found:
        yield found


@asynccontextmanager
async def example(billing: Subscriber, api: FakeServiceTrade, store: StoreSettings) -> AsyncIterator[Remembering]:
    how = CustomSettings(
        deliver="examples.custom_sink:deliver",
        types=("invoice",),
        options={"url": f"http://127.0.0.1:{billing.port}/invoices"},
        secrets={"token": Secret("hush")},
    )
    async with opened(store, api.url, how) as sink:
        yield sink


async def test_an_invoice_goes_to_the_service(
    billing: Subscriber, api: FakeServiceTrade, sqlite_settings: StoreSettings
) -> None:
    async with example(billing, api, sqlite_settings) as sink:
        assert await sink.deliver([INVOICE]) == [Delivered()]
    (request,) = billing.requests
    assert json.loads(request.body) == {"account": "acme", "id": "7", "invoice": {"id": 7}}
    assert request.headers["authorization"] == "Bearer hush"
    assert request.headers["idempotency-key"] == INVOICE.item.id


async def test_an_invoice_that_is_gone_goes_there_as_nothing(
    billing: Subscriber, api: FakeServiceTrade, sqlite_settings: StoreSettings
) -> None:
    api.answers.append(Response(status_code=404))
    async with example(billing, api, sqlite_settings) as sink:
        await sink.deliver([INVOICE])
    assert json.loads(billing.requests[0].body)["invoice"] is None


@pytest.mark.parametrize(("status", "expected"), [(500, RetryLater), (429, RetryLater), (422, Reject), (302, Reject)])
async def test_what_the_service_does_not_take_is_tried_again_or_rejected(
    billing: Subscriber,
    api: FakeServiceTrade,
    sqlite_settings: StoreSettings,
    status: int,
    expected: type[Exception],
) -> None:
    billing.answers.append(answer(status, "no such customer"))
    async with example(billing, api, sqlite_settings) as sink:
        with pytest.raises(expected, match=f"HTTP {status}"):
            await sink.deliver([INVOICE])


def test_the_example_is_quoted_as_it_stands_and_fits_into_fifteen_lines() -> None:
    assert f"```python\n{SOURCE}```" in (ROOT / "docs/sinks.md").read_text("utf-8")
    assert len([line for line in SOURCE.splitlines() if line.strip()]) <= 15
