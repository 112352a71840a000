"""What must hold: of every step, and when all workers have ended."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from tests.servicetrade.model.world import FORBIDDEN, RESOURCE, Event, Step, World

COSTS_A_LOGIN = (
    Event.SESSION_KILLED,
    Event.LEASE_RAN_OUT,
    Event.WORKER_KILLED,
    Event.WORKER_CANCELLED,
    Event.LOGIN_UNANSWERED,
    Event.STORE_FAILED,
)
"""Each may make one more login necessary, or make a login be for nothing."""

LEAVES_A_SESSION = (Event.WORKER_KILLED, Event.WORKER_CANCELLED, Event.LOGIN_UNANSWERED, Event.LOGOUT_FAILED)
"""Each may leave one session behind that nobody can end: its token is not known, or the log-out did not succeed."""


class Property(Enum):
    """What is checked."""

    ONE_SESSION = "of the sessions that were ever shared one is alive at most; none is made beside a live one"
    NO_LOST_TOKEN = "what a login brings is stored or ended, and a live stored session is left alone"
    NO_ENDLESS_LOGIN = "no more logins than are needed, and one for each event that may cost one"
    TRUE_401 = "a 401 surfaces as the resource's own only if the session was alive after it"
    GOOD_ENDS = "workers end with what they wanted, unless an event kept them from it"
    PROGRESS = "if nothing more befalls them, all workers can still come to an end"


def flaw_of_step(start: World, before: World, step: Step, outcome: str) -> Property | None:
    """What is wrong with a step; `outcome`: how its worker has ended by it, or empty."""
    after = step.world
    good = before.stored if before.stored in before.shared else None
    # Who holds the lease has found the old session dead; another may have shared a new one after the lease ran out.
    made_beside = good and after.logins > before.logins and not before.happened(Event.LEASE_RAN_OUT)
    if made_beside or len(after.shared) > 1:
        return Property.ONE_SESSION
    # One whose maker has not seen it stored is ended as surplus, and costs another login.
    ended = before.shared - before.unseen - after.shared
    if step.event is not Event.SESSION_KILLED and (ended or (good and after.stored != good)):
        return Property.NO_LOST_TOKEN
    if outcome == "401 of a session proven alive" and step.told_dead:
        return Property.TRUE_401
    if after.logins - start.logins > _needed(start) + after.happened(*COSTS_A_LOGIN):
        return Property.NO_ENDLESS_LOGIN
    return None


def flaw_of_end(start: World, world: World, outcomes: Sequence[str]) -> Property | None:
    """What is wrong with the world in which all workers have ended like this."""
    leaves = [*LEAVES_A_SESSION]
    if _was_others(start):
        leaves.append(Event.STORE_FAILED)  # then nobody knows the old session any more
    if len(world.alive - {world.stored}) > world.happened(*leaves):
        return Property.NO_LOST_TOKEN
    if not any(world.events) and world.logins - start.logins != _needed(start):
        return Property.NO_ENDLESS_LOGIN
    deaths = _deaths(start, world)
    allowed = {
        "ok": len(outcomes),
        "401 of a session proven alive": len(outcomes),
        f"last 401 of {FORBIDDEN}": len(outcomes) if deaths > 0 else 0,
        f"last 401 of {RESOURCE}": len(outcomes) if deaths > 1 else 0,
        "LoginRefused": len(outcomes) if world.refuses else 0,
        "LoginUnavailable": world.happened(Event.LOGIN_UNANSWERED, Event.PROOF_UNANSWERED),
        "StoreError": world.happened(Event.STORE_FAILED),
        "CancelledError": world.happened(Event.WORKER_CANCELLED),
        "killed": world.happened(Event.WORKER_KILLED),
    }
    if any(outcomes.count(outcome) > allowed.get(outcome, 0) for outcome in outcomes):
        return Property.GOOD_ENDS
    return None


def _deaths(start: World, world: World) -> int:
    """How many sessions may have died in somebody's hands."""
    dead_at_start = start.stored is not None and start.stored not in start.shared
    may_have_ended_its_own = world.happened(Event.STORE_FAILED, Event.WORKER_CANCELLED)
    return world.happened(Event.SESSION_KILLED) + may_have_ended_its_own + dead_at_start


def _needed(start: World) -> int:
    """How many logins there are if nothing happens."""
    return 0 if start.shared else 1


def _was_others(start: World) -> bool:
    """The stored session lives, but other credentials have made it."""
    return start.stored in start.alive - start.shared
