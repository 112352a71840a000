"""Every body that should not come, from the HTTP request to the dead letter: never a 4xx, never a crash, never lost."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from ingest import main as ingest
from runtime.broker_config import free_port
from runtime.settings import AccountSettings, IngestSettings, KafkaSettings, Settings, SpoolSettings, StoreSettings
from runtime.toml_reader import Secret
from schemas.change import decode_change
from schemas.deadletter import read_dead_letter
from schemas.topics import CHANGES, DEADLETTERS, WEBHOOKS
from tests.processors.pipeline import pipeline_on, until, worker_process

pytestmark = pytest.mark.anyio

SECRET = "winter-7f3a-0123456"


def good(number: int) -> dict[str, Any]:
    return {"action": "updated", "timestamp": 1, "userId": 7, "entity": {"type": "job", "id": number}}


def body(*elements: Any) -> bytes:
    return json.dumps({"messageId": f"of {len(elements)} elements", "timestamp": "1", "data": elements}).encode()


WHOLE = {
    "no JSON": (b"<html>502 Bad Gateway</html>", "not-json"),
    "nothing": (b"", "not-json"),
    "no object": (b"[1, 2]", "not-an-object"),
    "no data": (b'{"messageId": "m"}', "no-data"),
    "data of a wrong type": (b'{"messageId": "m", "data": "none"}', "no-data"),
    "1 MiB of nesting": (b"[" * 1024 * 1024, "not-json"),
    "invalid UTF-8": (b'{"messageId": "\xff\xfe", "data": []}', "not-json"),
    "more elements than can be": (b'{"data": [' + b"1," * 100_000 + b"1]}", "too-many-elements"),
}
"""Bodies that are unreadable as a whole, and the reason that the dead letter gives."""

PARTLY = {
    "a wrong type inside": (body(good(1), {**good(2), "entity": "job/2"}, good(3)), "bad-entity", "1", {1, 3}),
    "10,000 elements": (body(*(good(number) for number in range(100, 10_100)), 5), "element-not-an-object", "10000",
                        set(range(100, 10_100))),
}  # fmt: skip
"""Bodies with bad and good elements: the reason, which are bad, and the jobs that go through."""

FINE = {"an unknown entity type": body({**good(1), "entity": {"type": "spaceship", "id": 1}})}


@asynccontextmanager
async def receiving(kafka: KafkaSettings, folder: Path) -> AsyncIterator[httpx.AsyncClient]:
    port, ops_port, stop = free_port(), free_port(), asyncio.Event()
    account = AccountSettings(username="u", password=Secret("p"), hook_secret=Secret(SECRET))
    settings = Settings(
        kafka=kafka,
        ingest=IngestSettings(port=port, spool=SpoolSettings(folder=folder)),
        store=StoreSettings(url="unused", key=Secret("k")),
        accounts={"acme": account},
    )
    serving = asyncio.create_task(ingest.run(settings, ops_host="127.0.0.1", ops_port=ops_port, stop=stop))

    async def ready() -> bool:
        try:
            return (await http.get(f"http://127.0.0.1:{ops_port}/readyz")).is_success
        except httpx.TransportError:
            return False

    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=10) as http:
        await until(ready)
        yield http
    stop.set()
    await asyncio.wait_for(serving, 20)


async def test_what_cannot_be_read_is_kept_with_its_reason_and_what_can_goes_through(
    kafka: KafkaSettings, tmp_path: Path
) -> None:
    async with (
        pipeline_on(kafka, partitions=WEBHOOKS.partitions) as pipeline,
        worker_process(kafka, tmp_path, "worker") as worker,
    ):
        await pipeline.rules("acme")
        async with receiving(kafka, tmp_path) as http:
            for sent in (
                *(sent for sent, _ in WHOLE.values()),
                *(sent for sent, *_ in PARTLY.values()),
                *FINE.values(),
            ):
                answer = await http.post(f"/webhooks/acme/{SECRET}", content=sent)
                assert answer.status_code == 204, sent[:80]

        async def all_is_out() -> bool:
            letters, changes = await pipeline.all(DEADLETTERS.name), await pipeline.all(CHANGES.name)
            return len(letters) == len(WHOLE) + len(PARTLY) and len(changes) == 2 + 10_000 + 1

        await until(all_is_out, deadline_s=60)
        assert worker.returncode is None, "the worker has not crashed"
        letters = {record.value: read_dead_letter(record.headers) for record in await pipeline.all(DEADLETTERS.name)}
        changes = [decode_change(record.value or b"") for record in await pipeline.all(CHANGES.name)]
        await pipeline.check(repeats=False)
    assert {sent: (letter.error, letter.elements) for sent, letter in letters.items()} == {
        **{sent: (reason, "") for sent, reason in WHOLE.values()},
        **{sent: (reason, bad) for sent, reason, bad, _ in PARTLY.values()},
    }
    jobs = {int(change.entity_id) for change in changes if change.entity_type == "job"}
    assert jobs == set().union(*(through for *_, through in PARTLY.values()))
    assert [change.subject for change in changes if change.entity_type != "job"] == ["spaceship/1"]
