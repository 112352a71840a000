"""Looks at the whole pipeline: Kafka, the store and the processes, each for itself: what is away hides nothing else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Sequence
from typing import TypeVar

from runtime.kafka import KafkaError
from runtime.settings import Settings
from schemas.errors import TradewindError
from views.status_data import Flow, Overview, Unread
from views.status_letters import LettersReader
from views.status_ops import Target, ask_each
from views.status_stages import FlowReader
from views.status_store import read_store

ANSWER_S = 10.0

T = TypeVar("T")


class Status:
    """The pipeline, as often as somebody looks. Reads only.

    Args:
        settings: all of them.
        targets: where the processes answer; a name may lead to several.
    """

    def __init__(self, settings: Settings, targets: Sequence[Target]) -> None:
        self._settings = settings
        self._targets = targets
        self._flow = FlowReader(settings)
        self._letters = LettersReader(settings.kafka)

    async def look(self) -> Overview:
        """All that can be read now, within ANSWER_S seconds or little more; what cannot says why."""
        flow, letters, stored, processes = await asyncio.gather(
            _part(self._flow.read()),
            _part(self._letters.read()),
            _part(read_store(self._settings)),
            ask_each(self._targets),
        )
        now_ms = time.time_ns() // 1_000_000
        if isinstance(flow, Flow):
            now_ms = max(now_ms, flow.last_append_ms or 0)
        return Overview(now_ms=now_ms, flow=flow, letters=letters, stored=stored, processes=processes)


async def _part(reading: Awaitable[T]) -> T | Unread:
    try:
        async with asyncio.timeout(ANSWER_S):
            return await reading
    except TimeoutError:
        return Unread(f"no answer within {ANSWER_S:g} s")
    except (KafkaError, TradewindError, OSError) as error:
        return Unread(str(error) or type(error).__name__)
