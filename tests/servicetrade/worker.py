"""A worker process for the tests: makes the calls that each line on stdin asks for, and says what came of them."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from runtime.logs import set_up_logs
from runtime.settings import read_settings
from schemas.errors import LoginUnavailable, ServiceTradeError
from servicetrade.account import Account
from servicetrade.client import open_servicetrade


def say(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


async def call(account: Account, entity_type: str, entity_id: str, *, patient: bool) -> str:
    """What came of one call: ok, or the error's name; a patient one tries again when it is told to."""
    while True:
        try:
            await account.get(entity_type, entity_id)
        except LoginUnavailable as error:
            if not patient:
                return f"{type(error).__name__}: {error}"
            await asyncio.sleep(error.retry_after_s or 0.1)
        except ServiceTradeError as error:
            return f"{type(error).__name__}: {error}"
        else:
            return "ok"


async def work(config: Path) -> None:
    async with open_servicetrade(read_settings(config)) as client:
        say({"ready": True})
        while line := await asyncio.to_thread(sys.stdin.readline):
            order = json.loads(line)
            account = client.account(order["account"])
            entity_type, entity_id = order["entity"].split("/")
            calls = (call(account, entity_type, entity_id, patient=order["patient"]) for _ in range(order["calls"]))
            say(Counter(await asyncio.gather(*calls)))


if __name__ == "__main__":
    set_up_logs("worker", "debug")
    asyncio.run(work(Path(sys.argv[1])))
