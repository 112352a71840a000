"""Pure: webhook bodies and rules of every shape, good and bad, chosen by a seeded generator."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from schemas.topics import CONTROL_HEADER, CONTROL_RULES, ELEMENTS_HEADER

KINDS = ("job", "invoice", "appointment", "quote", "Contact", "attachment", "job.item-v2")
ACTIONS = ("created", "updated", "deleted", "UPDATED", "Created")
FIELDS = ("status", "price", "assignedTo", "dueBy", "notes", "tags")
ECHO_USER = 900_001
IDS = 60
QUIET_MS = (700, 900, 1_100)
CEILING_MS = (3_000, 3_500, 4_000)
BAD_BODIES = (
    b"",
    b"not json",
    b"[]",
    b'"text"',
    b"{}",
    b'{"data": {}}',
    b'{"data": null, "messageId": "x"}',
    b'{"data": [',
    b"\xff\xfe\x00",
    b'{"data": ' + b"[" * 1_100 + b"]" * 1_100 + b"}",
)
BAD_KEYS = (b"", b"Not An Account", b"\xff\xff", b"-dash", b"a" * 64)
BAD_RULES = (b"", b"{}", b"null", b'{"default": {}, "types": {}}', b'{"default": {"keep": 1}, "types": {}}')
BAD_ELEMENT_LISTS = (b"", b"x", b"1,", b"-1", b"1 ,2", b"1234567890")
GOOD_ELEMENT_LISTS = (b"0", b"0,1", b"1", b"7", b"0,0")

Message = tuple[bytes, bytes, Sequence[tuple[str, bytes]]]
"""Key, value and headers."""


@dataclass(slots=True)
class Writer:
    """Writes bodies; no two are equal by chance, for each element carries a number of its own."""

    rng: Random
    name: str
    _count: int = field(default=0)

    def body(self, elements: Sequence[Any], now_s: int) -> bytes:
        """One webhook; its messageId may be absent, of a wrong type or too long."""
        self._count += 1
        body: dict[str, Any] = {"data": list(elements), "n": f"{self.name}-{self._count}"}
        message_id = self._message_id()
        if message_id != "absent":
            body["messageId"] = message_id
        roll = self.rng.random()
        if roll < 0.8:
            body["timestamp"] = now_s if roll < 0.6 else str(now_s)
        return json.dumps(body).encode()

    def _message_id(self) -> Any:
        name, roll = f"{self.name}-{self._count}", self.rng.random()
        if roll < 0.88:
            return name
        return self.rng.choice(["absent", "absent", None, self._count, "", name.ljust(200, "x"), name.ljust(201, "x")])

    def element(self, now_s: int, *, kind: str | None = None, entity_id: int | None = None, action: str = "") -> Any:
        """One readable notification."""
        rng = self.rng
        number = rng.randint(1, IDS) if entity_id is None else entity_id
        chosen = action or rng.choices(ACTIONS, (2, 10, 1, 2, 1))[0]
        element: dict[str, Any] = {
            "entity": {
                "type": kind or rng.choice(KINDS),
                "id": rng.choice([number, number, str(number), f"{number:05d}"]),
                "uri": f"https://example.invalid/{number}",
            },
            "action": chosen,
        }
        if rng.random() < 0.9:
            at = now_s - rng.choice([0, 0, 0, 1, 2, 5, 30, -2])
            element["timestamp"] = rng.choice([at, at, str(at)])
        if rng.random() < 0.85:
            element["userId"] = rng.choice([7, 8, 9, "10", None, ECHO_USER, rng.randint(100, 160)])
        if rng.random() < 0.85:
            element["changeset"] = self.changeset()
        return element

    def pair(self, now_s: int) -> list[Any]:
        """Created and deleted, or created and updated, in one webhook, in any order."""
        number = self.rng.randint(10_000, 99_999)
        actions = self.rng.choice([("created", "deleted"), ("deleted", "created"), ("updated", "created")])
        return [self.element(now_s, kind="job", entity_id=number, action=action) for action in actions]

    def changeset(self) -> Any:
        """An array, an object, null, or something with bad entries in it."""
        rng = self.rng
        entries: list[Any] = [self._entry(name) for name in rng.sample(FIELDS, rng.randint(0, 3))]
        roll = rng.random()
        if roll < 0.70:
            return entries
        if roll < 0.80:
            return self._entry(rng.choice(FIELDS))
        if roll < 0.85:
            return None
        if roll < 0.95:
            return [*entries, rng.choice(_BAD_ENTRIES), *entries]
        return [self._entry(f"field-{rng.randint(0, 999)}") for _ in range(rng.choice([5, 5, 150]))]

    def _entry(self, name: str) -> dict[str, Any]:
        values = [None, 0, 1, 1.0, "a", "b", "é\u2028😀", True, [1, 2], {"b": 1, "a": [None]}, 2**53 + 1, -0.5]
        entry = {"field": name, "oldValue": self.rng.choice(values), "newValue": self.rng.choice(values)}
        if self.rng.random() < 0.1:
            del entry[self.rng.choice(["oldValue", "newValue"])]
        return entry

    def bad_element(self, now_s: int) -> Any:
        """A notification that cannot be read."""
        good = self.element(now_s)
        return self.rng.choice(
            [
                None,
                "text",
                [],
                {**good, "entity": None},
                {**good, "entity": {"type": "job"}},
                {**good, "entity": {"type": "job", "id": 1.0}},
                {**good, "entity": {"type": "job", "id": True}},
                {**good, "entity": {"type": "job", "id": -1}},
                {**good, "entity": {"type": "job", "id": 2**63}},
                {**good, "entity": {"type": "9job", "id": 1}},
                {**good, "entity": {"type": "j" * 65, "id": 1}},
                {**good, "action": "exploded"},
                {**good, "timestamp": 1.5},
                {**good, "timestamp": "soon"},
                {**good, "userId": 2**63},
                {**good, "userId": False},
            ]
        )

    def garbage(self, account: bytes, now_s: int) -> Message:
        """A record that is quarantined, whole or with each of its elements."""
        choose = self.rng.choice
        good = self.body([self.element(now_s)], now_s)
        records: list[Message] = [
            (account, choose(BAD_BODIES), ()),
            (account, self.body([self.bad_element(now_s)] * 3, now_s), ()),
            (choose(BAD_KEYS), good, ()),
            (account, good, ((ELEMENTS_HEADER, choose(BAD_ELEMENT_LISTS)),)),
            (account, choose(BAD_RULES), ((CONTROL_HEADER, CONTROL_RULES),)),
            (b"Not An Account", self.rules(), ((CONTROL_HEADER, CONTROL_RULES),)),
            (account, b"?", ((CONTROL_HEADER, b"dance"),)),
        ]
        return choose(records)

    def rules(self) -> bytes:
        """Rules in which each filter occurs, with quiet periods and ceilings of the run."""
        rng = self.rng
        default = {**self._times(), "ignore_users": [ECHO_USER]}
        types = {
            "attachment": {**self._times(), "keep": False},
            "quote": {**self._times(), "actions": rng.choice([["created", "deleted"], ["updated"], None])},
            "invoice": {**self._times(), "fields": rng.sample(FIELDS, 2)},
        }
        for name in rng.sample(sorted(types), rng.randint(0, 2)):
            del types[name]
        return json.dumps({"default": default, "types": types}).encode()

    def _times(self) -> dict[str, Any]:
        return {"quiet_ms": self.rng.choice(QUIET_MS), "ceiling_ms": self.rng.choice(CEILING_MS)}


def _deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


_BAD_ENTRIES: tuple[Any, ...] = (
    None,
    "status",
    {"oldValue": 1, "newValue": 2},
    {"field": 7, "newValue": 1},
    {"field": "f" * 201, "newValue": 1},
    {"field": "long", "newValue": "x" * 10_001},
    {"field": "deep", "oldValue": _deep(101)},
    {"field": "deep enough", "oldValue": _deep(100)},
)
