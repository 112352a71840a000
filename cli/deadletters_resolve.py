"""`tradewind deadletters redrive` and `drop`: finds the letters, asks, and resolves them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from cyclopts import Parameter

from cli.console import DEFAULT_CONFIG, FAILED, OK, OUT, Config
from cli.deadletters_options import (
    NO_FILTERS,
    Filters,
    LetterName,
    check_limit,
    open_desk,
    read_filters,
    read_ids,
)
from cli.messages import complain, confirmed, note
from cli.progress import progress
from cli.routes import routes_of
from runtime.database import open_database
from runtime.kafka import Producer
from runtime.settings import Settings, read_settings
from runtime.store_schema import upgrade
from schemas.errors import SettingsError
from sinks.letter_desk import Clerk
from sinks.letter_view import absence
from sinks.letters import LetterId, Shelf, Wanted
from sinks.open_letters import OpenLetters

Chosen = Sequence[tuple[Shelf, Sequence[int]]]
"""Letters by their offsets, with what is known of their partition."""

Limit = Annotated[int | None, Parameter(help="At most so many, the oldest of a partition first.")]
Yes = Annotated[bool, Parameter(name=("--yes", "-y"), help="Do not ask.", negative="")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What somebody wants to be done."""

    act: Literal["redrive", "drop"]
    letters: Sequence[str] = ()
    filters: Filters = NO_FILTERS
    limit: int | None = None
    reason: str = ""


def redrive(
    *letters: LetterName,
    filters: Filters = NO_FILTERS,
    limit: Limit = None,
    yes: Yes = False,
    config: Config = DEFAULT_CONFIG,
) -> int:
    """Send dead letters back to whoever gave them up: LETTERS, or those like that, or all that are open.

    Only that sink or subscriber gets them. What fails again comes back with its count of redrives raised.
    """
    return resolve(read_settings(config), Order(act="redrive", letters=letters, filters=filters, limit=limit), yes=yes)


def drop(
    *letters: LetterName,
    reason: Annotated[str, Parameter(help="Why; it is kept beside the letter.")],
    filters: Filters = NO_FILTERS,
    limit: Limit = None,
    yes: Yes = False,
    config: Config = DEFAULT_CONFIG,
) -> int:
    """Close dead letters without using them: LETTERS, or those like that, or all that are open.

    Their bytes stay until retention removes them: `list --all` and `show` know them.
    """
    if not reason.strip():
        raise SettingsError("--reason: says nothing")
    order = Order(act="drop", letters=letters, filters=filters, limit=limit, reason=reason)
    return resolve(read_settings(config), order, yes=yes)


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
    if not yes and not confirmed(f"{order.act} {_letters(count)}?"):
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
        with progress("reading", "records") as watch:
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
        with progress("redriving" if order.act == "redrive" else "dropping", "dead letters") as bar:

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
