"""Random logs of one partition, with times so small that every rule of the core binds within a few records."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from schemas.pipeline import PipelineTimes
from schemas.record import LogRecord

HEAD_BYTES = 24
RECORD_BYTES = 40
ACCOUNTS = ("acme", "acme-west")
"""In this order as strings, but the other way round inside a key: `-` sorts before `/`."""
Content = tuple[bytes, bytes | None, tuple[tuple[str, bytes], ...]]
"""Key, value and headers of a record."""
TICK = (("tradewind-control", b"tick"),)
RULES = (("tradewind-control", b"rules"),)

BAD_ELEMENTS: tuple[Any, ...] = (
    None,
    7,
    [],
    {},
    {"entity": []},
    {"entity": {"type": "job", "id": 1}},
    {"entity": {"type": "job", "id": True}, "action": "updated"},
    {"entity": {"type": "job", "id": -1}, "action": "updated"},
    {"entity": {"type": "job", "id": "1e3"}, "action": "updated"},
    {"entity": {"type": "job", "id": 2**63}, "action": "updated"},
    {"entity": {"type": "9job", "id": 1}, "action": "updated"},
    {"entity": {"type": "job", "id": 1}, "action": "renamed"},
    {"entity": {"type": "job", "id": 1}, "action": "updated", "timestamp": "soon"},
    {"entity": {"type": "job", "id": 1}, "action": "updated", "userId": False},
)
BAD_BODIES = (None, b"", b"{", b"7", b"null", b"[]", b"{}", b'{"data":{}}', b'{"data":[NaN]}', b"\xff", b"[" * 2_000)
BAD_RULES = (
    b"",
    b"[]",
    b'{"default":{}}',
    b'{"default":{"quiet_ms":0},"types":{}}',
    b'{"default":{"ceiling_ms":99999999},"types":{}}',
    b'{"default":{},"types":{"job":{"keep":1}}}',
)
VALUES: tuple[Any, ...] = (1, 1.0, True, None, "a", "b", {"x": 1, "y": 2}, {"y": 2, "x": 1}, [], 2**53 + 1)
CHANGESETS: tuple[Any, ...] = (None, [], {}, "status", 3, [7], {"field": 1}, [{"field": "status"}, "?"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """One partition's records in offset order, and what the pipeline was told before them."""

    times: PipelineTimes
    rules_before: Mapping[str, Any]
    records: tuple[LogRecord, ...]
    topic: str = "servicetrade.webhooks"
    partition: int = 3
    epoch: int = 2


@dataclass(slots=True)
class Dice:
    """Choices taken from bytes, one each: a record costs a single draw, and fewer or smaller bytes are simpler."""

    data: bytes
    at: int = 0

    def roll(self, sides: int) -> int:
        """A number from 0 to sides - 1; 0 when the bytes have run out."""
        value = self.data[self.at] if self.at < len(self.data) else 0
        self.at += 1
        return value % sides

    def pick(self, choices: Sequence[Any]) -> Any:
        return choices[self.roll(len(choices))]

    def chance(self, one_in: int) -> bool:
        return self.roll(one_in) == one_in - 1


