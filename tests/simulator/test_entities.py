"""Reading and writing entities over real sockets."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.simulator.support import Simulator

pytestmark = pytest.mark.anyio


async def make_job(simulator: Simulator, headers: dict[str, str], **fields: Any) -> dict[str, Any]:
    location = (await simulator.http.get("/api/location", headers=headers)).json()["data"]["locations"][0]
    body = {"locationId": location["id"], "status": "scheduled", "customerId": location["company"]["id"], **fields}
    answer = await simulator.http.post("/api/job", json=body, headers=headers)
    assert answer.status_code == 200
    made: dict[str, Any] = answer.json()["data"]
    return made


def ids(answer: httpx.Response, key: str) -> list[int]:
    return [entity["id"] for entity in answer.json()["data"][key]]


async def test_an_entity_is_created_with_200_read_changed_and_deleted(simulator: Simulator) -> None:
    headers = await simulator.login()
    job = await make_job(simulator, headers, description="first")
    path = f"/api/job/{job['id']}"
    assert 1_870_000_000_000_000 < job["id"] < 2_690_000_000_000_000
    assert (await simulator.http.get(path, headers=headers)).json()["data"] == job
    changed = await simulator.http.put(path, json={"description": "second", "id": 5, "updated": 1}, headers=headers)
    assert changed.json()["data"]["description"] == "second"
    assert changed.json()["data"]["id"] == job["id"]
    assert changed.json()["data"]["updated"] >= job["updated"] > 1_600_000_000
    assert (await simulator.http.head(path, headers=headers)).status_code == 200
    assert (await simulator.http.delete(path, headers=headers)).status_code == 204
    for answer in (
        await simulator.http.get(path, headers=headers),
        await simulator.http.put(path, json={}, headers=headers),
        await simulator.http.delete(path, headers=headers),
    ):
        assert answer.status_code == 404
        assert answer.json() == {"messages": {"error": ["Not found"]}, "data": None}


async def test_a_job_without_location_is_400_with_the_field_named(simulator: Simulator) -> None:
    answer = await simulator.http.post("/api/job", json={}, headers=await simulator.login())
    assert answer.status_code == 400
    assert answer.json()["messages"]["validation"] == {"locationId": "Location is required"}


async def test_flat_embeds_references_and_compound_puts_them_beside(simulator: Simulator) -> None:
    headers = await simulator.login()
    job = await make_job(simulator, headers)
    assert job["location"]["name"].startswith("Location")
    assert job["customer"]["status"] == "active"
    await simulator.control("switches", {"account": "acme", "switches": {"shape": "compound"}})
    data = (await simulator.http.get(f"/api/job/{job['id']}", headers=headers)).json()["data"]
    assert data["job"]["location"] == job["location"]["id"]
    assert [one["id"] for one in data["locations"]] == [job["location"]["id"]]
    assert [one["id"] for one in data["companies"]] == [job["customer"]["id"]]
    listed = (await simulator.http.get("/api/job", headers=headers)).json()["data"]
    assert listed["jobs"] == [data["job"]]
    assert (await simulator.control("switches"))["bolt"]["shape"] == "flat"


async def test_lists_are_paged_and_locations_come_ten_at_a_time(simulator: Simulator) -> None:
    headers = await simulator.login()
    first = await simulator.http.get("/api/location", headers=headers)
    second = await simulator.http.get("/api/location?page=2", headers=headers)
    everything = await simulator.http.get("/api/location?limit=5000", headers=headers)
    assert first.json()["data"]["totalPages"] == second.json()["data"]["totalPages"] == 2
    assert len(ids(first, "locations")) == 10
    assert ids(first, "locations") + ids(second, "locations") == ids(everything, "locations")
    assert everything.json()["data"]["totalPages"] == 1
    assert ids(await simulator.http.get("/api/location?page=3", headers=headers), "locations") == []
    assert (await simulator.http.get("/api/location?limit=x", headers=headers)).status_code == 400


async def test_the_job_list_shows_scheduled_jobs_unless_asked_otherwise(simulator: Simulator) -> None:
    headers = await simulator.login()
    jobs = {
        status: (await make_job(simulator, headers, status=status)) for status in ("scheduled", "canceled", "completed")
    }
    scheduled, canceled, completed = (jobs[status]["id"] for status in ("scheduled", "canceled", "completed"))

    async def listed(query: str) -> list[int]:
        return ids(await simulator.http.get(f"/api/job{query}", headers=headers), "jobs")

    assert await listed("") == [scheduled]
    assert await listed("?status=all") == [scheduled, completed]
    assert await listed("?status=*") == [scheduled, canceled, completed]
    assert await listed("?status=canceled,completed") == [canceled, completed]
    assert await listed(f"?number={jobs['canceled']['number']}") == [canceled]


async def test_updated_after_and_before_include_their_own_second(simulator: Simulator) -> None:
    headers = await simulator.login()
    job = await make_job(simulator, headers)
    updated = job["updated"]

    async def listed(query: str) -> list[int]:
        return ids(await simulator.http.get(f"/api/job?{query}", headers=headers), "jobs")

    assert await listed(f"updatedAfter={updated}&updatedBefore={updated}") == [job["id"]]
    assert await listed(f"updatedAfter={updated + 1}") == []
    assert await listed(f"createdBefore={job['created'] - 1}") == []


async def test_references_are_written_as_ids_or_objects_alone_or_in_lists(simulator: Simulator) -> None:
    headers = await simulator.login()
    users = ids(await simulator.http.get("/api/user", headers=headers), "users")[:2]
    job = await make_job(simulator, headers, owner={"id": users[0]}, sales=users[1])
    assert [job["owner"]["id"], job["sales"]["id"]] == users
    body = {"jobId": job["id"], "techIds": users}
    visit = (await simulator.http.post("/api/appointment", json=body, headers=headers)).json()["data"]
    assert visit["job"]["name"] == job["name"]
    assert [tech["id"] for tech in visit["techs"]] == users


async def test_accounts_do_not_see_each_others_entities(simulator: Simulator) -> None:
    headers, other = await simulator.login(), await simulator.login("bolt")
    job = await make_job(simulator, headers)
    assert (await simulator.http.get(f"/api/job/{job['id']}", headers=other)).status_code == 404
    assert ids(await simulator.http.get("/api/job?status=*", headers=other), "jobs") == []


async def test_paths_that_are_not_published_are_404(simulator: Simulator) -> None:
    headers = await simulator.login()
    quote = (await simulator.http.post("/api/quote", json={"name": "q"}, headers=headers)).json()["data"]
    item = await simulator.http.post(f"/api/quote/{quote['id']}/item", json={"price": 3}, headers=headers)
    assert item.status_code == 200
    for path in (f"quoteitem/{item.json()['data']['id']}", "permit/1", "clock/1", "job/abc", "job/1/2/3"):
        assert (await simulator.http.get(f"/api/{path}", headers=headers)).status_code == 404
    assert (await simulator.http.get("/api/clock", headers=headers)).json()["data"]["events"] == []
