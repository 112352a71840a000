"""The sender's rules, seen by a real receiver."""

from __future__ import annotations

import hashlib
import socket
from typing import Any

import pytest

from servicetrade.simulator.sender import SenderRules
from tests.simulator.support import Receiver, Simulator, receiving, running, until

pytestmark = pytest.mark.anyio


async def write(simulator: Simulator, resource: str, body: dict[str, Any], account: str = "acme") -> dict[str, Any]:
    answer = await simulator.http.post(f"/api/{resource}", json=body, headers=await simulator.login(account))
    assert answer.status_code == 200
    made: dict[str, Any] = answer.json()["data"]
    return made


async def test_an_api_write_comes_back_as_a_notification_of_the_api_user(
    simulator: Simulator, receiver: Receiver
) -> None:
    await simulator.subscribe(receiver.url)
    made = await write(simulator, "contact", {"name": "Ann"})
    (entry,) = await simulator.settled()
    (body,) = receiver.bodies
    (message,) = receiver.messages()
    (element,) = message["data"]
    assert receiver.content_types == ["application/json"]
    assert (element["action"], element["userId"]) == ("created", 1234)
    assert (element["entity"]["type"], element["entity"]["id"]) == ("contact", made["id"])
    assert entry["sha256"] == hashlib.sha256(body).hexdigest()
    assert entry["message_id"] == message["messageId"]
    assert (entry["elements"], entry["attempts"], entry["deliveries_2xx"]) == (1, 1, 1)
    assert entry["outcomes"] == ["accepted 200"]


async def test_a_5xx_is_tried_three_times_and_then_dropped_for_good(simulator: Simulator) -> None:
    async with receiving(lambda _number: 503) as receiver:
        await simulator.subscribe(receiver.url)
        await write(simulator, "contact", {})
        (entry,) = await simulator.settled()
        assert len(receiver.bodies) == 3
        assert len(set(receiver.bodies)) == 1
        assert (entry["attempts"], entry["refused"], entry["deliveries_2xx"]) == (3, 1, 0)
        assert entry["outcomes"] == ["refused for good"]
        totals, _ = await simulator.journal()
        assert (totals["refused_for_good"], totals["messages_lost"], totals["notifications_2xx"]) == (1, 1, 0)


async def test_a_retry_resends_the_same_bytes_until_one_is_accepted(simulator: Simulator) -> None:
    async with receiving(lambda number: 500 if number < 2 else 204) as receiver:
        await simulator.subscribe(receiver.url)
        await write(simulator, "contact", {})
        (entry,) = await simulator.settled()
        assert len(receiver.bodies) == 3
        assert len(set(receiver.bodies)) == 1
        assert (entry["attempts"], entry["deliveries_2xx"], entry["outcomes"]) == (3, 1, ["accepted 204"])


@pytest.mark.parametrize("status", [404, 499])
async def test_any_4xx_counts_as_delivered_and_loses_the_message(simulator: Simulator, status: int) -> None:
    async with receiving(lambda _number: status) as receiver:
        await simulator.subscribe(receiver.url)
        await write(simulator, "contact", {})
        (entry,) = await simulator.settled()
        assert len(receiver.bodies) == 1
        assert (entry["deliveries_2xx"], entry["lost_by_4xx"]) == (0, 1)
        assert entry["outcomes"] == [f"accepted {status}"]
        totals, _ = await simulator.journal()
        assert (totals["lost_by_4xx"], totals["messages_lost"], totals["messages_never_2xx"]) == (1, 0, 1)


async def test_a_redirect_counts_as_delivered_and_is_not_followed(simulator: Simulator) -> None:
    async with receiving(lambda _number: 308) as receiver:
        await simulator.subscribe(receiver.url)
        await write(simulator, "contact", {})
        (entry,) = await simulator.settled()
        assert receiver.paths == ["/hooks"]
        assert (entry["delivered_3xx"], entry["deliveries_2xx"]) == (1, 0)


