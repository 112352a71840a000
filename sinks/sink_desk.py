"""What a person wants to know of the sinks, and can do: what is put aside, who is halted, and let them go on."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from runtime.database import Database
from runtime.settings import Settings
from schemas.errors import SettingsError
from sinks.open_letters import OpenLetters
from sinks.parking_store import HaltedSink, Halts, parked_by_sink


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkState:
    """One sink, as the store knows it."""

    sink: str
    halted: HaltedSink | None
    parked: Mapping[str, int]
    """By account: what is put aside."""
    letters: Mapping[str, int]
    """By account: dead letters that nobody has dealt with."""
    letter_cap: int


class SinkDesk:
    """Reads and changes what all processes of the sinks share."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings = settings
        self._database = database

    def sinks(self) -> dict[str, int]:
        """All configured sinks, with their caps on dead letters."""
        sinks = self._settings.sinks
        return {
            "mirror": sinks.mirror.dead_letter_cap,
            "command": sinks.command.dead_letter_cap,
            **{f"forward/{name}": one.dead_letter_cap for name, one in sinks.forward.items()},
            **{f"custom/{name}": one.dead_letter_cap for name, one in sinks.custom.items()},
        }

    async def states(self) -> list[SinkState]:
        """Every configured sink."""
        halted = {one.sink: one for one in await Halts(self._database).all()}
        parked = await parked_by_sink(self._database)
        letters = OpenLetters(self._database)
        newer_than_ms = round(time.time() * 1000) - self._settings.kafka.retention_ms
        return [
            SinkState(
                sink=sink,
                halted=halted.get(sink),
                parked=parked.get(sink, {}),
                letters=await letters.counts(sink, newer_than_ms=newer_than_ms),
                letter_cap=cap,
            )
            for sink, cap in self.sinks().items()
        ]

    async def resume(self, sink: str) -> bool:
        """Let a halted sink go on, in all processes within seconds; False: it was not halted.

        Raises:
            SettingsError: no such sink is configured.
        """
        if sink not in self.sinks():
            raise SettingsError(f"there is no sink {sink!r}; configured: {', '.join(self.sinks())}")
        return await Halts(self._database).resume(sink)
