"""Oracle: docs/guarantees.md implemented a second time, naively, without looking at processors/."""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from schemas import topics
from schemas.change import Action, ClosedBy, EntityChange, FieldChange, Source
from schemas.encoding import decode, encode, encode_canonical
from schemas.pipeline import PipelineTimes
from schemas.record import LogRecord, header

ACTIONS: tuple[Action, ...] = ("created", "updated", "deleted")
BUILTIN = {"quiet_ms": 2_000, "ceiling_ms": 30_000}
RULE_KEYS = {"keep", "actions", "fields", "ignore_users", "quiet_ms", "ceiling_ms"}


@dataclass
class Note:
    """A readable notification, and the entries of its changeset."""

    key: str
    kind: str
    entity_id: str
    action: Action
    at: int
    user: int | None
    entries: list[tuple[str, Any, Any]]
    complete: bool
    record: LogRecord
    index: int
    message_id: str


@dataclass
class Window:
    """An entity's open window; `noted` is in log order."""

    key: str
    account: str
    opened: int
    due: int
    cut: int
    ceiling: int
    version: str
    noted: list[Note] = field(default_factory=list)


@dataclass
class Expected:
    """What must come out of a log."""

    changes: list[EntityChange] = field(default_factory=list)
    dead: list[tuple[int, str]] = field(default_factory=list)
    """(offset, comma-separated bad elements, or nothing for the whole record)"""
    again: dict[int, int] = field(default_factory=dict)
    """By offset, how often a record that is among the dead had been redriven, where it had"""
    rules: dict[str, Any] = field(default_factory=dict)
    adopted: list[tuple[int, str, str]] = field(default_factory=list)
    """(offset, account, version) of the rules records that took effect"""
    notifications: int = 0
    merged: int = 0
    duplicates: int = 0
    filtered: int = 0
    quarantined: int = 0
    open: int = 0


def expect(
    records: Sequence[LogRecord],
    *,
    topic: str,
    partition: int,
    epoch: int,
    times: PipelineTimes,
    rules_before: Mapping[str, Any] | None = None,
) -> Expected:
    """What guarantees.md promises for these records of one partition, read from a fresh start."""
    run = _Run(topic, partition, epoch, times, dict(rules_before or {}))
    for record in records:
        run.read(record)
    run.out.rules = run.rules
    run.out.open = sum(len(window.noted) for window in run.windows.values())
    return run.out


