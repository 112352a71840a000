"""The /webhook resource over real sockets, and which events a subscription gets."""

from __future__ import annotations

from typing import Any

import pytest

from servicetrade.simulator import webhooks
from servicetrade.simulator.world import Event
from tests.simulator.support import Receiver, Simulator, until

pytestmark = pytest.mark.anyio
HOOK = "https://hooks.example.com/a/b"
JOBS = [{"entityType": 3, "actions": ["created", "deleted"]}]


async def test_a_webhook_is_made_listed_changed_and_removed(simulator: Simulator) -> None:
    hook = await simulator.subscribe(HOOK, enabled=False, entityEvents=JOBS)
    headers, path = await simulator.login(), f"/api/webhook/{hook['id']}"
    assert hook["entityEvents"] == JOBS
    assert hook["confirmed"] is False
    listed = (await simulator.http.get("/api/webhook", headers=headers)).json()["data"]["webhooks"]
    assert [one["id"] for one in listed] == [hook["id"]]
    changed = await simulator.http.put(path, json={"enabled": True, "entityEvents": None}, headers=headers)
    assert changed.json()["data"]["enabled"] is True
    assert changed.json()["data"]["entityEvents"] is None
    assert changed.json()["data"]["includeChangesets"] is True
    assert (await simulator.http.put(path, json={"enabled": 1}, headers=headers)).status_code == 400
    assert (await simulator.http.delete(path, headers=headers)).status_code == 204
    assert (await simulator.http.get(path, headers=headers)).status_code == 404
    assert (await simulator.http.delete(path, headers=headers)).status_code == 404


async def test_the_hook_url_is_immutable(simulator: Simulator) -> None:
    hook = await simulator.subscribe(HOOK)
    headers = await simulator.login()
    body = {"hookUrl": "https://elsewhere.example.com/", "enabled": False}
    changed = await simulator.http.put(f"/api/webhook/{hook['id']}", json=body, headers=headers)
    assert changed.json()["data"]["hookUrl"] == HOOK
    assert changed.json()["data"]["enabled"] is False


async def test_a_webhook_confirms_itself_without_any_request_to_the_receiver(
    simulator: Simulator, receiver: Receiver
) -> None:
    hook = await simulator.subscribe(receiver.url)
    headers = await simulator.login()

    async def confirmed() -> bool:
        answer = await simulator.http.get(f"/api/webhook/{hook['id']}", headers=headers)
        return answer.json()["data"]["confirmed"] is True

    await until(confirmed)
    assert receiver.bodies == []


BAD: tuple[dict[str, Any], ...] = (
    {},
    {"hookUrl": "not a url"},
    {"hookUrl": "https://[::1"},
    {"hookUrl": HOOK, "enabled": "yes"},
    {"hookUrl": HOOK, "entityEvents": "all"},
    {"hookUrl": HOOK, "entityEvents": [{"entityType": 3, "actions": ["renamed"]}]},
    {"hookUrl": HOOK, "entityEvents": [{"entityType": 3, "actions": [[]]}]},
    {"hookUrl": HOOK, "entityEvents": [{"entityType": "job", "actions": ["created"]}]},
)


async def test_a_bad_subscription_is_400(simulator: Simulator) -> None:
    headers = await simulator.login()
    for body in BAD:
        answer = await simulator.http.post("/api/webhook", json=body, headers=headers)
        assert (answer.status_code, body) == (400, body)
        assert answer.json()["messages"]["error"]


async def test_a_user_without_the_permission_is_403(simulator: Simulator) -> None:
    body = {"name": "dash", "username": "dash-api", "password": "secret-d", "admin": False}
    await simulator.control("accounts", body)
    headers = await simulator.login("dash")
    assert (await simulator.http.get("/api/webhook", headers=headers)).status_code == 403
    assert (await simulator.http.get("/api/webhook/1", headers=headers)).status_code == 403


async def test_a_hook_that_cannot_be_reached_harms_nobody(simulator: Simulator, receiver: Receiver) -> None:
    for url in ("http://white space.invalid/", "ftp://127.0.0.1/x"):
        body = {"hookUrl": url}
        await simulator.http.post("/api/webhook", json=body, headers=await simulator.login())
    await simulator.subscribe(receiver.url)
    await simulator.http.post("/api/contact", json={}, headers=await simulator.login())
    entries = await simulator.settled()
    assert len(receiver.bodies) == 1
    assert {entry["deliveries_2xx"] + entry["refused"] for entry in entries} == {1}


def test_a_filter_goes_by_type_code_and_action_and_types_without_a_code_need_the_open_one() -> None:
    def event(type_: str, action: Any) -> Event:
        return Event(type=type_, id=1, action=action, user_id=None, at=0)

    filtered = webhooks.create(1, {"hookUrl": HOOK, "entityEvents": JOBS}, 0)
    unfiltered = webhooks.create(1, {"hookUrl": HOOK}, 0)
    assert filtered.wants(event("job", "created"))
    assert not filtered.wants(event("job", "updated"))
    assert not filtered.wants(event("user", "created"))
    assert not filtered.wants(event("invoice", "created"))
    assert not filtered.wants(event("permit", "created"))
    assert unfiltered.wants(event("invoice", "created"))
    assert unfiltered.wants(event("permit", "created"))
