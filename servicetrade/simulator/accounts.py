"""One customer account with everything that belongs to it, and the directory of all accounts."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from servicetrade.simulator.fault_list import FaultList
from servicetrade.simulator.furnish import furnish
from servicetrade.simulator.journal import Journal
from servicetrade.simulator.sender import Sender
from servicetrade.simulator.sessions import SessionTable
from servicetrade.simulator.switches import Switches
from servicetrade.simulator.waits import Waits
from servicetrade.simulator.webhooks import Subscription
from servicetrade.simulator.world import ID_STEP, World

FIRST_HOOK_ID = 2_687_264_638_045_377  # like a live one


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountSettings:
    """How an account is made.

    Args:
        name: the account in the control plane, and the name of its company.
        user_id: id of the API's own user (the echo's `userId`); None takes a new one.
        admin: whether the user has the permission `admin.account` that /webhook asks for.
    """

    name: str
    username: str
    password: str = field(repr=False)
    user_id: int | None = None
    admin: bool = True


@dataclass(slots=True, kw_only=True)
class Counts:
    """What the account's clients did: logins, refused ones, 401s, requests by method and kind of path.

    Args:
        login_attempts: every login for the account's user that arrived, whatever came of it.
        logins: those that made a session, even if their answers were lost.
        held: requests that a fault is holding right now, by what the fault is on.
    """

    login_attempts: int = 0
    logins: int = 0
    logins_refused: int = 0
    unauthorized: int = 0
    pruned: int = 0
    requests: Counter[str] = field(default_factory=Counter)
    held: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True, kw_only=True)
class Account:
    """The state of one account."""

    settings: AccountSettings
    user_id: int
    rng: random.Random
    sender: Sender
    world: World
    sessions: SessionTable = field(default_factory=SessionTable)
    subscriptions: dict[int, Subscription] = field(default_factory=dict)
    journal: Journal = field(default_factory=Journal)
    switches: Switches = field(default_factory=Switches)
    faults: FaultList = field(default_factory=FaultList)
    waits: Waits = field(default_factory=Waits)
    counts: Counts = field(default_factory=Counts)
    # Apart from the entities' ids, so that a subscription more does not renumber a day's entities.
    hook_ids: Iterator[int] = field(default_factory=lambda: itertools.count(FIRST_HOOK_ID, ID_STEP))

    @property
    def name(self) -> str:
        """The account's name in the control plane."""
        return self.settings.name

    def as_json(self) -> dict[str, Any]:
        """Identity and counters, without the password and the tokens."""
        return {
            "name": self.name,
            "username": self.settings.username,
            "user_id": self.user_id,
            "login_attempts": self.counts.login_attempts,
            "logins": self.counts.logins,
            "logins_refused": self.counts.logins_refused,
            "logins_held": self.counts.held["login"],
            "requests_held": self.counts.held["resource"],
            "live_sessions": len(self.sessions),
            "peak_sessions": self.sessions.peak,
            "sessions_used": self.sessions.used,
            "pruned_sessions": self.counts.pruned,
            "unauthorized": self.counts.unauthorized,
            "requests": dict(sorted(self.counts.requests.items())),
            "webhooks": len(self.subscriptions),
            "entities": sum(len(found) for found in self.world.entities.values()),
            "switches": self.switches.as_json(),
        }


class Accounts:
    """All accounts of this server; names and usernames are unique.

    Args:
        seed: of every account's random decisions; the same seed furnishes the same accounts.
    """

    def __init__(self, *, seed: int) -> None:
        self._seed = seed
        self._by_name: dict[str, Account] = {}

    def __iter__(self) -> Iterator[Account]:
        return iter(list(self._by_name.values()))

    def add(self, settings: AccountSettings, sender: Sender, now: float) -> Account:
        """Make and furnish an account; ValueError if its name or username is taken."""
        if any(settings.name == one.name or settings.username == one.settings.username for one in self):
            raise ValueError(f"account {settings.name}: the name or the username is taken")
        rng = random.Random(f"{self._seed}:{settings.name}")  # noqa: S311 - reproducible, not secret
        world = World(index=len(self._by_name))
        user_id = furnish(world, rng, now, name=settings.name, user_id=settings.user_id)
        account = Account(settings=settings, user_id=user_id, rng=rng, sender=sender, world=world)
        self._by_name[settings.name] = account
        return account

    def named(self, name: str) -> Account | None:
        """The account of this name."""
        return self._by_name.get(name)

    def of_user(self, username: str) -> Account | None:
        """The account that this user logs in to."""
        return next((one for one in self if one.settings.username == username), None)

    def of_token(self, token: str) -> Account | None:
        """The account that issued the session token, live or ended."""
        return next((one for one in self if one.sessions.has_issued(token)), None)
