"""The receiver under hostile HTTP: it answers cleanly or not at all, keeps its secrets, and works on."""

from __future__ import annotations

import logging

import pytest

from runtime.logs import JsonFormatter
from tests.ingest.fuzz import fuzz, read_answers, streams
from tests.ingest.running import ACME, BOLT, HOST, SECRETS, Running

REQUESTS = 1_000


@pytest.mark.anyio
async def test_hostile_requests_break_nothing_and_bring_no_secret_into_the_logs(
    receiver: Running, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for client in ("httpx", "httpcore", "aiokafka"):  # httpx is the test's own sender, and tells the URLs that it uses.
        caplog.set_level(logging.WARNING, logger=client)

    report = await fuzz(HOST, receiver.port, valid_paths=[ACME, BOLT], seed=7, requests=REQUESTS)
    assert (await receiver.http.post(ACME, content=b"a good one")).status_code in range(200, 300)

    assert "a good one" in [(record.value or b"").decode("latin-1") for record in await receiver.stored()]
    assert report.requests >= REQUESTS
    assert {status for status in report.statuses if status >= 500} <= {503}
    assert (report.garbled, report.unreachable) == (0, 0)
    assert report.lost == {}, "the sender would take a webhook for delivered"
    assert any(200 <= status < 300 for status in report.statuses), "good requests are among them"
    broken = [record for record in caplog.records if record.levelno >= logging.ERROR and record.exc_info]
    assert [record.getMessage() for record in broken] == []
    logged = "\n".join(map(JsonFormatter("ingest").format, caplog.records))
    assert [secret for live in SECRETS.values() for secret in live if secret in logged] == []


def test_the_same_seed_makes_the_same_streams() -> None:
    def first(seed: int) -> list[list[bytes]]:
        source = streams([ACME], seed)
        return [list(next(source).pieces) for _ in range(100)]

    assert first(1) == first(1)
    assert first(1) != first(2)


def test_answers_are_told_from_what_is_none() -> None:
    good = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 400 Bad\r\ncontent-length: 2\r\n\r\nnoHTTP/1.1 204 No\r\n\r\n"
    assert read_answers(good) == ([400, 204], False)
    assert read_answers(good + b"HTTP/1.1 50") == ([400, 204], False)
    assert read_answers(good + b"oops") == ([400, 204], True)
    assert read_answers(b"") == ([], False)
