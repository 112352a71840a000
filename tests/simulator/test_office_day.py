"""The scripted day: its plan, and a short one over real sockets."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from typing import Any

import pytest

from servicetrade.simulator.furnish import furnish
from servicetrade.simulator.office_day import Crew, DaySettings, Planned, elements, plan_day
from servicetrade.simulator.world import World
from tests.simulator.support import Receiver, Simulator, receiving, running, until

pytestmark = pytest.mark.anyio
SHORT = {"seed": 5, "notifications": 300, "duration_s": 0.5, "odd_bodies": 9}


def crews() -> list[Crew]:
    made = []
    for index, name in enumerate(("a", "b", "c")):
        world = World(index=index)
        user = furnish(world, random.Random(name), 0, name=name, user_id=None)
        made.append(Crew(account=name, world=world, api_user=user))
    return made


def test_a_plan_is_a_function_of_the_seed_and_the_day() -> None:
    settings = DaySettings(seed=3)
    plan = plan_day(settings, crews())
    assert plan == plan_day(settings, crews())
    assert plan != plan_day(DaySettings(seed=4), crews())
    next_day = plan_day(settings, crews(), day=2)
    assert not {one.script.message_id for one in plan} & {one.script.message_id for one in next_day}


@pytest.mark.parametrize(("wanted", "duration_s"), [(2000, 40.0), (500, 2.0), (100, 1.0), (5000, 400.0)])
def test_a_plan_is_large_enough_in_time_and_possible(wanted: int, duration_s: float) -> None:
    made = crews()
    worlds = {crew.account: crew.world for crew in made}
    plan = plan_day(DaySettings(notifications=wanted, duration_s=duration_s), made)
    assert elements(plan) >= wanted
    assert max(message.at_s for message in plan) <= duration_s
    for message in plan:
        for op in message.ops:
            assert worlds[message.account].apply(op, message.at_s) is not None


def test_a_plan_holds_what_makes_a_day_hard() -> None:
    plan = plan_day(DaySettings(), crews())
    types = Counter(op.type for message in plan for op in message.ops)
    actions = Counter(op.action for message in plan for op in message.ops)
    users = {op.user_id for message in plan for op in message.ops}
    per_entity = Counter(op.id for message in plan for op in message.ops)
    oddities = Counter(message.script.oddity for message in plan if message.script.oddity)
    assert {"job", "appointment", "jobitem", "invoice", "quote", "contact", "location", "attachment"} <= set(types)
    assert actions["deleted"] > 10
    assert None in users
    assert users.isdisjoint(crew.api_user for crew in crews())
    assert max(per_entity.values()) > 30
    assert max(len(message.ops) for message in plan) >= 20
    assert oddities == {"not_json": 2, "poison_element": 2, "unknown_type": 2}
    assert 0.02 < share(plan, "repeat_after_s") < 0.06
    assert 0.02 < share(plan, "hold_s") < 0.06


def share(plan: list[Planned], field: str) -> float:
    return sum(bool(getattr(message.script, field)) for message in plan) / len(plan)


async def play(simulator: Simulator, receivers: dict[str, Receiver]) -> dict[str, Any]:
    for account, receiver in receivers.items():
        await simulator.subscribe(receiver.url, account=account)
    await simulator.control("day", SHORT)

    async def done() -> bool:
        return (await simulator.control("day"))["done"] is True

    await until(done, within_s=60)
    progress: dict[str, Any] = await simulator.control("day")
    return progress


def told(receiver: Receiver) -> set[tuple[Any, ...]]:
    """Every message without its times."""
    return {
        (
            message["messageId"],
            *(
                (one["action"], one["userId"], one["entity"]["type"], str(one["entity"]["id"]))
                for one in message["data"]
                if isinstance(one, dict) and isinstance(one["entity"], dict)
            ),
        )
        for message in receiver.messages()
    }


async def test_the_same_seed_makes_the_same_messages_and_the_books_balance() -> None:
    seen = []
    for _ in range(2):
        async with running() as simulator, receiving() as a, receiving() as b, receiving() as c:
            receivers = {"acme": a, "bolt": b, "crew": c}
            progress = await play(simulator, receivers)
            assert progress["sent_elements"] >= progress["planned_elements"] >= SHORT["notifications"]
            assert (progress["pending"], progress["refused_for_good"]) == (0, 0)
            for account, receiver in receivers.items():
                await books_balance(simulator, account, receiver)
            seen.append({account: told(receiver) for account, receiver in receivers.items()})
    assert seen[0] == seen[1]


async def books_balance(simulator: Simulator, account: str, receiver: Receiver) -> None:
    totals, entries = await simulator.journal(account)
    copies = Counter(message["messageId"] for message in receiver.messages())
    assert totals["deliveries_2xx"] == len(receiver.bodies)
    assert totals["notifications_2xx"] == sum(len(message["data"]) for message in receiver.messages())
    assert totals["poison_bodies_2xx"] == len(receiver.bodies) - len(receiver.messages()) > 0
    assert totals["poison_elements_2xx"] > 0
    for entry in entries:
        assert entry["poison_body"] or copies[entry["message_id"]] == entry["deliveries_2xx"]


async def test_the_entities_at_the_end_are_what_the_notifications_said(
    simulator: Simulator, receiver: Receiver
) -> None:
    await play(simulator, {"acme": receiver})
    world = await simulator.control("entities?account=acme")
    actions: dict[str, set[str]] = defaultdict(set)
    for message in receiver.messages():
        for one in message["data"]:
            if isinstance(one, dict) and isinstance(one["entity"], dict) and isinstance(one["entity"]["id"], int):
                actions[f"{one['entity']['type']}/{one['entity']['id']}"].add(one["action"])
    unknown = {key for key in actions if key.startswith("permit/")}
    assert len(unknown) == 1
    assert set(actions) - unknown == set(world["touched"])
    assert {key for key, said in actions.items() if "deleted" in said} == set(world["deleted"])
    assert set(world["deleted"])
    headers = await simulator.login()
    for key in world["touched"]:
        if key.split("/")[0] in world["unreadable"]:
            continue
        answer = await simulator.http.get(f"/api/{key}", headers=headers)
        if key in world["deleted"]:
            assert answer.status_code == 404
        else:
            assert answer.json()["data"] == world["entities"][key]


async def test_a_second_day_is_refused_while_one_runs(simulator: Simulator) -> None:
    await simulator.control("day", {"duration_s": 600})
    answer = await simulator.http.post("/_control/day", json={})
    assert answer.status_code == 409
    assert (await simulator.control("day"))["state"] == "running"
    for body in ({"duration_s": 0}, {"notifications": "many"}, {"sed": 1}):
        assert (await simulator.http.post("/_control/day", json=body)).status_code == 400
