"""FastAPI and aiokafka as documented: one producer for the app's life, one `send_and_wait` a request."""

from __future__ import annotations

import argparse
import json
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import uvicorn
from aiokafka import AIOKafkaProducer
from fastapi import FastAPI, HTTPException, Request, Response


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--servers", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--accounts", required=True, type=Path)
    parser.add_argument("--port", required=True, type=int)
    given = parser.parse_args()
    known: dict[str, str] = json.loads(given.accounts.read_text())

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        producer = AIOKafkaProducer(bootstrap_servers=given.servers, acks="all", enable_idempotence=True)
        await producer.start()
        app.state.producer = producer
        try:
            yield
        finally:
            await producer.stop()

    app = FastAPI(lifespan=lifespan)

    @app.post("/webhooks/{account}/{secret}", status_code=204)
    async def webhook(account: str, secret: str, request: Request) -> Response:
        if not secrets.compare_digest(known.get(account, "").encode(), secret.encode()):
            raise HTTPException(404)
        await app.state.producer.send_and_wait(given.topic, await request.body(), key=account.encode())
        return Response(status_code=204)

    # uvloop and httptools are what uvicorn takes by itself where they are installed.
    uvicorn.run(app, port=given.port, loop="uvloop", http="httptools", access_log=False, log_level="warning")


if __name__ == "__main__":
    main()
