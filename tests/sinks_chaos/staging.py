"""Starts everything that a run needs, but for the sinks: Kafka, ServiceTrade, subscribers, the store."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from random import Random

from runtime.kafka import Producer
from runtime.kafka.topics import ensure_topics
from tests.chaos.cluster import running_cluster
from tests.servicetrade.postgres import new_database
from tests.sinks_chaos.appender import Appender
from tests.sinks_chaos.desk import Desk
from tests.sinks_chaos.load import Load
from tests.sinks_chaos.looking import Shelf
from tests.sinks_chaos.office import running_office
from tests.sinks_chaos.processes import Say, Sinks
from tests.sinks_chaos.site import build_site
from tests.sinks_chaos.stage import Order, Stage
from tests.sinks_chaos.subscribers import Habit, subscribing


@asynccontextmanager
async def staged(order: Order, say: Say, *, habits: Sequence[Habit] = (), locked: int = 0) -> AsyncIterator[Stage]:
    """A stage for the length of a block; `locked` accounts are going to be locked out."""
    accounts = [f"account-{number:02d}" for number in range(order.accounts)]
    rng = Random(f"{order.seed}/run")
    async with AsyncExitStack() as stack:
        subscribers = await stack.enter_async_context(subscribing(habits, order.seed))
        kafka = (await stack.enter_async_context(running_cluster(order.folder, size=1))).direct
        await ensure_topics(kafka)
        office = await stack.enter_async_context(running_office(order.folder, seed=order.seed, accounts=accounts))
        site = build_site(
            order.folder,
            servers=kafka.bootstrap_servers,
            store_url=await _new_store(order),
            api_url=office.url,
            passwords=office.passwords,
            subscribers=subscribers,
            pace=order.pace,
        )
        shelf = await stack.enter_async_context(Shelf.open(site.store))
        producer = await stack.enter_async_context(Producer.open(kafka, client_id="sinks-chaos", linger_ms=5))
        appender = Appender(producer, order.seed)
        desks = [
            Desk(account=name, office=office, appender=appender, rng=Random(f"{order.seed}/{name}"))
            for name in accounts
        ]
        for desk in desks:
            await desk.open()
        sinks = await stack.enter_async_context(Sinks(folder=order.folder, config=site.config, say=say))
        yield Stage(
            order=order,
            kafka=kafka,
            office=office,
            site=site,
            shelf=shelf,
            appender=appender,
            load=Load(desks=desks, changes=order.changes, rate=order.rate, rng=Random(f"{order.seed}/load")),
            sinks=sinks,
            subscribers=subscribers,
            locked=rng.sample(accounts, locked),
            rng=rng,
            say=say,
            before=await office.counters(),
        )


async def _new_store(order: Order) -> str:
    """SQLAlchemy URL of a store that nobody has used."""
    return await new_database() if order.store == "postgres" else f"sqlite+aiosqlite:///{order.folder}/store/store.db"
