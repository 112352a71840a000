"""What every peer is told and has to tell: arguments, the reading of a webhook, the first record, the result."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

GAP_MS = 2_000
PARTITIONS = 12
CLOSING = "/closing/"
"""In the keys of entities that only move event time on."""


class Task:
    """Read the raw topic from its start, and write one record per closed window to the output topic."""

    def __init__(self) -> None:
        parser = argparse.ArgumentParser()
        parser.add_argument("--servers", required=True)
        parser.add_argument("--topic", required=True)
        parser.add_argument("--output", required=True)
        parser.add_argument("--group", required=True)
        parser.add_argument("--state", required=True, type=Path)
        parser.add_argument("--grace-ms", required=True, type=int)
        parser.add_argument("--notifications", required=True, type=int)
        parser.add_argument("--closing-ms", required=True, type=int)
        given = parser.parse_args()
        self.servers: str = given.servers
        self.topic: str = given.topic
        self.output: str = given.output
        self.group: str = given.group
        self.state: Path = given.state
        self.grace_ms: int = given.grace_ms
        """How late a record may be after others of its partition: longer than the workload."""
        self.notifications: int = given.notifications
        """How many the workload has."""
        self.closing_ms: int = given.closing_ms
        """A time behind the end of the workload and its grace."""
        self._begun = False

    def begin(self) -> None:
        """Tell the time of the first record; to be called with every one."""
        if not self._begun:
            self._begun = True
            print(f"first {time.time() * 1000:.0f}", flush=True)


def keys(account: bytes, body: bytes) -> Iterator[str]:
    """The entities that a webhook names, one per notification; none for the pipeline's own records, which are empty."""
    if body:
        name = account.decode()
        for element in orjson.loads(body)["data"]:
            entity = element["entity"]
            yield f"{name}/{entity['type']}/{entity['id']}"


def result(key: str, first_ms: int, last_ms: int, count: int) -> dict[str, Any]:
    """A closed window, as it is written."""
    return {"key": key, "first_ms": first_ms, "last_ms": last_ms, "count": count}
