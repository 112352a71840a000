"""Pure: how `audit` knows a record again: its identity, its place in the raw log, and a fingerprint of its bytes."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from processors.consolidator import Outcome
from schemas.change import change_record
from schemas.deadletter import HEADER_PREFIX, PROCESSORS, is_resolution, read_dead_letter
from schemas.encoding import decode, encode
from schemas.record import LogRecord, header
from schemas.rules import decode_rules_in_force
from schemas.topics import ACCOUNT_NAME, REDRIVE_TO_HEADER, REDRIVES_HEADER, REPLAY_HEADER

What = Literal["change", "dead letter", "rules"]
WHATS: tuple[What, ...] = ("change", "dead letter", "rules")

STAGE = PROCESSORS.encode()
FINGERPRINT_BYTES = 32
_PARTS = (("key", 0, 8), ("value", 8, 24), ("headers", 24, 32))
_ID = re.compile(r"[0-9a-f]{32}")
_SEQUENCE = re.compile(r"([0-9]{4,})-([0-9]{16})-([0-9]{8})")

Headers = Sequence[tuple[str, bytes]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """A record that the log gives."""

    what: What
    identity: bytes
    name: str
    """`account/type/id` of a change, else the account."""
    offset: int
    index: int = 0
    sent_after_ms: int
    """It cannot have been sent before this time."""
    print: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A record that stands in a topic, as far as it says what it is."""

    what: What
    record: LogRecord
    identity: bytes = b""
    """Empty if it does not say."""
    account: str
    subject: str = ""
    id: str = ""
    epoch: int = 0
    partition: int | None = None
    """Of the raw log; a change does not say."""
    offset: int | None = None
    index: int = 0
    redriven: bool = False
    """A person has sent the change again to a sink; `record` is without the headers that say so."""
    replayed: bool = False
    """A replay made the change, under other rules than those in force: the log gives it to nobody else."""
    fault: str = ""
    """What keeps it from being known."""


@dataclass(slots=True)
class PartitionBounds:
    """Which part of one partition of the raw log can be judged."""

    beginning: int
    """Offset of the first record that retention has left."""
    judged_from: int | None
    """Changes that were opened at this offset or beyond are known for certain; None: none of them."""
    first_ms: int | None = None
    """Append time of the first record left."""

    def judges(self, offset: int) -> bool:
        """Whether a change that was opened there can be judged."""
        return self.judged_from is not None and offset >= self.judged_from


def account_of(key: bytes | None) -> str:
    """The account that a record key names, or an empty string."""
    name = (key or b"").decode(errors="replace")
    return name if ACCOUNT_NAME.fullmatch(name) else ""


def fingerprint(key: bytes | None, value: bytes | None, headers: Headers) -> bytes:
    """32 bytes that tell of key, value and headers whether they are the same."""
    # No key and an empty key are different bytes to Kafka, and so they are in a repr.
    return (
        hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
        + hashlib.blake2b(b"" if value is None else b"+" + value, digest_size=16).digest()
        + hashlib.blake2b(repr([tuple(item) for item in headers]).encode(), digest_size=8).digest()
    )


def differing(one: bytes | bytearray, other: bytes | bytearray) -> list[str]:
    """Which of key, value and headers differ between two fingerprints."""
    return [name for name, start, stop in _PARTS if one[start:stop] != other[start:stop]]


def read_sequence(sequence: str) -> tuple[int, int, int] | None:
    """Log epoch, offset and index of the opening notification; None if it is no sequence."""
    found = _SEQUENCE.fullmatch(sequence)
    return None if found is None else (int(found[1]), int(found[2]), int(found[3]))


# -- what the log gives --------------------------------------------------------------------------------------------