class _Run:
    def __init__(self, topic: str, partition: int, epoch: int, times: PipelineTimes, rules: dict[str, Any]) -> None:
        self.topic, self.partition, self.epoch, self.times, self.rules = topic, partition, epoch, times, rules
        self.out = Expected()
        self.now: int | None = None
        self.windows: dict[str, Window] = {}
        self.occurred: list[tuple[str, str, int, int]] = []

    def read(self, record: LogRecord) -> None:
        # 1. Time.
        if self.now is None or record.timestamp >= self.now:
            self.now = record.timestamp
        elif record.timestamp < self.now - self.times.max_ceiling_ms:
            self.close(list(self.windows.values()), "clock")
            self.occurred = []
            self.now = record.timestamp
        # 2. Closing.
        self.close([window for window in self.windows.values() if window.due < self.now], None)
        # 3. Control records, and what is for others.
        if header(record, topics.REDRIVE_TO_HEADER) not in (None, b"processors"):
            return
        control = header(record, topics.CONTROL_HEADER)
        if control is None:
            self.webhook(record, self.now)
        elif control == topics.CONTROL_RULES:
            self.adopt(record)
        elif control != topics.CONTROL_TICK:
            self.bury(record)

    def bury(self, record: LogRecord, elements: Sequence[int] = ()) -> None:
        self.out.dead.append((record.offset, ",".join(str(index) for index in elements)))
        times = header(record, topics.REDRIVES_HEADER) or b""
        if re.fullmatch(rb"[0-9]{1,9}", times) and int(times) > 0:
            self.out.again[record.offset] = int(times)

    def adopt(self, record: LogRecord) -> None:
        account = account_name(record)
        rules = read_rules(record.value, self.times)
        if account is None or rules is None:
            self.bury(record)
            return
        self.close([window for window in self.windows.values() if window.account == account], "rules")
        self.rules[account] = rules
        self.out.adopted.append((record.offset, account, version_of(rules)))

    # 4. Reading.
    def webhook(self, record: LogRecord, now: int) -> None:
        account, chosen, body = account_name(record), chosen_elements(record), json_object(record.value)
        data = body.get("data") if body is not None else None
        usable = isinstance(data, list) and len(data) <= 100_000
        if account is None or chosen == "unreadable" or body is None or not usable:
            self.bury(record)
            self.out.notifications += 1
            self.out.quarantined += 1
            return
        bad = []
        for index, element in enumerate(body["data"]):
            if chosen is not None and index not in chosen:
                continue
            self.out.notifications += 1
            note = read_element(record, body, index, element, account)
            if note is None:
                bad.append(index)
            else:
                self.notice(note, account, now)
        if bad:
            self.bury(record, bad if len(bad) <= 1_000 else ())
            self.out.quarantined += len(bad)

    def notice(self, note: Note, account: str, now: int) -> None:
        # 5. Duplicates.
        name = (account, note.message_id, note.index)
        duplicate = any(seen[:3] == name and now - seen[3] <= self.times.horizon_ms for seen in self.occurred)
        self.occurred.append((*name, now))
        # 6. Filter.
        rules = self.rules.get(account)
        most = self.times.max_ceiling_ms
        builtin = {name: min(value, most) for name, value in BUILTIN.items()}
        rule = builtin if rules is None else rule_for(rules, note.kind)
        if duplicate:
            self.out.duplicates += 1
        elif not keeps(rule, note):
            self.out.filtered += 1
        else:
            self.join(note, account, rule, now)

    # 7. Windows.
    def join(self, note: Note, account: str, rule: Mapping[str, Any], now: int) -> None:
        window = self.windows.get(note.key)
        if window is None:
            phase = zlib.crc32(note.key.encode()) % self.times.memory_ms
            cut = next(
                t for t in range(now + 1, now + 1 + self.times.memory_ms) if (t - phase) % self.times.memory_ms == 0
            )
            version = version_of(self.rules.get(account))
            window = Window(note.key, account, now, now, cut, rule["ceiling_ms"], version)
            self.windows[note.key] = window
        window.noted.append(note)
        window.due = min(now + rule["quiet_ms"], window.opened + rule["ceiling_ms"], window.cut - 1)

    def close(self, windows: Sequence[Window], by: ClosedBy | None) -> None:
        for window in sorted(windows, key=lambda window: (window.due, window.key)):
            del self.windows[window.key]
            self.out.merged += len(window.noted)
            self.out.changes.append(self.fold(window, by or reason(window)))

    # 8. Folding, 9. Identity.
    def fold(self, window: Window, by: ClosedBy) -> EntityChange:
        first, notes = window.noted[0], window.noted
        actions = {note.action for note in notes}
        changeset, fitted = fold_fields(notes)
        users: list[int | None] = []
        for note in notes:
            if note.user not in users:
                users.append(note.user)
        opening = f"{first.record.offset}/{first.index}/{first.record.timestamp}"
        name = f"{self.topic}/{self.partition}/{opening}/{window.version}/1"
        return EntityChange(
            id=hashlib.sha256(name.encode()).hexdigest()[:32],
            sequence=f"{self.epoch:04d}-{first.record.offset:016d}-{first.index:08d}",
            account=window.account,
            entity_type=first.kind,
            entity_id=first.entity_id,
            action="deleted" if "deleted" in actions else "created" if "created" in actions else "updated",
            changeset=changeset,
            changeset_complete=fitted and all(note.complete for note in notes if note.action == "updated"),
            users=tuple(users[:32]),
            first_at=min(note.at for note in notes),
            last_at=max(note.at for note in notes),
            opened_ms=window.opened,
            due_ms=window.due,
            closed_by=by,
            notifications=len(notes),
            sources=tuple(
                Source(offset=note.record.offset, index=note.index, message_id=note.message_id) for note in notes[:32]
            ),
            rules_version=window.version,
        )


def reason(window: Window) -> ClosedBy:
    ceiling = window.opened + window.ceiling
    if window.due < min(ceiling, window.cut - 1):
        return "quiet"
    return "ceiling" if ceiling < window.cut else "cut"


def fold_fields(notes: Sequence[Note]) -> tuple[tuple[FieldChange, ...], bool]:
    """The net changes sorted by name, and whether every field fitted."""
    names = list(dict.fromkeys(name for note in notes for name, _, _ in note.entries))
    kept = sorted(names[:256])
    ordered = sorted(notes, key=lambda note: (note.at, ACTIONS.index(note.action), note.record.offset, note.index))
    net = []
    for name in kept:
        values = [(old, new) for note in ordered for entry, old, new in note.entries if entry == name]
        old, new = values[0][0], values[-1][1]
        if encode_canonical(old) != encode_canonical(new):
            net.append(FieldChange(name=name, old_value=old, new_value=new))
    return tuple(net), len(names) <= 256


def version_of(rules: Any) -> str:
    return "builtin" if rules is None else hashlib.sha256(encode_canonical(rules)).hexdigest()[:16]


def keeps(rule: Mapping[str, Any], note: Note) -> bool:
    if not rule.get("keep", True) or note.user in rule.get("ignore_users", ()):
        return False
    if rule.get("actions") is not None and note.action not in rule["actions"]:
        return False
    if rule.get("fields") is not None and note.action == "updated" and note.complete:
        return any(name in rule["fields"] for name, _, _ in note.entries)
    return True


