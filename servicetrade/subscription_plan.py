"""Pure: what has to be done so that exactly one right webhook of ours is subscribed, as data; and what each one is.

A hookUrl cannot be changed, so another secret means another webhook. The right one is always made before any other is
deleted: at no moment does ServiceTrade have nobody to tell.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeAlias

from servicetrade.hook_events import Events, events_as_json, read_events, whole_number
from servicetrade.hook_url import HookBase


class Verdict(StrEnum):
    """What one webhook is, seen from the configuration."""

    OK = "ok"
    DISABLED = "disabled"
    """The right URL, but ServiceTrade sends nothing to it."""
    DUPLICATE = "duplicate"
    """The right URL once more: everything comes twice."""
    OLD_SECRET = "old secret"  # noqa: S105 - a word for people
    """The secret that a rotation is about to end; it works still."""
    RETIRED_SECRET = "retired secret"  # noqa: S105 - a word for people
    """A secret that the receiver does not take any more: what is sent there is lost."""
    NOT_OURS = "not ours"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    """A webhook as ServiceTrade shows it. `confirmed` is left out: it turns true by itself and proves nothing."""

    id: int
    url: str = field(repr=False)
    enabled: bool
    include_changesets: bool
    events: Events


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Whose webhooks are ours."""

    base: HookBase
    account: str
    secrets: tuple[str, ...] = field(repr=False)
    """The live ones, the newest last; there is at least one."""

    @property
    def url(self) -> str:
        """The right hookUrl."""
        return self.base.url(self.account, self.secrets[-1])

    def secret_in(self, hook: Hook) -> str | None:
        """The secret in the URL of a webhook that is ours; None: it is not."""
        return self.base.secret_in(hook.url, self.account)

    def ours(self, hooks: Iterable[Hook]) -> list[Hook]:
        """Those that are ours, in the order of their ids."""
        return sorted((hook for hook in hooks if self.secret_in(hook) is not None), key=lambda hook: hook.id)

    def right(self, hooks: Iterable[Hook]) -> list[Hook]:
        """Those with the right URL, in the order of their ids."""
        return [hook for hook in self.ours(hooks) if self.secret_in(hook) == self.secrets[-1]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The one webhook that there shall be."""

    owner: Owner
    include_changesets: bool = True
    events: Events = None

    def as_json(self) -> dict[str, Any]:
        """All that can be changed, as ServiceTrade takes it."""
        return {
            "enabled": True,
            "includeChangesets": self.include_changesets,
            "entityEvents": events_as_json(self.events),
        }

    def drift_of(self, hook: Hook) -> tuple[str, ...]:
        """Names of the fields in which `hook` is not as it should be."""
        as_it_should_be = {
            "enabled": hook.enabled,
            "includeChangesets": hook.include_changesets == self.include_changesets,
            "entityEvents": hook.events == self.events,
        }
        return tuple(name for name, right in as_it_should_be.items() if not right)


@dataclass(frozen=True, slots=True, kw_only=True)
class Create:
    """POST a webhook."""

    body: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """PUT a webhook. All fields go along: whether a PUT leaves alone what it does not name is not published."""

    hook: Hook
    drifted: tuple[str, ...]
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Delete:
    """DELETE a webhook of ours; one that is gone already is fine."""

    hook: Hook
    why: Verdict


Action: TypeAlias = Create | Update | Delete


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to do, in this order."""

    keep: Hook | None
    """The right one as it is now; None: it has to be made."""
    make: Create | Update | None
    """What makes it right."""
    deletes: tuple[Delete, ...]

    @property
    def actions(self) -> tuple[Action, ...]:
        """All of it; empty: there is nothing to do."""
        return (*((self.make,) if self.make is not None else ()), *self.deletes)


def plan(hooks: Iterable[Hook], wanted: Wanted) -> Plan:
    """How to get from the webhooks that there are to exactly the wanted one of ours; others' are left alone.

    Of several with the right URL the one is kept that needs the least change, of these the one with the lowest id: so
    two that plan at the same time keep the same one.
    """
    there = list(hooks)
    owner = wanted.owner
    right = sorted(owner.right(there), key=lambda hook: len(wanted.drift_of(hook)))
    keep = right[0] if right else None
    make: Create | Update | None = None
    if keep is None:
        make = Create(body={"hookUrl": owner.url, **wanted.as_json()})
    elif drifted := wanted.drift_of(keep):
        make = Update(hook=keep, drifted=drifted, body=wanted.as_json())
    deletes = tuple(
        Delete(hook=hook, why=_verdict(hook, owner, keep)) for hook in owner.ours(there) if hook is not keep
    )
    return Plan(keep=keep, make=make, deletes=deletes)


def removal(hooks: Iterable[Hook], owner: Owner) -> tuple[Delete, ...]:
    """How to get to none of ours."""
    return tuple(
        Delete(hook=hook, why=verdict) for hook, verdict in judged(hooks, owner) if verdict is not Verdict.NOT_OURS
    )


def judged(hooks: Iterable[Hook], owner: Owner) -> list[tuple[Hook, Verdict]]:
    """Every webhook with what it is. Types and changesets are not judged: the wanted ones are stored nowhere."""
    there = list(hooks)
    right = sorted(owner.right(there), key=lambda hook: not hook.enabled)
    return [(hook, _verdict(hook, owner, right[0] if right else None)) for hook in there]


def _verdict(hook: Hook, owner: Owner, keep: Hook | None) -> Verdict:
    secret = owner.secret_in(hook)
    if secret is None:
        return Verdict.NOT_OURS
    if secret not in owner.secrets:
        return Verdict.RETIRED_SECRET
    if secret != owner.secrets[-1]:
        return Verdict.OLD_SECRET
    if hook is not keep:
        return Verdict.DUPLICATE
    return Verdict.OK if hook.enabled else Verdict.DISABLED


def read_hook(data: Mapping[str, Any]) -> Hook:
    """A webhook out of the list that ServiceTrade answers.

    Raises:
        ValueError: it has no id.
    """
    number = whole_number(data.get("id"))
    if number is None or number < 1:
        raise ValueError("a webhook without an id")
    url = data.get("hookUrl")
    return Hook(
        id=number,
        url=url if isinstance(url, str) else "",
        enabled=data.get("enabled") is True,
        include_changesets=data.get("includeChangesets") is True,
        events=read_events(data.get("entityEvents")),
    )
