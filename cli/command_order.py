"""What `tradewind command send` is told, as a Command, and the way of that to its sink and of the result back."""

from __future__ import annotations

import asyncio
import re
import sys
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.kafka import LogReader, Partition, Position, Producer, acknowledged, partition_of
from runtime.settings import Settings
from schemas.command import Command, CommandResult, Method, decode_command, decode_result
from schemas.encoding import decode, encode
from schemas.errors import SettingsError
from schemas.moments import read_date_time
from schemas.topics import COMMANDS, RESULTS
from servicetrade.catalogue import Catalogue

POLL_S = 0.1

_IN = re.compile(r"\+(\d{1,9})([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """The options of `tradewind command send`, as they were typed."""

    account: str
    method: Method
    type: str
    id: str | None
    body: str | None
    command_id: str | None
    not_after: str | None
    check: str | None


def read_order(order: Order, settings: Settings) -> Command:
    """The command that the options describe.

    Raises:
        SettingsError: names the option that makes no sense.
    """
    require_account(settings, order.account)
    if Catalogue(settings.servicetrade.types).of(order.type).path is None:
        raise SettingsError(f"--type: no path is known for entities of type {order.type!r}")
    described: Mapping[str, Any] = {
        "id": order.command_id or uuid.uuid4().hex,
        "account": order.account,
        "method": order.method,
        "entity_type": order.type,
        "entity_id": order.id,
        "body": None if order.body is None else _json("--body", order.body),
        "not_after": None if order.not_after is None else _moment(order.not_after, time.time()),
        "check": None if order.check is None else _json("--check", order.check),
    }
    try:
        return decode_command(encode(described))
    except (ValueError, TypeError) as error:
        raise SettingsError(str(error)) from None


def require_account(settings: Settings, account: str) -> None:
    """Refuse an account that is not configured with a SettingsError."""
    if account not in settings.accounts:
        raise SettingsError(f"{account}: no such account; configured: {', '.join(settings.accounts)}")


def _json(option: str, text: str) -> Any:
    """A value given as JSON, as @FILE, or as - for stdin."""
    try:
        if text == "-":
            return decode(sys.stdin.buffer.read())
        return decode(Path(text[1:]).read_bytes() if text.startswith("@") else text.encode())
    except OSError as error:
        raise SettingsError(f"{option}: {text[1:]} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise SettingsError(f"{option}: not JSON: {error}") from None


def _moment(text: str, now_s: float) -> int:
    """Unix seconds, given as such, as a time of day and date, or as a time from now."""
    if text.isdecimal():
        return int(text)
    if found := _IN.fullmatch(text):
        return int(now_s) + int(found[1]) * _SECONDS[found[2]]
    try:
        return read_date_time(text.strip()) // 1000
    except ValueError:
        raise SettingsError(
            f"--not-after: {text!r} is neither Unix seconds nor a time, nor like +30s, +10m or +2h"
        ) from None


class Desk:
    """Sends one command, and waits for its result."""

    def __init__(self, settings: Settings, command: Command, producer: Producer, reader: LogReader) -> None:
        self._prefix = settings.kafka.topic_prefix
        self._command = command
        self._producer = producer
        self._reader = reader
        self._key = command.account.encode()
        self._results: tuple[Partition, int] | None = None

    async def send(self) -> Position:
        """Append the command.

        Raises:
            KafkaError: a topic is missing, or the broker did not take the record.
        """
        topic = self._prefix + COMMANDS.name
        await self._reader.partitions(topic)  # a producer would wait for a topic that is not there
        partitions = await self._reader.partitions(self._prefix + RESULTS.name)
        number = partition_of(self._key, [partition.number for partition in partitions])
        where = partitions[number]
        # Before the command: its result cannot stand further up.
        self._results = where, await self._reader.end(where)
        return await acknowledged(await self._producer.send(topic, key=self._key, value=encode(self._command)))

    async def result(self, within_s: float) -> CommandResult | None:
        """The result of the command that was sent; None: there was none in time."""
        assert self._results is not None, "it was sent"  # noqa: S101
        where, position = self._results
        try:
            async with asyncio.timeout(within_s):
                while True:
                    end = await self._reader.end(where)
                    async for records in self._reader.read(where, position, end):
                        for record in records:
                            result = _result(record.value)
                            if result is not None and self._is_mine(result):
                                return result
                    position = end
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            return None

    def _is_mine(self, result: CommandResult) -> bool:
        return (result.account, result.command_id) == (self._command.account, self._command.id)


def _result(value: bytes | None) -> CommandResult | None:
    try:
        return decode_result(value or b"")
    except ValueError:
        return None