async def test_a_receiver_that_does_not_answer_in_time_is_tried_again(receiver: Receiver) -> None:
    receiver.answer = lambda _number: None
    async with running(SenderRules(timeout_s=0.3, intervals_s=(0.01,))) as simulator:
        await simulator.subscribe(receiver.url)
        await write(simulator, "contact", {})
        (entry,) = await simulator.settled()
    assert (entry["attempts"], entry["deliveries_2xx"], entry["refused"]) == (3, 0, 1)
    # The receiver has what the sender gave up on: up to `attempts` copies may be stored.
    assert len(set(receiver.bodies)) == 1
    assert len(receiver.bodies) <= 3


async def test_a_refused_connection_is_tried_again(simulator: Simulator) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        await simulator.subscribe(f"http://127.0.0.1:{closed.getsockname()[1]}/")
        await write(simulator, "contact", {})
        (entry,) = await simulator.settled()
    assert (entry["attempts"], entry["refused"]) == (3, 1)


async def test_a_job_item_edit_through_the_api_makes_the_burst(simulator: Simulator, receiver: Receiver) -> None:
    location = await write(simulator, "location", {"name": "Here"})
    job = await write(simulator, "job", {"locationId": location["id"]})
    await simulator.subscribe(receiver.url)
    await write(simulator, "jobitem", {"jobId": job["id"], "totalPrice": 12.5})
    await simulator.settled()
    (message,) = receiver.messages()
    assert [(one["entity"]["type"], one["action"]) for one in message["data"]] == [
        ("jobitem", "created"),
        ("job", "updated"),
        ("job", "updated"),
    ]
    headers = await simulator.login()
    assert (await simulator.http.get(f"/api/job/{job['id']}", headers=headers)).json()["data"]["total"] == 12.5


async def test_a_repeat_has_the_same_bytes_and_its_elements_count_again(
    simulator: Simulator, receiver: Receiver
) -> None:
    await simulator.control("switches", {"switches": {"repeat_ratio": 1, "reorder_ratio": 1}})
    await simulator.subscribe(receiver.url)
    await write(simulator, "contact", {})
    (entry,) = await simulator.settled()
    assert len(receiver.bodies) == 2
    assert len(set(receiver.bodies)) == 1
    assert (entry["sendings"], entry["attempts"], entry["deliveries_2xx"]) == (2, 2, 2)
    totals, _ = await simulator.journal()
    assert (totals["messages"], totals["notifications_2xx"], totals["repeated_2xx"]) == (1, 2, 1)


async def test_every_webhook_of_the_account_and_of_no_other_gets_the_message(
    simulator: Simulator, receiver: Receiver
) -> None:
    jobs_only = [{"entityType": 3, "actions": ["created"]}]
    first = await simulator.subscribe(f"{receiver.url}/1")
    second = await simulator.subscribe(f"{receiver.url}/2")
    await simulator.subscribe(f"{receiver.url}/filtered", entityEvents=jobs_only)
    await simulator.subscribe(f"{receiver.url}/disabled", enabled=False)
    await simulator.subscribe(f"{receiver.url}/other", account="bolt")
    await write(simulator, "contact", {})
    entries = await simulator.settled()
    assert {entry["webhook_id"] for entry in entries} == {first["id"], second["id"]}
    assert len({entry["message_id"] for entry in entries}) == 1
    assert sorted(receiver.paths) == ["/hooks/1", "/hooks/2"]


async def test_deliveries_at_once_are_bounded_and_none_is_forgotten() -> None:
    rules = SenderRules(timeout_s=0.3, attempts=1, concurrency=2)
    async with running(rules) as simulator, receiving(lambda _number: None) as receiver:
        await simulator.subscribe(receiver.url)
        headers = await simulator.login()
        for _ in range(5):
            await simulator.http.post("/api/contact", json={}, headers=headers)

        async def two_arrived() -> bool:
            return len(receiver.bodies) >= 2

        await until(two_arrived)
        entries = await simulator.settled()
        assert [entry["attempts"] for entry in entries] == [1] * 5


async def test_assets_change_without_any_notification(simulator: Simulator, receiver: Receiver) -> None:
    await simulator.subscribe(receiver.url)
    await write(simulator, "asset", {"name": "Pump"})
    await write(simulator, "contact", {})
    await simulator.settled()
    assert [one["entity"]["type"] for message in receiver.messages() for one in message["data"]] == ["contact"]
