"""`tradewind replay`: runs the core over a part of the history again."""

from __future__ import annotations

import asyncio
import gc
import json as json_module
import sys
from dataclasses import asdict, dataclass, replace
from typing import Annotated

from cyclopts import Parameter
from rich.prompt import Confirm

from cli.console import DEFAULT_CONFIG, ERR, FAILED, OK, OUT, Config
from cli.replay_options import Asked, Wanted, Where, file_accounts, new_id, only_resume, read_asked, utc_now
from cli.replay_print import print_compared, print_match
from cli.replay_screen import progress_on
from processors.restore import read_rules_history
from replay.diffing import diff
from replay.given_rules import GivenRules, give_rules
from replay.plan import GROUP_PREFIX, REPLAY_ID, THEN, Note, Plan, read_note, write_note
from replay.ranges import PartitionRange, Span, find_ranges, shown
from replay.replaying import Replayed, Watch
from replay.replaying import replay as carry_out
from runtime.kafka import KafkaError, LogReader, Partition
from runtime.kafka.bookmarks import MAX_NOTE, groups_with, read_bookmarks
from runtime.kafka.topics import ensure_topics, require_topics
from runtime.settings import Settings, read_settings
from schemas.errors import LogGapError, SettingsError
from schemas.rules import RulesInForce
from schemas.topics import CHANGES, RULES, WEBHOOKS
from servicetrade.catalogue import Catalogue

