"""Pure: who is next: arrivals of one key strictly in order, different keys at once, accounts in turn, within bounds."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count, islice
from typing import Generic, TypeVar

from sinks.arrival import Arrival
from sinks.trouble import Trouble

Item = TypeVar("Item")

AT_ONCE = 100
"""Arrivals of one key that the sink is given at most in one call."""


@dataclass(slots=True, eq=False)
class Lane(Generic[Item]):
    """One key's arrivals, the oldest first."""

    key: str
    account: str
    arrivals: deque[Arrival[Item]] = field(default_factory=deque)
    given: int = 0
    """How many of the first ones the sink is being called with, as far as they have no outcome yet."""
    busy: bool = False
    """Until it is released."""
    failures: int = 0
    """In a row."""
    failing_since: float | None = None
    not_before: float = 0.0

    def first(self) -> list[Arrival[Item]]:
        """What the sink is given."""
        return list(islice(self.arrivals, self.given))


@dataclass(slots=True, eq=False)
class _Account(Generic[Item]):
    ready: deque[Lane[Item]] = field(default_factory=deque)
    lanes: set[Lane[Item]] = field(default_factory=set)
    running: int = 0
    trouble: Trouble = field(default_factory=Trouble)


class Lanes(Generic[Item]):
    """All lanes of a worker. Times are monotonic seconds, given by the caller.

    Args:
        concurrency: lanes that the sink is called for at the same time.
        account_concurrency: the same of one account; one at a time while the account is in trouble.
    """

    def __init__(self, *, concurrency: int, account_concurrency: int) -> None:
        self._concurrency = concurrency
        self._account_concurrency = account_concurrency
        self._lanes: dict[str, Lane[Item]] = {}
        self._accounts: dict[str, _Account[Item]] = {}
        self._turns: deque[_Account[Item]] = deque()
        """Accounts with ready lanes, each once."""
        self._paused: list[tuple[float, int, Lane[Item]]] = []
        self._numbers = count()
        self._failed: set[Lane[Item]] = set()
        """Lanes that have failed since their last success."""
        self.trouble = Trouble()
        """Of all that the sink delivers."""
        self.running = 0
        """Lanes that the sink is being called for."""
        self.unfinished = 0
        """Arrivals in the lanes, so in memory."""

    def trouble_of(self, account: str) -> Trouble:
        """The trouble of an account that has lanes."""
        return self._accounts[account].trouble

    def add(self, arrival: Arrival[Item]) -> None:
        """Queue an arrival behind the others of its key."""
        self.unfinished += 1
        lane = self._lanes.get(arrival.key)
        if lane is None:
            lane = self._lanes[arrival.key] = Lane(arrival.key, arrival.account)
            account = self._accounts.setdefault(arrival.account, _Account())
            account.lanes.add(lane)
            self._make_ready(account, lane)
        lane.arrivals.append(arrival)

    def turn(self, now: float) -> Lane[Item] | None:
        """The next lane that the sink is to be called for, with `given` set; None: not now.

        Whoever gets it calls `release` in the end.
        """
        self._end_pauses(now)
        if self.running >= self._most() or now < self.trouble.not_before:
            return None
        for _ in range(len(self._turns)):
            account = self._turns.popleft()
            if account.running >= self._most_of(account) or now < account.trouble.not_before:
                self._turns.append(account)
                continue
            lane = account.ready.popleft()
            if account.ready:
                self._turns.append(account)
            lane.given, lane.busy = min(len(lane.arrivals), AT_ONCE), True
            account.running += 1
            self.running += 1
            return lane
        return None

    def next_at(self) -> float | None:
        """When a pause ends that holds somebody up; None: only a release or an arrival can change anything."""
        if self.running >= self._most():
            return None
        ends = [self._paused[0][0]] if self._paused else []
        ends += [account.trouble.not_before for account in self._turns if account.running < self._most_of(account)]
        return max(min(ends), self.trouble.not_before) if ends else None

    def settled(self, lane: Lane[Item], done: int, now: float) -> None:
        """The first `done` arrivals have an outcome, so the lane, its account and the sink are well."""
        lane.failures, lane.failing_since, lane.not_before = 0, None, 0.0
        self._failed.discard(lane)
        self._accounts[lane.account].trouble.over(now)
        self.trouble.over(now)
        for _ in range(done):
            lane.arrivals.popleft()
        lane.given -= done
        self.unfinished -= done

    def failed(self, lane: Lane[Item], now: float) -> None:
        """The call failed; who has to wait, and how long, is for the caller to say."""
        lane.failures += 1
        self._failed.add(lane)
        if lane.failing_since is None:
            lane.failing_since = now
        self._accounts[lane.account].trouble.seen(lane.key, now)
        self.trouble.seen(lane.key, now)

    def release(self, lane: Lane[Item], now: float) -> None:
        """The call for this lane has ended."""
        lane.given, lane.busy = 0, False
        account = self._accounts[lane.account]
        account.running -= 1
        self.running -= 1
        if not lane.arrivals:
            self._remove(lane)
        elif lane.not_before > now:
            heapq.heappush(self._paused, (lane.not_before, next(self._numbers), lane))
        else:
            self._make_ready(account, lane)

    def failing(self, at_least: int) -> list[Lane[Item]]:
        """Lanes that failed so often in a row, while others did not: something has succeeded since their first failure.

        Those that the sink is being called for are left out.
        """
        return [lane for lane in self._failed if lane.failures >= at_least and not lane.busy and self.fails_alone(lane)]

    def fails_alone(self, lane: Lane[Item]) -> bool:
        """Whether the account, and the sink, have been well since the lane's first failure."""
        since = lane.failing_since
        troubles = (self._accounts[lane.account].trouble.since, self.trouble.since)
        return since is not None and all(trouble is None or trouble > since for trouble in troubles)

    def slowed(self, at_least: int) -> list[str]:
        """Accounts that have been paused so often since their last success."""
        return [name for name, account in self._accounts.items() if account.trouble.failures >= at_least]

    def calm(self, account: str, now: float) -> None:
        """Forget the account's trouble: it is put aside, and tried again from there."""
        if account in self._accounts:
            self._accounts[account].trouble.over(now)
            if not self._accounts[account].lanes:
                del self._accounts[account]

    def withdraw(self, which: Callable[[Lane[Item]], bool], account: str | None = None) -> list[Arrival[Item]]:
        """Take out what the sink was not called with, of the lanes of an account (None: of all) that `which` picks."""
        found: list[Arrival[Item]] = []
        if account is None:
            lanes = list(self._lanes.values())
        else:
            lanes = list(self._accounts[account].lanes) if account in self._accounts else []
        for lane in lanes:
            if not which(lane):
                continue
            taken = list(islice(lane.arrivals, lane.given, None))
            for _ in taken:
                lane.arrivals.pop()
            self.unfinished -= len(taken)
            if not lane.busy:
                self._unready(lane)
                self._remove(lane)
            found += taken
        return found

    def give_up(self, lane: Lane[Item]) -> list[Arrival[Item]]:
        """Take out everything of a lane that the sink is being called for; it is released as well."""
        taken = list(lane.arrivals)
        lane.arrivals.clear()
        lane.given = 0
        self.unfinished -= len(taken)
        return taken

    def _most(self) -> int:
        return 1 if self.trouble.slowed else self._concurrency

    def _most_of(self, account: _Account[Item]) -> int:
        return 1 if account.trouble.slowed else self._account_concurrency

    def _end_pauses(self, now: float) -> None:
        while self._paused and self._paused[0][0] <= now:
            _, _, lane = heapq.heappop(self._paused)
            if self._lanes.get(lane.key) is lane:
                self._make_ready(self._accounts[lane.account], lane)

    def _make_ready(self, account: _Account[Item], lane: Lane[Item]) -> None:
        if not account.ready:
            self._turns.append(account)
        account.ready.append(lane)

    def _unready(self, lane: Lane[Item]) -> None:
        account = self._accounts[lane.account]
        if lane in account.ready:
            account.ready.remove(lane)
            if not account.ready:
                self._turns.remove(account)
        else:
            self._paused = [entry for entry in self._paused if entry[2] is not lane]
            heapq.heapify(self._paused)

    def _remove(self, lane: Lane[Item]) -> None:
        del self._lanes[lane.key]
        self._failed.discard(lane)
        account = self._accounts[lane.account]
        account.lanes.discard(lane)
        if not account.lanes and account.trouble.since is None and not account.trouble.slowed:
            del self._accounts[lane.account]
