"""`tradewind replay`: runs the core over a part of the history again."""

from __future__ import annotations

import asyncio
import gc
import json as json_module
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Annotated

from cyclopts import Parameter

from cli.console import DEFAULT_CONFIG, FAILED, OK, OUT, Config
from cli.messages import confirmed, note
from cli.progress import Tell, progress
from cli.replay_options import Asked, Wanted, Where, file_accounts, only_resume, read_asked
from cli.replay_plan import Saved, new_plan, saved_plan, wanted_by
from cli.replay_print import print_compared, print_match
from replay.diffing import diff
from replay.given_rules import GivenRules, find_rules, read_copies, require_rules
from replay.plan import THEN, Plan
from replay.ranges import PartitionRange, Span, find_ranges
from replay.replaying import Replayed, Watch
from replay.replaying import replay as carry_out
from replay.unread import unread_lines
from runtime.kafka import KafkaError, LogReader
from runtime.kafka.topics import ensure_topics, require_topics
from runtime.settings import Settings, read_settings
from schemas.errors import LogGapError, SettingsError
from schemas.moments import shown_moment, shown_span
from schemas.topics import CHANGES, REDRIVE_TO_ALL, RULES
from servicetrade.catalogue import Catalogue


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
        Parameter(name="--from", help="Received since: 2026-03-01T08:00 (UTC), 2026-03-01, 12h, 7d or 4w."),
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
        note("nothing was done")
        return FAILED
    # As the processors: what is alive by now stays, and the young are many.
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    if job.plan is None:
        return _compare(settings, job, as_json=json)
    return _send(settings, job, job.plan, as_json=json)


async def _prepare(settings: Settings, asked: Asked, resume: str | None) -> _Job:
    plan, saved = None, None
    if resume is None:
        wanted = read_asked(settings, asked, time.time_ns() // 1_000_000)
    else:
        only_resume(asked)
        plan, saved = await saved_plan(settings, resume)
        wanted = wanted_by(plan, asked.rules)
    require_rules(wanted.rules)
    async with LogReader.open(settings.kafka, client_id="replay") as reader:
        history, foreign = await read_copies(reader, settings)
        if foreign:
            note(f"of the records on {settings.kafka.topic_prefix}{RULES.name} {foreign:,} hold no rules: passed over")
        known = len(history) if plan is None else plan.history
        span = Span(from_ms=wanted.from_ms, to_ms=wanted.to_ms, accounts=wanted.accounts)
        ranges = await find_ranges(reader, settings, span, saved)
        named = file_accounts(settings, wanted.accounts)
        given = await find_rules(reader, settings, wanted.rules, known=history[:known], accounts=named)
    version = "" if given is None else given.version
    if plan is not None and plan.rules_version != version:
        raise SettingsError(
            f"--rules: {wanted.rules} has other rules by now than those with which the replay {plan.id} began"
        )
    if plan is None and wanted.into != "diff":
        plan = new_plan(settings, wanted, version, known)
    return _Job(wanted=wanted, ranges=ranges, given=given, plan=plan, saved=saved)


# -- asking ------------------------------------------------------------------------------------------------------------


def _allowed(job: _Job) -> bool:
    """Ask, where what is wanted may not be meant."""
    wanted = job.wanted
    if job.given is not None and (silent := job.given.silent(wanted.accounts)):
        names = ", ".join(silent[:5]) + (f" and {len(silent) - 5} more" if len(silent) > 5 else "")  # noqa: PLR2004
        if not confirmed("Go on?", because=f"these rules filter everything of {names}: no change would come of it."):
            return False
    because = []
    if wanted.into == "live" and wanted.rules != THEN:
        rules = "the rules in force now" if wanted.rules == "now" else f"the rules of {wanted.rules}"
        because.append(f"this puts changes into {wanted.topic} that the live run did not make, by {rules}.")
    if wanted.redeliver:
        sink = "every sink" if wanted.redeliver == REDRIVE_TO_ALL.decode() else f"the sink {wanted.redeliver}"
        records = sum(one.stop - one.bounds.first for one in job.ranges)
        length = f"{shown_span(wanted.to_ms - wanted.from_ms)}, {records:,} records of the raw log"
        because.append(
            f"this has {sink} deliver again what it has delivered ({length}): who was called is called again."
        )
    return not because or confirmed("Go on?", because=" ".join(because))


# -- doing -------------------------------------------------------------------------------------------------------------


def _watch(tell: Tell) -> Watch:
    return lambda read, total, changes: tell(read, total, f"{changes:,} changes")


def _compare(settings: Settings, job: _Job, *, as_json: bool) -> int:
    assert job.given is not None, "options refuse a diff without other rules"  # noqa: S101
    catalogue, wanted = Catalogue(settings.servicetrade.types), job.wanted
    with progress("comparing", "records") as tell:
        compared = asyncio.run(
            diff(
                settings,
                job.ranges,
                job.given,
                accounts=wanted.accounts,
                types=wanted.types,
                has_path=lambda name: catalogue.of(name).path is not None,
                watch=_watch(tell),
                tell=print_match if as_json else lambda _match: None,
            )
        )
    if as_json:
        summary = {**compared.tally.as_json(), "records": compared.records, "seconds": compared.seconds}
        summary["unread"] = [asdict(one) for one in compared.unread]
        sys.stdout.write(json_module.dumps(summary) + "\n")
    else:
        print_compared(OUT, wanted, compared)
    return OK


def _send(settings: Settings, job: _Job, plan: Plan, *, as_json: bool) -> int:
    go_on = f"tradewind replay --resume {plan.id}"
    begun = [] if job.saved is None else [True]
    note(f"replay {plan.id}: from {shown_moment(plan.from_ms)} to {shown_moment(plan.to_ms)} UTC into {plan.topic}")
    try:
        with progress("replaying", "records") as tell:
            done = asyncio.run(_carry_out(settings, job, plan, _watch(tell), lambda: begun.append(True)))
    except (KafkaError, LogGapError, KeyboardInterrupt):
        # Before its positions were saved nothing was sent, and there is nothing to go on with.
        if begun:
            note(f"stopped: what was sent is there; {go_on} goes on from there")
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
    for line in unread_lines(done.unread, plan.to_ms, "replayed"):
        OUT.print(line, highlight=False, markup=False, soft_wrap=True)
    return OK


async def _carry_out(settings: Settings, job: _Job, plan: Plan, watch: Watch, begun: Callable[[], None]) -> Replayed:
    if plan.into == "live":
        await require_topics(settings.kafka, [CHANGES])
    else:
        await ensure_topics(
            settings.kafka, [replace(CHANGES, name=plan.topic.removeprefix(settings.kafka.topic_prefix))]
        )
    return await carry_out(settings, plan, job.ranges, given=job.given, saved=job.saved, watch=watch, begun=begun)