Saved = dict[Partition, tuple[int, bool]]
"""Where to go on, and whether nothing more comes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """Everything that is known before something is done."""

    wanted: Wanted
    ranges: list[PartitionRange]
    given: GivenRules | None
    plan: Plan | None = None
    """Of a replay into a topic."""
    saved: Saved | None = None


def replay(
    *,
    account: Annotated[
        tuple[str, ...], Parameter(help="Of this account (repeatable; default: all).", negative="")
    ] = (),
    from_: Annotated[
        str | None,
        Parameter(name="--from", help="Received since: 2026-11-22T09:30:00Z, 2026-11-22, 12h, 7d or 4w."),
    ] = None,
    to: Annotated[str | None, Parameter(help="Received before, said likewise (default: now).")] = None,
    types: Annotated[str | None, Parameter(help="Only changes of these entity types: job,quote.")] = None,
    rules: Annotated[
        str | None,
        Parameter(help="The rules that were in force then (the default), those in force now, or those of a FILE."),
    ] = None,
    into: Annotated[
        Where | None,
        Parameter(help="live: servicetrade.changes. shadow: another topic. diff: print what other rules would change."),
    ] = None,
    topic: Annotated[str | None, Parameter(help="Of --into shadow (default: servicetrade.changes.shadow).")] = None,
    redeliver: Annotated[
        str | None,
        Parameter(help="Have this sink (mirror, forward/NAME, custom/NAME), or all, deliver what it has delivered."),
    ] = None,
    resume: Annotated[str | None, Parameter(help="Go on with the replay of this ID, on any machine.")] = None,
    yes: Annotated[bool, Parameter(help="Do not ask.", negative="")] = False,
    json: Annotated[bool, Parameter(help="Print what came of it as JSON.", negative="")] = False,
    config: Config = DEFAULT_CONFIG,
) -> int:
    """Run the core over a part of the history again: the same changes, or what other rules would have made of it.

    A window belongs to the range if the webhook that opened it was received in it. What the live run has not done yet
    is left to it. It can be ended at any time: --resume goes on.
    """
    settings = read_settings(config)
    asked = Asked(
        accounts=account, since=from_, to=to, types=types, rules=rules, into=into, topic=topic, redeliver=redeliver
    )
    job = asyncio.run(_prepare(settings, asked, resume))
    if resume is None and not yes and not _allowed(job):
        ERR.print("nothing was done")
        return FAILED
    # As the processors: what is alive by now stays, and the young are many.
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    if job.plan is None:
        return _compare(settings, job, as_json=json)
    return _send(settings, job, job.plan, as_json=json)


async def _prepare(settings: Settings, asked: Asked, resume: str | None) -> _Job:
    history_topic = settings.kafka.topic_prefix + RULES.name
    plan, saved = None, None
    if resume is None:
        wanted = read_asked(settings, asked, utc_now())
    else:
        only_resume(asked)
        plan, saved = await _saved(settings, resume)
        wanted = _of_plan(plan, asked.rules)
    async with LogReader.open(settings.kafka, client_id="replay") as reader:
        history = await read_rules_history(reader, history_topic)
        known = len(history) if plan is None else plan.history
        given = _given(settings, wanted, history[:known])
        span = Span(from_ms=wanted.from_ms, to_ms=wanted.to_ms, accounts=wanted.accounts)
        ranges = await find_ranges(reader, settings, span)
    version = "" if given is None else given.version
    if plan is not None and plan.rules_version != version:
        raise SettingsError(
            f"--rules: {wanted.rules} has other rules by now than those with which the replay {plan.id} began"
        )
    if plan is None and wanted.into != "diff":
        plan = _plan(wanted, version, known)
    return _Job(wanted=wanted, ranges=ranges, given=given, plan=plan, saved=saved)


def _plan(wanted: Wanted, version: str, history: int) -> Plan:
    plan = Plan(
        id=new_id(),
        from_ms=wanted.from_ms,
        to_ms=wanted.to_ms,
        accounts=wanted.accounts,
        types=wanted.types,
        rules=wanted.rules,
        rules_version=version,
        history=history,
        into="live" if wanted.into == "live" else "shadow",
        topic=wanted.topic,
        redeliver=wanted.redeliver,
    )
    if len(write_note(Note(plan, is_over=False)).encode()) > MAX_NOTE:
        raise SettingsError("--account: too many to be noted beside the replay's positions; leave it out, or say fewer")
    return plan


def _given(settings: Settings, wanted: Wanted, history: list[RulesInForce]) -> GivenRules | None:
    return give_rules(
        wanted.rules,
        history,
        topic=settings.kafka.topic_prefix + WEBHOOKS.name,
        accounts=file_accounts(settings, wanted.accounts),
        max_ceiling_ms=settings.pipeline.max_ceiling_ms,
    )


async def _saved(settings: Settings, replay_id: str) -> tuple[Plan, Saved]:
    """What a replay that was ended has left."""
    found = {}
    if REPLAY_ID.fullmatch(replay_id):
        found = await read_bookmarks(settings.kafka, GROUP_PREFIX + replay_id)
    topic = settings.kafka.topic_prefix + WEBHOOKS.name
    notes = {one: (mark, read_note(mark.note)) for one, mark in found.items() if one.topic == topic}
    if not notes:
        others = [name.removeprefix(GROUP_PREFIX) for name in await groups_with(settings.kafka, GROUP_PREFIX)]
        known = f"there are {', '.join(others)}" if others else "there are none"
        raise SettingsError(f"--resume: no replay {replay_id} is under way: it ended, or never was; {known}")
    plan = next(iter(notes.values()))[1].plan
    return plan, {one: (mark.position, note.is_over) for one, (mark, note) in notes.items()}


def _of_plan(plan: Plan, rules: str | None) -> Wanted:
    return Wanted(
        accounts=plan.accounts,
        types=plan.types,
        from_ms=plan.from_ms,
        to_ms=plan.to_ms,
        # On another machine the file may stand elsewhere; that it says the same is looked at.
        rules=rules or plan.rules,
        into=plan.into,
        topic=plan.topic,
        redeliver=plan.redeliver,
    )


# -- asking ------------------------------------------------------------------------------------------------------------


def _allowed(job: _Job) -> bool:
    """Ask, where what is wanted may not be meant."""
    wanted = job.wanted
    if job.given is not None and (silent := job.given.silent(wanted.accounts)):
        names = ", ".join(silent[:5]) + (f" and {len(silent) - 5} more" if len(silent) > 5 else "")  # noqa: PLR2004
        if not _confirmed(f"these rules filter everything of {names}: no change would come of it. Go on?"):
            return False
    if wanted.into == "live" and wanted.rules != THEN:
        rules = "the rules in force now" if wanted.rules == "now" else f"the rules of {wanted.rules}"
        return _confirmed(f"this puts changes into {wanted.topic} that the live run did not make, by {rules}. Go on?")
    return True


def _confirmed(question: str) -> bool:
    if not sys.stdin.isatty():
        raise SettingsError(f"{question.removesuffix(' Go on?')} There is no terminal to ask on: say --yes")
    try:
        return Confirm.ask(question, default=False, console=ERR)
    except EOFError:
        return False


# -- doing -------------------------------------------------------------------------------------------------------------


def _compare(settings: Settings, job: _Job, *, as_json: bool) -> int:
    assert job.given is not None, "options refuse a diff without other rules"  # noqa: S101
    catalogue, wanted = Catalogue(settings.servicetrade.types), job.wanted
    with progress_on(ERR, "comparing") as watch:
        compared = asyncio.run(
            diff(
                settings,
                job.ranges,
                job.given,
                accounts=wanted.accounts,
                types=wanted.types,
                has_path=lambda name: catalogue.of(name).path is not None,
                watch=watch,
                tell=print_match if as_json else lambda _match: None,
            )
        )
    if as_json:
        summary = {**compared.tally.as_json(), "records": compared.records, "seconds": compared.seconds}
        sys.stdout.write(json_module.dumps(summary) + "\n")
    else:
        print_compared(OUT, wanted, compared)
    return OK


def _send(settings: Settings, job: _Job, plan: Plan, *, as_json: bool) -> int:
    go_on = f"tradewind replay --resume {plan.id}"
    _say(f"replay {plan.id}: from {shown(plan.from_ms)} to {shown(plan.to_ms)} UTC into {plan.topic}")
    try:
        with progress_on(ERR, "replaying") as watch:
            done = asyncio.run(_carry_out(settings, job, plan, watch))
    except (KafkaError, LogGapError, KeyboardInterrupt):
        _say(f"stopped: what was sent is there; {go_on} goes on from there")
        raise
    if as_json:
        sys.stdout.write(json_module.dumps({"id": plan.id, "topic": plan.topic, **asdict(done)}) + "\n")
        return OK
    rate = done.records / done.seconds if done.seconds else 0.0
    OUT.print(
        f"replayed {done.records:,} records in {done.seconds:,.1f} s ({rate:,.0f}/s): "
        f"{done.changes:,} changes into {plan.topic}",
        highlight=False,
        soft_wrap=True,
    )
    if done.still_open:
        OUT.print(
            f"{done.still_open:,} windows are still the live run's: they were open where it has come to",
            highlight=False,
            soft_wrap=True,
        )
    return OK


async def _carry_out(settings: Settings, job: _Job, plan: Plan, watch: Watch) -> Replayed:
    if plan.into == "live":
        await require_topics(settings.kafka, [CHANGES])
    else:
        await ensure_topics(
            settings.kafka, [replace(CHANGES, name=plan.topic.removeprefix(settings.kafka.topic_prefix))]
        )
    return await carry_out(settings, plan, job.ranges, given=job.given, saved=job.saved, watch=watch)


def _say(sentence: str) -> None:
    ERR.print(sentence, highlight=False, markup=False, soft_wrap=True)
