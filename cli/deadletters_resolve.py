"""`tradewind deadletters redrive` and `drop`: finds the letters, asks, and resolves them."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rich.prompt import Confirm

from cli.console import ERR, FAILED, OK, OUT
from cli.deadletters_options import (
    NO_FILTERS,
    Filters,
    check_limit,
    complain,
    note,
    open_desk,
    progress,
    read_filters,
    read_ids,
    routes_of,
)
from runtime.database import open_database
from runtime.kafka import Producer
from runtime.settings import Settings
from runtime.store_schema import upgrade
from schemas.errors import SettingsError
from sinks.letter_desk import Clerk
from sinks.letter_view import absence
from sinks.letters import LetterId, Shelf, Wanted
from sinks.open_letters import OpenLetters

Chosen = Sequence[tuple[Shelf, Sequence[int]]]
"""Letters by their offsets, with what is known of their partition."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What somebody wants to be done."""

    act: Literal["redrive", "drop"]
    letters: Sequence[str] = ()
    filters: Filters = NO_FILTERS
    limit: int | None = None
    reason: str = ""


def resolve(settings: Settings, order: Order, *, yes: bool) -> int:
    """Find the letters, ask, and redrive or drop them.

    Returns:
        The exit code: 0 if something was done, or had been done meanwhile by somebody else.

    Raises:
        SettingsError: the order says nothing, or there is nobody to ask.
        KafkaError: the broker is gone; what was not done is open.
        StoreError: the same of the store.
    """
    ids, wanted = read_ids(order.letters), read_filters(order.filters)
    check_limit(order.limit)
    if ids and (order.filters != NO_FILTERS or order.limit is not None):
        raise SettingsError(f"tradewind deadletters {order.act}: either LETTERS or filters")
    chosen = _first(asyncio.run(_choose(settings, order.act, ids, wanted)), order.limit)
    count = sum(len(offsets) for _, offsets in chosen)
    if not count:
        return FAILED
    if not yes and not _confirmed(f"{order.act} {_letters(count)}?"):
        note("nothing was done")
        return FAILED
    done = asyncio.run(_carry_out(settings, chosen, order))
    meanwhile = f"; {count - done:,} had been dealt with meanwhile" if done < count else ""
    past = {"redrive": "redriven", "drop": "dropped"}[order.act]
    OUT.print(f"{past} {_letters(done)}{meanwhile}", highlight=False, soft_wrap=True)
    return OK


def _letters(count: int) -> str:
    return f"{count:,} dead letter{'' if count == 1 else 's'}"


async def _choose(settings: Settings, act: str, ids: Sequence[LetterId], wanted: Wanted) -> Chosen:
    """The letters that can be resolved; nothing, and sentences about it, if there are none or a named one cannot."""
    obstacle = routes_of(settings).obstacle if act == "redrive" else lambda _letter, _record: None
    async with open_desk(settings) as desk:
        with progress("reading") as watch:
            if ids:
                shelves = await desk.look_up(ids, obstacle, watch=watch)
            else:
                shelves = await desk.survey(wanted, obstacle, watch=watch)
    faults = [fault for one in ids if (fault := _fault(shelves, one)) is not None]
    left = sum((shelf.obstacles() for shelf in shelves), Counter[str]())
    chosen = [(shelf, shelf.resolvable()) for shelf in shelves]
    if not ids and not left and not any(offsets for _, offsets in chosen):
        faults = ["no open dead letter is like that" if wanted != Wanted() else "there is no open dead letter"]
    faults += [f"{count:,} cannot be redriven: {sentence}" for sentence, count in left.items()]
    for fault in faults:
        complain(fault)
    return [] if ids and faults else chosen


def _fault(shelves: Sequence[Shelf], letter_id: LetterId) -> str | None:
    if fault := absence(shelves, letter_id):
        return fault
    (state,) = [shelf.state(letter_id.offset) for shelf in shelves if shelf.partition == letter_id.partition]
    return None if state == "open" else f"dead letter {letter_id} is {state} already"


def _first(chosen: Chosen, limit: int | None) -> Chosen:
    """At most so many: from the front of each partition, so that letters of one key stay in their order."""
    if limit is None:
        return chosen
    kept: list[tuple[Shelf, Sequence[int]]] = []
    for shelf, offsets in chosen:
        kept.append((shelf, offsets[:limit]))
        limit -= len(kept[-1][1])
    return kept


def _confirmed(question: str) -> bool:
    if not sys.stdin.isatty():
        raise SettingsError("there is no terminal to ask on: say --yes")
    try:
        return Confirm.ask(question, default=False, console=ERR)
    except EOFError:
        return False


async def _carry_out(settings: Settings, chosen: Chosen, order: Order) -> int:
    """Resolve the letters; returns how many were still open."""
    done = passed = 0
    total = sum(len(offsets) for _, offsets in chosen)
    async with (
        open_desk(settings) as desk,
        Producer.open(settings.kafka, client_id="deadletters") as producer,
        open_database(settings.store) as engine,
    ):
        await upgrade(engine)
        open_letters = OpenLetters(engine)
        clerk = Clerk(desk, producer, open_letters)
        with progress("redriving" if order.act == "redrive" else "dropping") as bar:

            def watch(number: int) -> None:
                nonlocal passed
                passed += number
                bar(passed, total)

            for shelf, offsets in chosen:
                if order.act == "redrive":
                    done += await clerk.redrive(shelf, offsets, watch=watch)
                else:
                    done += await clerk.drop(shelf, offsets, reason=order.reason, watch=watch)
    return done
