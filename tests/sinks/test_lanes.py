"""The lanes against a naive model: who may be called, in what order, how many at once, and when to look again."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from schemas.record import LogRecord
from sinks.arrival import Arrival
from sinks.lanes import AT_ONCE, Lane, Lanes

ACCOUNTS = ("acme", "bolt", "crew")
KEYS = tuple(f"{account}/job/{number}" for account in ACCOUNTS for number in range(4))
CONCURRENCY = 4
ACCOUNT_CONCURRENCY = 2

a_key = st.sampled_from(KEYS)
a_pause = st.sampled_from((0.0, 0.5, 1.0, 2.5, 6.0))


def arrival(key: str, number: int) -> Arrival[int]:
    record = LogRecord(topic="changes", offset=number, timestamp=0)
    return Arrival(record=record, item=number, account=key.partition("/")[0], key=key)


@dataclass
class Waiting:
    """What the model knows of a key."""

    numbers: list[int] = field(default_factory=list)
    not_before: float = 0.0
    failures: int = 0


@dataclass
class Slow:
    """What the model knows of the trouble of an account, or of the sink."""

    failed: bool = False
    rounds: int = 0
    not_before: float = 0.0

    def pause(self, now: float, pause_s: float) -> None:
        self.rounds += now >= self.not_before
        self.not_before = max(self.not_before, now + pause_s)


class AgainstAModel(RuleBasedStateMachine):
    """Every list is searched from end to end, so there is nothing in the model that could be out of step."""

    def __init__(self) -> None:
        super().__init__()
        self.lanes: Lanes[int] = Lanes(concurrency=CONCURRENCY, account_concurrency=ACCOUNT_CONCURRENCY)
        self.now = 1_000.0
        self.next_number = 0
        self.keys: dict[str, Waiting] = defaultdict(Waiting)
        self.calls: dict[str, Lane[int]] = {}
        self.given_up: set[str] = set()
        """Keys whose call has nothing to do any more but to come back."""
        self.slow: dict[str, Slow] = defaultdict(Slow)
        self.sink = Slow()
        self.overtaken: dict[str, set[str]] = {}
        """Keys and accounts that could be next, and who was instead since they could."""

    # -- the model's view --------------------------------------------------------------------------------------------

    def running(self, account: str) -> int:
        return sum(lane.account == account for lane in self.calls.values())

    def below_the_bounds(self, account: str) -> bool:
        most = 1 if self.sink.rounds else CONCURRENCY
        most_of = 1 if self.slow[account].rounds else ACCOUNT_CONCURRENCY
        return len(self.calls) < most and self.running(account) < most_of

    def possible_at(self, key: str) -> float | None:
        """When the key can be next, if nothing else happens; None: not then either."""
        account = key.partition("/")[0]
        if not self.keys[key].numbers or key in self.calls or not self.below_the_bounds(account):
            return None
        return max(self.keys[key].not_before, self.slow[account].not_before, self.sink.not_before)

    def eligible(self) -> set[str]:
        return {key for key in KEYS if (at := self.possible_at(key)) is not None and at <= self.now}

    # -- what happens ------------------------------------------------------------------------------------------------

    @rule(key=a_key, count=st.sampled_from((1, 1, 1, 2, 5, AT_ONCE + 20)))
    def something_arrives(self, key: str, count: int) -> None:
        for _ in range(count):
            self.lanes.add(arrival(key, self.next_number))
            self.keys[key].numbers.append(self.next_number)
            self.next_number += 1

    @rule(passed=st.sampled_from((0.25, 0.5, 1.0, 5.0)))
    def time_passes(self, passed: float) -> None:
        self.now += passed

    @rule(most=st.integers(1, 6))
    def turns_are_taken(self, most: int) -> None:
        for _ in range(most):
            eligible = self.eligible()
            lane = self.lanes.turn(self.now)
            if lane is None:
                assert not eligible
                self.look_at_the_next_time()
                return
            assert lane.key in eligible
            waiting = self.keys[lane.key].numbers
            assert [one.item for one in lane.first()] == waiting[:AT_ONCE]
            self.calls[lane.key] = lane
            self.note_who_was_overtaken(lane, eligible)

    def look_at_the_next_time(self) -> None:
        next_at = self.lanes.next_at()
        times = [at for key in KEYS if (at := self.possible_at(key)) is not None]
        assert next_at is None or next_at > self.now, "the caller would spin"
        if times:
            assert next_at is not None, "the caller would sleep for ever"
            assert next_at <= min(times), "the caller would oversleep"
        self.look_who_is_in_trouble()

    def look_who_is_in_trouble(self) -> None:
        for at_least in (1, 3):
            often = {key for key, one in self.keys.items() if one.failures >= at_least and key not in self.calls}
            failing = self.lanes.failing(at_least)
            assert {lane.key for lane in failing} <= often
            assert all(self.lanes.fails_alone(lane) for lane in failing)
            slowed = {name for name, slow in self.slow.items() if slow.rounds >= at_least}
            assert set(self.lanes.slowed(at_least)) == slowed

    def note_who_was_overtaken(self, lane: Lane[int], eligible: set[str]) -> None:
        accounts = {key.partition("/")[0] for key in eligible}
        for account in accounts - {lane.account}:
            assert lane.account not in self.overtaken.setdefault(account, set()), "an account was overtaken twice"
            self.overtaken[account].add(lane.account)
        for key in eligible - {lane.key}:
            if key.startswith(f"{lane.account}/"):
                assert lane.key not in self.overtaken.setdefault(key, set()), "a key was overtaken twice"
                self.overtaken[key].add(lane.key)
        self.overtaken.pop(lane.account, None)
        self.overtaken.pop(lane.key, None)

    @precondition(lambda self: self.busy())
    @rule(data=st.data(), also_released=st.booleans())
    def a_call_succeeds(self, data: st.DataObject, *, also_released: bool) -> None:
        lane = self.some_call(data)
        done = data.draw(st.sampled_from(sorted({1, lane.given})))
        self.lanes.settled(lane, done, self.now)
        del self.keys[lane.key].numbers[:done]
        self.keys[lane.key].not_before, self.keys[lane.key].failures = 0.0, 0
        self.slow[lane.account] = Slow()
        self.sink = Slow()
        if also_released:
            self.release(lane)
        elif not lane.given:
            self.given_up.add(lane.key)

    @precondition(lambda self: self.busy())
    @rule(data=st.data(), scope=st.sampled_from(("entity", "account", "sink")), pause=a_pause)
    def a_call_fails(self, data: st.DataObject, scope: str, pause: float) -> None:
        lane = self.some_call(data)
        self.fail(lane)
        if scope == "entity":
            lane.not_before = self.keys[lane.key].not_before = self.now + pause
        else:
            real, model = (
                (self.lanes.trouble_of(lane.account), self.slow[lane.account])
                if scope == "account"
                else (self.lanes.trouble, self.sink)
            )
            real.pause(self.now, pause)
            model.pause(self.now, pause)
        self.release(lane)

    @precondition(lambda self: self.busy())
    @rule(data=st.data(), whole_account=st.booleans(), paused=st.booleans())
    def a_call_fails_and_what_is_in_trouble_is_put_aside(
        self, data: st.DataObject, *, whole_account: bool, paused: bool
    ) -> None:
        lane = self.some_call(data)
        self.fail(lane)
        if paused:
            self.lanes.trouble_of(lane.account).pause(self.now, 1.0)
        keys = [key for key in KEYS if key.startswith(f"{lane.account}/")] if whole_account else [lane.key]
        self.withdraw(keys, lane.account)
        self.lanes.calm(lane.account, self.now)
        self.slow[lane.account] = Slow()
        self.give_up(lane)
        self.release(lane)

    @precondition(lambda self: self.busy())
    @rule(data=st.data())
    def a_call_is_given_up_and_comes_back_later(self, data: st.DataObject) -> None:
        lane = self.some_call(data)
        self.give_up(lane)
        self.given_up.add(lane.key)

    @precondition(lambda self: self.given_up)
    @rule(data=st.data())
    def a_call_comes_back(self, data: st.DataObject) -> None:
        self.release(self.calls[data.draw(st.sampled_from(sorted(self.given_up)))])

    @rule(account=st.none() | st.sampled_from(ACCOUNTS), picked=st.sets(a_key))
    def what_waits_is_withdrawn(self, account: str | None, picked: set[str]) -> None:
        keys = [key for key in KEYS if key in picked and (account is None or key.startswith(f"{account}/"))]
        self.withdraw(keys, account)

    @rule(account=st.sampled_from(ACCOUNTS))
    def an_accounts_trouble_is_forgotten(self, account: str) -> None:
        self.lanes.calm(account, self.now)
        self.slow[account] = Slow()

    # -- how it happens ----------------------------------------------------------------------------------------------

    def busy(self) -> list[str]:
        return sorted(self.calls.keys() - self.given_up)

    def some_call(self, data: st.DataObject) -> Lane[int]:
        return self.calls[data.draw(st.sampled_from(self.busy()))]

    def fail(self, lane: Lane[int]) -> None:
        self.lanes.failed(lane, self.now)
        self.keys[lane.key].failures += 1
        self.slow[lane.account].failed = self.sink.failed = True

    def release(self, lane: Lane[int]) -> None:
        self.lanes.release(lane, self.now)
        del self.calls[lane.key]
        self.given_up.discard(lane.key)
        if not self.keys[lane.key].numbers:
            del self.keys[lane.key]

    def give_up(self, lane: Lane[int]) -> None:
        waiting = self.keys[lane.key].numbers
        assert [one.item for one in self.lanes.give_up(lane)] == waiting
        waiting.clear()

    def withdraw(self, keys: list[str], account: str | None) -> None:
        wanted = set(keys)
        found = self.lanes.withdraw(lambda lane: lane.key in wanted, account)
        for key in keys:
            given = self.calls[key].given if key in self.calls else 0
            waiting = self.keys[key].numbers
            assert [one.item for one in found if one.key == key] == waiting[given:]
            del waiting[given:]
            if key not in self.calls and not waiting:
                del self.keys[key]
        assert {one.key for one in found} <= wanted

    # -- what always holds -------------------------------------------------------------------------------------------

    @invariant()
    def nothing_is_lost_or_counted_twice(self) -> None:
        assert self.lanes.unfinished == sum(len(waiting.numbers) for waiting in self.keys.values())
        assert self.lanes.running == len(self.calls)

    @invariant()
    def who_cannot_be_next_has_not_been_overtaken(self) -> None:
        eligible = self.eligible()
        able = eligible | {key.partition("/")[0] for key in eligible}
        self.overtaken = {name: by for name, by in self.overtaken.items() if name in able}

    def teardown(self) -> None:
        for lane in list(self.calls.values()):
            if lane.key not in self.given_up:
                self.lanes.settled(lane, lane.given, self.now)
                self.slow[lane.account] = Slow()
            self.release(lane)
        self.lanes.withdraw(lambda _: True)
        assert (self.lanes.unfinished, self.lanes.running, self.lanes.next_at()) == (0, 0, None)
        assert not self.lanes._lanes
        assert not self.lanes._turns
        assert not self.lanes._paused
        assert set(self.lanes._accounts) <= {name for name, slow in self.slow.items() if slow.failed}


TestTheLanesAgainstAModel = AgainstAModel.TestCase
TestTheLanesAgainstAModel.settings = settings(
    derandomize=True, deadline=None, max_examples=60, stateful_step_count=50, phases=[Phase.generate]
)


def lanes_of(*keys: str) -> Lanes[int]:
    lanes: Lanes[int] = Lanes(concurrency=8, account_concurrency=8)
    for number, key in enumerate(keys):
        record = LogRecord(offset=number, timestamp=0)
        lanes.add(Arrival(record=record, item=number, account=key.partition("/")[0], key=key))
    return lanes


def test_a_lane_fails_alone_if_its_account_and_the_sink_were_well_since_its_first_failure() -> None:
    lanes = lanes_of("acme/job/1", "acme/job/2", "bolt/job/1")
    first, other, second = (lane for lane in iter(lambda: lanes.turn(0.0), None))
    assert [first.key, second.key, other.key] == ["acme/job/1", "acme/job/2", "bolt/job/1"]
    lanes.failed(first, 1.0)
    lanes.failed(second, 2.0)
    assert not lanes.fails_alone(first)
    assert not lanes.fails_alone(second), "it is the account, for all that is known"
    lanes.settled(other, 1, 3.0)
    assert not lanes.fails_alone(first), "its account was not well meanwhile"
    lanes.settled(second, 1, 4.0)
    lanes.failed(first, 5.0)
    assert lanes.fails_alone(first)
    lanes.release(first, 5.0)
    assert [lane.key for lane in lanes.failing(2)] == ["acme/job/1"]
    assert lanes.failing(3) == []
