"""The ceiling of a receiver: uvicorn on the event loop of ours, reading each body and answering 204 without Kafka."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import uvicorn

from runtime.ops import serving
from runtime.process import run_process

Message = MutableMapping[str, Any]


async def empty(
    scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[..., Awaitable[None]]
) -> None:
    """The ASGI application."""
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body", False):
        pass
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def serve(port: int, stop: asyncio.Event) -> None:
    """Answer on a port of loopback until `stop` is set.

    Raises:
        OSError: the port is taken.
    """
    config = uvicorn.Config(
        empty,
        port=port,
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=60,
    )
    async with serving(config):
        await stop.wait()


def main() -> int:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", required=True, type=int)
    given = parser.parse_args()
    # The process as ours is run, so that both have the same event loop.
    return run_process("empty", "info", lambda stop: serve(given.port, stop))


if __name__ == "__main__":
    sys.exit(main())
