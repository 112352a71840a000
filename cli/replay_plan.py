"""The plan of `tradewind replay`: made of what was wanted, and found again where a replay was ended."""

from __future__ import annotations

from cli.replay_options import Wanted, new_id
from replay.plan import GROUP_PREFIX, REPLAY_ID, Note, Plan, read_note, require_its_settings, write_note
from runtime.kafka import Partition
from runtime.kafka.bookmarks import MAX_NOTE, groups_with, read_bookmarks
from runtime.settings import Settings
from schemas.errors import SettingsError
from schemas.topics import WEBHOOKS

Saved = dict[Partition, tuple[int, bool]]
"""Where to go on, and whether nothing more comes."""


def new_plan(settings: Settings, wanted: Wanted, version: str, history: int) -> Plan:
    """The plan of a replay that begins.

    Args:
        settings: the processors' own times and epoch.
        wanted: what it is to do.
        version: of the rules that hold instead of those of then.
        history: how many records of tradewind.rules there are.

    Raises:
        SettingsError: it cannot be noted beside the positions.
    """
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
        times=settings.pipeline,
        log_epoch=settings.kafka.log_epoch,
    )
    if len(write_note(Note(plan, is_over=False)).encode()) > MAX_NOTE:
        raise SettingsError("--account: too many to be noted beside the replay's positions; leave it out, or say fewer")
    return plan


async def saved_plan(settings: Settings, replay_id: str) -> tuple[Plan, Saved]:
    """What a replay that was ended has left: its plan, and where to go on.

    Raises:
        SettingsError: there is no such replay; says which there are. Or its note cannot be read, or other settings
            than these stand in it.
    """
    found = {}
    if REPLAY_ID.fullmatch(replay_id):
        found = await read_bookmarks(settings.kafka, GROUP_PREFIX + replay_id)
    topic = settings.kafka.topic_prefix + WEBHOOKS.name
    try:
        notes = {one: (mark, read_note(mark.note)) for one, mark in found.items() if one.topic == topic}
    except ValueError as error:
        raise SettingsError(
            f"--resume: beside the positions of the group {GROUP_PREFIX}{replay_id} there is no note of a replay "
            f"of this version: {error}"
        ) from error
    if not notes:
        others = [name.removeprefix(GROUP_PREFIX) for name in await groups_with(settings.kafka, GROUP_PREFIX)]
        known = f"there are {', '.join(others)}" if others else "there are none"
        raise SettingsError(f"--resume: no replay {replay_id} is under way: it ended, or never was; {known}")
    plan = next(iter(notes.values()))[1].plan
    require_its_settings(plan, settings.pipeline, settings.kafka.log_epoch)
    return plan, {one: (mark.position, note.is_over) for one, (mark, note) in notes.items()}


def wanted_by(plan: Plan, rules: str | None) -> Wanted:
    """What a plan says, with the rules of then, now or a file as they are said this time."""
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
