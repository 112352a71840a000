"""The control plane of faults and sessions, and what it counts."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from servicetrade.simulator import control, faults
from tests.simulator.support import Simulator

pytestmark = pytest.mark.anyio


async def refused(simulator: Simulator, path: str, body: dict[str, Any]) -> str:
    """The sentence with which the control plane refuses the body."""
    answer = await simulator.http.post(f"/_control/{path}", json=body)
    assert answer.status_code == 400
    sentence: str = answer.json()["error"]
    return sentence


async def statuses(simulator: Simulator, sessions: list[dict[str, str]]) -> list[int]:
    return [await simulator.status(one) for one in sessions]


async def test_faults_are_appended_and_listed_by_account_under_numbers_of_their_own(simulator: Simulator) -> None:
    everyone = await simulator.control("faults", {"faults": [{"on": "login", "status": 429}, {"on": "auth"}]})
    assert {name: [one["on"] for one in found] for name, found in everyone.items()} == {
        name: ["login", "auth"] for name in ("acme", "bolt", "crew")
    }
    placed = await simulator.fault("bolt", on="resource", delay_s=0.5, path="job/*")
    listed = await simulator.control("faults")
    assert [one["on"] for one in listed["bolt"]] == ["login", "auth", "resource"]
    assert listed["bolt"][-1] == placed
    assert (placed["delay_s"], placed["path"], placed["times"], placed["struck"]) == (0.5, "job/*", None, 0)
    ids = [one["id"] for found in listed.values() for one in found]
    assert len(ids) == len(set(ids)) == 7


async def test_faults_are_placed_together_or_not_at_all(simulator: Simulator) -> None:
    before = await simulator.fault(on="login", times=1)
    good, bad = {"on": "login", "status": 429}, {"on": "login", "status": 429, "reset": True}
    sentence = "faults[1]: status, reset, malformed: at most one of them"
    assert await refused(simulator, "faults", {"account": "acme", "faults": [good, bad, good]}) == sentence
    assert await refused(simulator, "faults", {"faults": [good, bad]}) == sentence
    assert await refused(simulator, "faults", {"faults": ["x"]}) == "faults[0]: expected an object, got 'x'"
    senseless: tuple[dict[str, Any], ...] = ({}, {"faults": {}}, {"faults": [good], "acount": "acme"})
    for body in senseless:
        assert "faults (a list)" in await refused(simulator, "faults", body)
    for name in ("nobody", 7, ["acme"]):
        answer = await simulator.http.post("/_control/faults", json={"account": name, "faults": [good]})
        assert answer.status_code == 404
    assert await simulator.control("faults") == {"acme": [before], "bolt": [], "crew": []}


async def test_faults_are_cleared_by_number_by_account_or_all(simulator: Simulator) -> None:
    await simulator.control("faults", {"faults": [{"on": "login"}, {"on": "auth"}]})
    listed = await simulator.control("faults")
    first = listed["acme"][0]["id"]
    assert await simulator.clear_faults("bolt", first) == 0
    assert await simulator.clear_faults(id_=first) == 1
    assert await simulator.clear_faults(id_=first) == 0
    assert await simulator.faults() == listed["acme"][1:]
    assert await simulator.clear_faults("bolt") == 2
    assert await simulator.clear_faults() == 3
    assert await simulator.control("faults") == {"acme": [], "bolt": [], "crew": []}
    assert (await simulator.http.delete("/_control/faults?account=nobody")).status_code == 404
    assert (await simulator.http.delete("/_control/faults?id=x")).status_code == 400


async def test_a_fault_placed_after_another_was_cleared_has_a_new_number(simulator: Simulator) -> None:
    first = await simulator.fault(on="login")
    await simulator.clear_faults()
    assert (await simulator.fault(on="login"))["id"] > first["id"]


async def test_pruning_keeps_the_newest_sessions_of_the_account(simulator: Simulator) -> None:
    sessions, other = [await simulator.login() for _ in range(5)], await simulator.login("bolt")
    assert await simulator.control("sessions/prune", {"account": "acme", "keep": 2}) == {"pruned": 3}
    assert await statuses(simulator, [*sessions, other]) == [401, 401, 401, 200, 200, 200]
    assert await simulator.control("sessions/prune", {"keep": 1}) == {"pruned": 1}
    assert await statuses(simulator, [*sessions[3:], other]) == [401, 200, 200]
    counters = await simulator.counters()
    assert (counters["live_sessions"], counters["peak_sessions"], counters["pruned_sessions"]) == (1, 5, 4)


async def test_pruning_leaves_a_hundred_unless_told_otherwise(simulator: Simulator) -> None:
    for _ in range(103):
        await simulator.login()
    assert await simulator.control("sessions/prune", {}) == {"pruned": 3}
    assert await simulator.control("sessions/prune", {"account": "acme"}) == {"pruned": 0}
    assert await simulator.control("sessions/prune", {"account": "acme", "keep": 0}) == {"pruned": 100}
    assert (await simulator.counters())["peak_sessions"] == 103


async def test_a_pruning_that_makes_no_sense_is_refused(simulator: Simulator) -> None:
    headers = await simulator.login()
    for body in ({"keep": -1}, {"keep": "1"}, {"keep": True}, {"keep": None}, {"keep": 0, "acount": "acme"}):
        assert "keep (a count from 0" in await refused(simulator, "sessions/prune", body)
    answer = await simulator.http.post("/_control/sessions/prune", json={"account": "nobody"})
    assert answer.status_code == 404
    assert await statuses(simulator, [headers]) == [200]


async def test_the_counters_tell_logins_tried_and_sessions_used_and_never_a_token(simulator: Simulator) -> None:
    body = {"username": "acme-api", "password": "secret-a"}
    for wrong in ({**body, "password": "no"}, {"username": "acme-api"}, {**body, "username": "nobody"}):
        await simulator.http.post("/api/auth", json=wrong)
    one, two, unused = [await simulator.login() for _ in range(3)]
    await simulator.http.get("/api/auth", headers=unused)
    await simulator.control("sessions/kill", {"token": two["cookie"].removeprefix("PHPSESSID=")})
    assert await statuses(simulator, [one, one, two, {"cookie": "PHPSESSID=unknown"}]) == [200, 200, 401, 401]
    everyone = await simulator.control("accounts")
    counters = await simulator.counters()
    expected = {
        "login_attempts": 5,
        "logins": 3,
        "logins_refused": 1,
        "logins_held": 0,
        "live_sessions": 2,
        "peak_sessions": 3,
        "sessions_used": 2,
        "unauthorized": 1,
    }
    assert {name: counters[name] for name in expected} == expected
    assert (await simulator.counters("bolt"))["login_attempts"] == 0
    for headers in (one, two, unused):
        assert headers["cookie"].removeprefix("PHPSESSID=") not in str(everyone)


async def test_the_peak_never_passes_the_hard_limit(simulator: Simulator) -> None:
    for _ in range(201):
        await simulator.login()
    counters = await simulator.counters()
    assert (counters["live_sessions"], counters["peak_sessions"], counters["pruned_sessions"]) == (100, 200, 101)


def test_the_examples_in_the_control_planes_description_are_faults() -> None:
    examples = re.findall(r"^ {4}(\{.*?\})(?: {2,}|$)", control.__doc__ or "", re.MULTILINE)
    assert len(examples) == 9
    assert {faults.read(json.loads(one)).on for one in examples} == {"login", "auth", "resource"}