def rule_for(rules: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    return {**BUILTIN, **rules["types"].get(kind, rules["default"])}


def account_name(record: LogRecord) -> str | None:
    try:
        name = (record.key or b"").decode()
    except UnicodeDecodeError:
        return None
    return name if topics.ACCOUNT_NAME.fullmatch(name) else None


def chosen_elements(record: LogRecord) -> set[int] | str | None:
    value = header(record, topics.ELEMENTS_HEADER)
    if value is None:
        return None
    parts = value.split(b",")
    if not all(re.fullmatch(rb"[0-9]{1,9}", part) for part in parts):
        return "unreadable"
    return {int(part) for part in parts}


def json_object(value: bytes | None) -> dict[str, Any] | None:
    try:
        body = decode(value or b"")
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


def whole_number(value: Any, least: int) -> int | None:
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,19}", value):
        value = int(value)
    return value if type(value) is int and least <= value < 2**63 else None


def read_element(record: LogRecord, body: Mapping[str, Any], index: int, element: Any, account: str) -> Note | None:
    if not isinstance(element, dict) or not isinstance(element.get("entity"), dict):
        return None
    kind, action = element["entity"].get("type"), element.get("action")
    entity_id = whole_number(element["entity"].get("id"), 0)
    if not isinstance(kind, str) or not re.fullmatch(r"[a-z][a-z0-9_.-]{0,63}", kind.lower()):
        return None
    if not isinstance(action, str) or action.lower() not in ACTIONS or entity_id is None:
        return None
    numbers = {}
    for name in ("timestamp", "userId"):
        numbers[name] = whole_number(element.get(name), 1 - 2**63)
        if numbers[name] is None and element.get(name) is not None:
            return None
    at = numbers["timestamp"]
    if at is None:
        at = whole_number(body.get("timestamp"), 1 - 2**63)
    if at is None:
        at = record.timestamp // 1000
    given = element.get("changeset")
    shaped = given if isinstance(given, list) else [given] if isinstance(given, dict) else []
    entries = [item for item in shaped if is_entry(item)]
    message_id = body.get("messageId")
    if not isinstance(message_id, str) or not 1 <= len(message_id) <= 200:
        message_id = "sha256:" + hashlib.sha256(record.value or b"").hexdigest()
    return Note(
        key=f"{account}/{kind.lower()}/{entity_id}",
        kind=kind.lower(),
        entity_id=str(entity_id),
        action=next(known for known in ACTIONS if known == action.lower()),
        at=at,
        user=numbers["userId"],
        entries=[(item["field"], item.get("oldValue"), item.get("newValue")) for item in entries],
        complete=len(entries) == len(shaped) > 0,
        record=record,
        index=index,
        message_id=message_id,
    )


def is_entry(item: Any) -> bool:
    if not isinstance(item, dict) or not isinstance(item.get("field"), str):
        return False
    values = (item.get("oldValue"), item.get("newValue"))
    return len(item["field"]) <= 200 and all(fits(value, 100) and len(encode(value)) <= 10_000 for value in values)


def fits(value: Any, levels: int) -> bool:
    """Whether arrays and objects are nested in the value at most that many levels deep."""
    inner = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else None
    return inner is None or (levels > 0 and all(fits(item, levels - 1) for item in inner))


def read_rules(value: bytes | None, times: PipelineTimes) -> Any:
    """The resolved rules, or None where the body is no rules."""
    rules = json_object(value)
    if rules is None or set(rules) != {"default", "types"} or not isinstance(rules["types"], dict):
        return None
    if not all(re.fullmatch(r"[a-z][a-z0-9_.-]{0,63}", name) for name in rules["types"]):
        return None
    each = [rules["default"], *rules["types"].values()]
    return rules if all(is_rule(rule, times) for rule in each) else None


def is_rule(rule: Any, times: PipelineTimes) -> bool:
    if not isinstance(rule, dict) or not set(rule) <= RULE_KEYS or type(rule.get("keep", True)) is not bool:
        return False
    actions, fields, users = rule.get("actions"), rule.get("fields"), rule.get("ignore_users", [])
    if actions is not None and not (isinstance(actions, list) and all(action in ACTIONS for action in actions)):
        return False
    if fields is not None and not (isinstance(fields, list) and all(isinstance(name, str) for name in fields)):
        return False
    if not isinstance(users, list) or not all(type(user) is int and abs(user) < 2**63 for user in users):
        return False
    quiet, ceiling = rule.get("quiet_ms", BUILTIN["quiet_ms"]), rule.get("ceiling_ms", BUILTIN["ceiling_ms"])
    return type(quiet) is type(ceiling) is int and 0 < quiet <= ceiling <= times.max_ceiling_ms