@dataclass(slots=True)
class Scribe:
    """Writes a log record by record; knows the partition's time and earlier bodies, to come back to both."""

    times: PipelineTimes
    unit: int
    hot: bool
    now: int = 1_000_000_000
    offset: int = 0
    bodies: list[tuple[bytes, dict[str, Any]]] = field(default_factory=list)

    def record(self, dice: Dice) -> LogRecord:
        timestamp = self.move(dice)
        self.offset += 1 + (dice.roll(4) if dice.chance(8) else 0)
        account = dice.pick(ACCOUNTS[:1] if self.hot else ACCOUNTS)
        key, value, headers = self.content(dice, account)
        return LogRecord(offset=self.offset, timestamp=timestamp, key=key, value=value, headers=headers)

    def move(self, dice: Dice) -> int:
        times, unit = self.times, self.unit
        largest = times.max_ceiling_ms
        small = (unit, 0, 1, 2 * unit, 0, unit + 1, 3 * unit)
        if self.hot and not dice.chance(40):
            step = dice.pick(small[:5])
        else:
            far = (times.horizon_ms, times.memory_ms, times.restore_ms, times.horizon_ms + times.memory_ms)
            back = (-1, -unit, -largest, -largest - 1, -largest // 2, -times.restore_ms)
            step = dice.pick(
                (*small, 4 * unit, 9 * unit, largest, dice.pick(far) + dice.pick((0, -1, 1)), dice.pick(back))
            )
        timestamp = self.now + int(step)
        if not self.now - largest <= timestamp < self.now:
            self.now = timestamp
        return timestamp

    def content(self, dice: Dice, account: str) -> Content:
        """Mostly fresh webhooks; then repeats, ticks, rules, and what has to be quarantined."""
        key = account.encode()
        kind = dice.roll(36 if self.hot else 40)
        content: Content = (key, b"", TICK)
        if kind < 26 or (kind < 33 and not self.bodies):
            content = (key, self.fresh(dice), ())
        elif kind < 33:
            content = self.repeat(dice, key)
        elif 35 <= kind < 37 and not self.hot:
            content = (key, json.dumps(some_rules(dice, self.unit, self.times)).encode(), RULES)
        elif kind == 37:
            content = (key, dice.pick(BAD_BODIES), ())
        elif kind == 38:
            content = (key, dice.pick(BAD_RULES), RULES)
        elif kind == 39:
            content = self.odd(dice, key)
        return content

    def odd(self, dice: Dice, key: bytes) -> Content:
        """A record that is no webhook of an account and no control record either, or is meant for a sink."""
        kind = dice.roll(6)
        if kind == 0:
            return key, b"", (("tradewind-control", b"dance"),)
        if kind == 1:
            return key, self.fresh(dice), (("tradewind-elements", dice.pick((b"", b"x", b"0,,1", b"1.5"))),)
        if kind == 4:
            content = dice.pick(((key, self.fresh(dice), ()), (key, dice.pick(BAD_BODIES), RULES), (key, b"", TICK)))
            return *content[:2], (*content[2], *redriven_to(dice.pick((b"mirror", b"forward/crm", b"")), b"1"))
        if kind == 5:
            times = dice.pick((b"2", b"0", b"007", b"", b"-1", b"1" * 10, "\u0662".encode()))
            return key, dice.pick(BAD_BODIES), redriven_to(b"processors", times)
        bad_key = dice.pick((b"", b"Acme", b"\xff", b"a/b"))
        return bad_key, self.fresh(dice), RULES if kind == 2 else ()

    def fresh(self, dice: Dice) -> bytes:
        message: dict[str, Any] = {"messageId": f"m{self.offset}"}
        if dice.chance(8):
            message = dice.pick(({}, {"messageId": ""}, {"messageId": 5}, {"messageId": "m1"}))
        if dice.chance(4):
            message["timestamp"] = dice.pick(("1000001", 1_000_002, "", None, -4))
        message["data"] = [self.element(dice) for _ in range(dice.pick((1, 1, 2, 1, 3, 0)))]
        return self.keep(message)

    def keep(self, message: dict[str, Any]) -> bytes:
        body = json.dumps(message).encode()
        self.bodies.append((body, message))
        return body

    def element(self, dice: Dice) -> Any:
        if dice.chance(30 if self.hot else 10):
            return dice.pick(BAD_ELEMENTS)
        entity: dict[str, Any] = {
            "type": "job" if self.hot else dice.pick(("job", "Job", "jobItem", "hoverboard")),
            "id": dice.pick((2, "2", "02") if self.hot else (2, 10, "2", 2**63 - 1)),
        }
        element: dict[str, Any] = {"entity": entity, "action": dice.pick(ACTIONS)}
        at = dice.pick((1, 2, 3, 2, "2", "absent", None))
        if at != "absent":
            element["timestamp"] = at
        if user := dice.roll(6):
            element["userId"] = (None, 1, 2, "2", 3)[user - 1]
        shape = dice.roll(4)
        if shape == 1:
            element["changeset"] = entry(dice)
        elif shape == 2:
            element["changeset"] = [entry(dice) for _ in range(1 + dice.roll(3))]
        elif shape == 3:
            element["changeset"] = dice.pick(CHANGESETS)
        return element

    def repeat(self, dice: Dice, key: bytes) -> Content:
        """An earlier body as it was, with other elements, or redriven for some of them."""
        body, message = self.bodies[-1 - dice.roll(min(len(self.bodies), 12))]
        how = dice.roll(6)
        if how == 3:
            return key, self.keep({**message, "data": message["data"][:-1]}), ()
        if how == 4:
            return key, self.keep({**message, "data": [*message["data"], self.element(dice)]}), ()
        if how == 5:
            elements = ("tradewind-elements", dice.pick((b"0", b"1", b"0,2", b"2,1,2", b"9")))
            return key, body, (elements, *redriven_to(b"processors", b"1")[: 2 * dice.roll(2)])
        return key, body, ()


ACTIONS = ("updated", "updated", "UPDATED", "created", "updated", "deleted", "Created", "updated")


def redriven_to(stage: bytes, times: bytes) -> tuple[tuple[str, bytes], ...]:
    """The headers of a record that was redriven."""
    return (("x-redrive-to", stage), ("x-redrives", times))


def entry(dice: Dice) -> dict[str, Any]:
    item = {"field": dice.pick(("status", "due", "note")), "oldValue": dice.pick(VALUES), "newValue": dice.pick(VALUES)}
    if dice.chance(8):
        del item["oldValue"]
    return item


def some_rule(dice: Dice, unit: int, times: PipelineTimes) -> dict[str, Any]:
    quiet = unit * (1 + dice.roll(4))
    ceiling = min(times.max_ceiling_ms, quiet + unit * dice.roll(12))
    rule: dict[str, Any] = {"quiet_ms": min(quiet, ceiling), "ceiling_ms": ceiling}
    if dice.chance(4):
        rule |= dice.pick(({"keep": False}, {"ignore_users": [1, 3]}, {"actions": ["updated"]}, {"fields": ["due"]}))
    return rule


def some_rules(dice: Dice, unit: int, times: PipelineTimes) -> dict[str, Any]:
    types = {"job": some_rule(dice, unit, times)} if dice.chance(2) else {}
    return {"default": some_rule(dice, unit, times), "types": types}


def log_of(data: bytes) -> Log:
    """The log that these bytes stand for."""
    head = Dice(data[:HEAD_BYTES])
    # Built-in rules wait for seconds: only where the largest ceiling covers theirs may an account go without its own.
    unit = 1_500 if head.chance(8) else 1
    # A hot log is about one entity that hardly ever falls silent: what its windows are depends on all before them.
    hot = unit == 1 and head.chance(2)
    largest = unit * ((20 if unit > 1 else 4) + head.roll(8 if hot else 20))
    spread = 12 if hot else 40
    memory, horizon = largest + unit * (1 + head.roll(spread)), unit * (2 + head.roll(spread))
    times = PipelineTimes(horizon_s=horizon / 1000, memory_s=memory / 1000, max_ceiling_s=largest / 1000)
    before = {name: some_rules(head, unit, times) for name in ACCOUNTS if unit == 1 or head.chance(2)}
    scribe = Scribe(times=times, unit=unit, hot=hot)
    starts = range(HEAD_BYTES, len(data), RECORD_BYTES)
    records = tuple(scribe.record(Dice(data[start : start + RECORD_BYTES])) for start in starts)
    return Log(times=times, rules_before=before, records=records)


def logs(*, least: int = 12, most: int = 50) -> st.SearchStrategy[Log]:
    """Logs of `least` to `most` records."""
    size = (HEAD_BYTES + least * RECORD_BYTES, HEAD_BYTES + most * RECORD_BYTES)
    return st.binary(min_size=size[0], max_size=size[1]).map(log_of)
