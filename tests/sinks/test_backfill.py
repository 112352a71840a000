"""`tradewind mirror backfill` against the simulator on both databases: complete, resumable, beside a live mirror."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path

import pytest
from sqlalchemy import text

from runtime.settings import StoreSettings
from schemas.errors import ApiError, LoginRefused, SettingsError
from sinks.backfill import Backfill, Told
from sinks.backfill_plan import Wanted
from sinks.backfill_store import BackfillStore, TakenOver
from sinks.mirror import Mirror
from sinks.mirror_store import MirrorStore
from sinks.outcome import Delivered
from tests.servicetrade.conftest import simulator
from tests.servicetrade.site import Site
from tests.simulator.support import Simulator
from tests.sinks.backfilling import QUICK, entities, held, hold_after, in_a_thread, mirrored, opened, started
from tests.sinks.making import arrived, change

pytestmark = pytest.mark.anyio

__all__ = ["simulator"]

Run = Callable[..., Coroutine[None, None, tuple[int, str, str]]]


@pytest.fixture
def site(simulator: Simulator, store_settings: StoreSettings, tmp_path: Path) -> Site:
    return Site(tmp_path, simulator, store_settings, login=QUICK)


@pytest.fixture
def run(site: Site, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command; returns the exit code and what it printed to stdout and stderr."""

    async def runner(*arguments: str) -> tuple[int, str, str]:
        code = await asyncio.to_thread(in_a_thread, site, *arguments)
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return runner


async def requests(simulator: Simulator, path: str) -> int:
    return int((await simulator.counters())["requests"].get(f"GET {path}", 0))


async def test_everything_in_the_lists_is_in_the_mirror_page_by_page(
    simulator: Simulator, site: Site, run: Run
) -> None:
    code, out, err = await run("--types", "location, Contact", "--since", "1d", "--page-limit", "5")
    assert code == 0
    assert out.splitlines() == ["acme: location: 12 read, 12 written", "acme: contact: 14 read, 14 written"]
    assert "location: finished, 12 read" in err
    assert await mirrored(site) == await entities(simulator, "location", "contact")
    assert await requests(simulator, "location") == 3 + 3


async def test_a_backfill_that_is_finished_begins_anew_and_writes_no_row_twice(site: Site, run: Run) -> None:
    await run("--types", "location", "--since", "1d")
    async with opened(site) as (engine, client, _):
        mirror = Mirror(client, MirrorStore(engine))
        for row in await MirrorStore(engine).rows():
            one = change(1, row.entity_id, entity_type="location")
            assert await mirror.deliver([arrived(one)]) == [Delivered()]
    assert (await run("--types", "location", "--since", "1d"))[1] == "acme: location: 12 read, 0 written\n"


@pytest.mark.parametrize(
    ("store_settings", "number"),
    [("sqlite", signal.SIGKILL), ("postgresql", signal.SIGKILL), ("sqlite", signal.SIGINT)],
    indirect=["store_settings"],
)
async def test_a_backfill_that_was_ended_in_the_middle_goes_on_with_the_page_it_had_read_last(
    simulator: Simulator, site: Site, run: Run, number: signal.Signals
) -> None:
    wanted = ("--types", "location,contact", "--since", "1d", "--page-limit", "2")
    await hold_after(simulator, 3, "location")
    async with started(site, *wanted) as process:
        await held(simulator)
        process.send_signal(number)
        _, err = await process.communicate()
        assert process.returncode != 0
        if number == signal.SIGINT:
            assert "the same command goes on from there" in " ".join(err.decode().split())
    await simulator.clear_faults()
    assert len(await mirrored(site)) == 3 * 2
    before = await requests(simulator, "location")
    assert (await run(*wanted))[0] == 0
    # Pages 3 to 6, and the six of the last pass.
    assert await requests(simulator, "location") - before == 4 + 6
    assert await mirrored(site) == await entities(simulator, "location", "contact")


async def stopped(site: Site, path: str, after: int, page_limits: dict[str, int | None]) -> None:
    """The backfill since 1d begins, and is cancelled when it waits for the answer after so many."""
    await hold_after(site.simulator, after, path)
    async with opened(site) as (engine, client, _):
        wanted = Wanted(account="acme", page_limits=page_limits, since="1d", since_at=0)
        backfill = Backfill(client.account("acme"), BackfillStore(engine), lambda _: None, patience_s=0)
        running = asyncio.create_task(backfill.run(wanted))
        await held(site.simulator)
        running.cancel()
        await asyncio.wait({running})
    await site.simulator.clear_faults()


async def test_what_is_finished_of_an_unfinished_backfill_is_not_read_again(
    simulator: Simulator, site: Site, run: Run
) -> None:
    await stopped(site, "location", 0, {"contact": None, "location": 500})
    before = await requests(simulator, "contact")
    assert (await run("--types", "contact,location", "--since", "1d"))[0] == 0
    assert await requests(simulator, "contact") == before
    assert await mirrored(site) == await entities(simulator, "location", "contact")


@pytest.mark.parametrize("change_of_mind", [("--page-limit", "3"), ("--page-limit", "2", "--restart")], ids=str)
async def test_with_pages_of_another_size_or_if_told_to_it_begins_with_the_first_page(
    simulator: Simulator, site: Site, run: Run, change_of_mind: tuple[str, ...]
) -> None:
    await stopped(site, "location", 4, {"location": 2})
    async with opened(site) as (engine, _, _), engine.begin() as connection:
        await connection.execute(text("DELETE FROM entities"))
    assert (await run("--types", "location", "--since", "1d", *change_of_mind))[0] == 0
    assert await mirrored(site) == await entities(simulator, "location")