def outgoing(outcome: Outcome, *, max_ceiling_ms: int) -> Iterator[Outgoing]:
    """The records that the processors make of an outcome, in the order in which they are sent."""
    for change in outcome.changes:
        _, offset, index = read_sequence(change.sequence) or (0, 0, 0)
        yield Outgoing(
            what="change",
            identity=bytes.fromhex(change.id),
            name=change.key,
            offset=offset,
            index=index,
            # New rules close a window before it is due, by a ceiling at most.
            sent_after_ms=change.due_ms - max_ceiling_ms,
            print=fingerprint(*change_record(change)),
        )
    for record, letter in outcome.dead_letters:
        yield Outgoing(
            what="dead letter",
            identity=_at("dead letter", letter.topic, letter.partition, letter.offset),
            name=account_of(record.key),
            offset=record.offset,
            sent_after_ms=record.timestamp,
            print=fingerprint(record.key, record.value or b"", [*record.headers, *letter.headers()]),
        )
    for entry in outcome.rules:
        yield Outgoing(
            what="rules",
            identity=_at("rules", entry.topic, entry.partition, entry.offset),
            name=entry.account,
            offset=entry.offset,
            sent_after_ms=0,
            print=fingerprint(entry.account.encode(), encode(entry), ()),
        )


def _at(what: What, topic: object, partition: object, offset: object) -> bytes:
    return f"{what}/{topic}/{partition}/{offset}".encode()


# -- what is there -------------------------------------------------------------------------------------------------


def read_found(what: What, record: LogRecord) -> Found | None:
    """What a record says it is; None for what stands among the dead letters and is none of the processors'."""
    if what == "change":
        return _change(record)
    return _dead_letter(record) if what == "dead letter" else _rules(record)


def _change(record: LogRecord) -> Found:
    name = (record.key or b"").decode(errors="replace")
    account, _, subject = name.partition("/")
    change_id, sequence = _text(header(record, "ce_id")), _text(header(record, "ce_sequence"))
    if not _ID.fullmatch(change_id) or read_sequence(sequence) is None:
        change_id, sequence = _told_by_value(record, change_id, sequence)
    known = _ID.fullmatch(change_id)
    epoch, offset, index = read_sequence(sequence) or (0, None, 0)
    redriven = header(record, REDRIVE_TO_HEADER) is not None
    return Found(
        what="change",
        record=_as_first_sent(record) if redriven else record,
        identity=bytes.fromhex(change_id) if known else b"",
        account=account,
        subject=subject,
        id=change_id,
        epoch=epoch,
        offset=offset,
        index=index,
        redriven=redriven,
        replayed=header(record, REPLAY_HEADER) is not None,
        fault="" if known else "it has no id",
    )


def _as_first_sent(record: LogRecord) -> LogRecord:
    kept = tuple(item for item in record.headers if item[0] not in (REDRIVE_TO_HEADER, REDRIVES_HEADER))
    return replace(record, headers=kept)


def _text(value: bytes | None) -> str:
    return (value or b"").decode(errors="replace")


def _told_by_value(record: LogRecord, change_id: str, sequence: str) -> tuple[str, str]:
    """Id and sequence from the body, where the headers lack them."""
    try:
        body = decode(record.value or b"")
    except ValueError:
        return change_id, sequence
    if not isinstance(body, dict):
        return change_id, sequence
    return (
        change_id if _ID.fullmatch(change_id) else str(body.get("id", "")),
        sequence if read_sequence(sequence) else str(body.get("sequence", "")),
    )


def _dead_letter(record: LogRecord) -> Found | None:
    # The processors' own headers come last: a redriven record may carry those of an earlier letter.
    if is_resolution(record) or dict(record.headers).get(f"{HEADER_PREFIX}stage") != STAGE:
        return None
    account = account_of(record.key)
    try:
        letter = read_dead_letter(record.headers)
    except ValueError as error:
        return Found(what="dead letter", record=record, account=account, fault=str(error))
    return Found(
        what="dead letter",
        record=record,
        identity=_at("dead letter", letter.topic, letter.partition, letter.offset),
        account=account,
        partition=letter.partition,
        offset=letter.offset,
    )


def _rules(record: LogRecord) -> Found:
    account = account_of(record.key)
    try:
        entry = decode_rules_in_force(record.value or b"")
    except ValueError as error:
        return Found(what="rules", record=record, account=account, fault=str(error))
    placed = type(entry.partition) is int and type(entry.offset) is int
    return Found(
        what="rules",
        record=record,
        identity=_at("rules", entry.topic, entry.partition, entry.offset),
        account=account,
        partition=entry.partition if placed else None,
        offset=entry.offset if placed else None,
    )
