"""A process with a command sink for the tests: performs the commands on stdin, one a line, and prints the results."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from runtime.database import open_database
from runtime.settings import read_settings
from runtime.store_schema import upgrade
from schemas.command import decode_command
from schemas.encoding import encode
from servicetrade.client import open_client
from servicetrade.session_store import SessionStore
from sinks.command import CommandSink
from sinks.command_store import CommandStore
from tests.sinks.commanding import until_settled


async def work(config: Path) -> None:
    settings = read_settings(config)
    async with open_database(settings.store) as engine, asyncio.TaskGroup() as tasks:
        sessions, store = SessionStore(engine, settings.store.key), CommandStore(engine)
        await upgrade(engine)
        async with open_client(settings.servicetrade, settings.accounts, sessions) as client:
            sink = CommandSink(client, store, settle_s=0)

            async def perform(line: str) -> None:
                result = await until_settled(sink, decode_command(line.encode()))
                sys.stdout.write(encode(result).decode() + "\n")
                sys.stdout.flush()

            under_way = []
            while line := await asyncio.to_thread(sys.stdin.readline):
                under_way.append(tasks.create_task(perform(line)))
            await asyncio.gather(*under_way)


if __name__ == "__main__":
    asyncio.run(work(Path(sys.argv[1])))
