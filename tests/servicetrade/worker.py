"""A worker process for the tests: reads jobs of "acme" at each line on stdin, and says on stdout how many it got."""

from __future__ import annotations

import asyncio
import sys

from runtime.database import open_database
from runtime.settings import AccountSettings, LoginSettings, ServiceTradeSettings, StoreSettings
from runtime.toml_reader import Secret
from servicetrade.client import open_client
from servicetrade.session_store import SessionStore


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def work(api_url: str, store_url: str, key: str, calls: int) -> None:
    settings = StoreSettings(url=store_url, key=Secret(key))
    accounts = {
        "acme": AccountSettings(username="api", password=Secret("right"), hook_secret=Secret("of-no-use-in-this-test"))
    }
    where = ServiceTradeSettings(base_url=api_url, login=LoginSettings(interval_s=0.02))
    async with open_database(settings) as engine:
        store = SessionStore(engine, settings.key)
        await store.create_tables()
        async with open_client(where, accounts, store) as client:
            account = client.account("acme")
            say("ready")
            while await asyncio.to_thread(sys.stdin.readline):
                got = await asyncio.gather(*(account.get("job", i + 1) for i in range(calls)))
                say(str(len(got)))


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