async def test_what_was_updated_while_the_pages_were_read_is_read_again_at_the_end(
    simulator: Simulator, site: Site, run: Run
) -> None:
    await hold_after(simulator, 2, "location")
    running = asyncio.create_task(run("--types", "location", "--since", "1d", "--page-limit", "3"))
    await held(simulator)
    first, last = min(await entities(simulator, "location")), max(await entities(simulator, "location"))
    headers = await simulator.login()
    for name in (first, last):
        answer = await simulator.http.put(f"/api/{name}", json={"name": "another name"}, headers=headers)
        assert answer.is_success
    await simulator.clear_faults()
    assert (await running)[0] == 0
    found = await mirrored(site)
    assert found[first]["name"] == found[last]["name"] == "another name"
    assert found == await entities(simulator, "location")


async def test_a_live_mirror_goes_on_meanwhile_and_neither_undoes_the_other(simulator: Simulator, site: Site) -> None:
    headers, deleted = await simulator.login(), set[str]()
    present = sorted(await entities(simulator, "location"))
    async with opened(site) as (engine, client, settings), asyncio.TaskGroup() as tasks:
        mirror = Mirror(client, MirrorStore(engine))

        async def live() -> None:
            for number, name in enumerate(present * 4, 1):
                entity_id = name.split("/")[1]
                if number > len(present) * 3 and number % 3 == 0:
                    deleted.add(name)
                    await simulator.http.delete(f"/api/{name}", headers=headers)
                    one = change(number, entity_id, entity_type="location", action="deleted")
                else:
                    await simulator.http.put(f"/api/{name}", json={"name": f"name {number}"}, headers=headers)
                    one = change(number, entity_id, entity_type="location")
                await mirror.deliver([arrived(one)])

        async def backfill() -> None:
            wanted = Wanted(account="acme", page_limits={"location": 2}, since="1d", since_at=0)
            while not living.done():
                store = BackfillStore(engine)
                await Backfill(client.account("acme"), store, lambda _: None, patience_s=0).run(wanted)

        assert settings.accounts
        living = tasks.create_task(live())
        tasks.create_task(backfill())
    assert deleted
    found = await mirrored(site)
    assert found == await entities(simulator, "location")
    assert found.keys().isdisjoint(deleted)


async def test_a_failing_servicetrade_is_tried_again_and_if_it_goes_on_failing_the_command_can_be_repeated(
    simulator: Simulator, site: Site, run: Run
) -> None:
    wanted = ("--types", "location", "--since", "1d", "--page-limit", "4")
    await simulator.fault(on="resource", path="location", times=1)
    await simulator.fault(on="resource", path="location", times=1, status=503)
    await simulator.fault(on="resource", path="location", times=1, reset=True)
    code, _, err = await run(*wanted)
    assert code == 0
    assert "tried again: HTTP 503" in " ".join(err.split())
    await simulator.fault(on="resource", path="location", status=500)
    with pytest.raises(ApiError, match="500"):
        await run(*wanted, "--patience-s", "0.6", "--restart")
    await simulator.clear_faults()
    assert (await run(*wanted))[0] == 0
    assert await mirrored(site) == await entities(simulator, "location")


async def test_what_no_other_try_would_change_is_said_at_once(simulator: Simulator, site: Site, run: Run) -> None:
    await simulator.fault(on="resource", path="location", status=403, times=1)
    with pytest.raises(ApiError, match="403"):
        await run("--types", "location", "--since", "1d")
    site.write_secret("acme", "mistyped")
    await simulator.control("sessions/kill", {"account": "acme"})
    with pytest.raises(LoginRefused):
        await run("--types", "location", "--since", "1d")


async def test_of_two_that_do_the_same_only_the_last_goes_on(site: Site, simulator: Simulator) -> None:
    told: list[Told] = []
    wanted = Wanted(account="acme", page_limits={"location": 4}, since="1d", since_at=0)
    async with opened(site) as (engine, client, _):
        first, second = (
            Backfill(client.account("acme"), BackfillStore(engine), told.append, patience_s=0) for _ in range(2)
        )
        await hold_after(simulator, 1, "location")
        running = asyncio.create_task(first.run(wanted))
        await held(simulator)
        other = asyncio.create_task(second.run(wanted))
        while len(told) < 3:  # noqa: ASYNC110 - the one that took over has told that it begins
            await asyncio.sleep(0.01)
        await simulator.clear_faults()
        with pytest.raises(TakenOver):
            await running
        (done,) = await other
    assert done.finished_at is not None
    assert await mirrored(site) == await entities(simulator, "location")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--types", "jbo", "--since", "1d"), "--types: no type 'jbo' is known; did you mean job"),
        (("--types", "clockevent", "--since", "1d"), "--types: no list of the type 'clockevent'"),
        (("--types", ",", "--since", "1d"), "--types: names at least one type"),
        (("--types", "job", "--since", "yesterday"), "--since: 'yesterday' is no time"),
        (("--types", "job", "--since", "1d", "--account", "zebra"), "zebra: no such account; configured: acme, bolt"),
    ],
)
@pytest.mark.parametrize("store_settings", ["sqlite"], indirect=True)
async def test_what_cannot_be_meant_is_said(run: Run, arguments: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence):
        await run(*arguments)
