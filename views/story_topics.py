"""Pure: tells what stands in the topics that are made of the raw log: changes, deliveries, dead letters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from schemas.change import decode_change
from schemas.deadletter import PROCESSORS, DeadLetter, is_resolution, read_dead_letter, read_resolution
from schemas.delivery import Delivery
from schemas.encoding import decode
from schemas.moments import shown_span
from schemas.record import LogRecord, header
from schemas.topics import REDRIVE_TO_ALL, REDRIVE_TO_HEADER, REPLAY_HEADER
from sinks.letters import entities_of
from views.story_entity import Entity
from views.story_event import SHORT_ID, Event, Kind, Tone, many
from views.story_told import fields_in_words

ALL = REDRIVE_TO_ALL.decode()


class ChangesTold:
    """Reads servicetrade.changes; knows which changes it has seen."""

    def __init__(self, entity: Entity) -> None:
        self.seen: dict[str, int] = {}
        """When each change was written first, Unix milliseconds; in the order of the topic."""
        self._only_for: dict[str, set[str]] = {}
        """Changes of which only copies for some sinks were seen."""
        self._key = entity.key.encode()

    def feed(self, records: Iterable[LogRecord]) -> list[Event]:
        """What records in offset order tell of the entity."""
        return [self._told(record) for record in records if record.key == self._key]

    def is_for(self, change_id: str, sink: str) -> bool:
        """Whether the change was meant for the sink."""
        return sink in self._only_for.get(change_id, {sink})

    def _told(self, record: LogRecord) -> Event:
        try:
            change = decode_change(record.value or b"")
        except ValueError as error:
            return _strange(record, "change", str(error))
        changed = fields_in_words([(field.name, field.old_value, field.new_value) for field in change.changeset])
        text = f"{change.id[:SHORT_ID]} {change.action}" + (f": {changed}" if changed else "")
        if change.action == "updated" and not change.changeset_complete:
            text += "; other fields may have changed too"
        to, replay = text_of(header(record, REDRIVE_TO_HEADER)), text_of(header(record, REPLAY_HEADER))
        again = change.id in self.seen
        if to:
            text += f"; redriven to {'every sink' if to == ALL else to}"
        elif replay:
            text += f"; by replay {replay} with other rules"
        elif again:
            text += "; again, with the same id"
        if to and to != ALL and (not again or change.id in self._only_for):
            self._only_for.setdefault(change.id, set()).add(to)
        else:
            self._only_for.pop(change.id, None)
        self.seen.setdefault(change.id, record.timestamp)
        facts = {
            **place_of(record),
            "change_id": change.id,
            "sequence": change.sequence,
            "action": change.action,
            "redriven_to": to or None,
            "replay": replay or None,
            "again": again,
        }
        return Event(at_ms=record.timestamp, kind="change", text=text, tone="quiet" if again else "plain", facts=facts)


class DeliveriesTold:
    """Reads servicetrade.deliveries; knows which sink has told of which changes."""

    def __init__(self, entity: Entity) -> None:
        self.told: dict[str, set[str]] = {}
        """By sink, the ids of changes."""
        self._key = entity.key.encode()

    def feed(self, records: Iterable[LogRecord]) -> list[Event]:
        """What records in offset order tell of the entity."""
        return [self._told(record) for record in records if record.key == self._key]

    def _told(self, record: LogRecord) -> Event:
        try:
            delivery = Delivery(**decode(record.value or b""))
            kinds = {"change_id": str, "sink": str, "outcome": str, "attempts": int, "latency_ms": int}
            if wrong := [name for name, kind in kinds.items() if type(getattr(delivery, name)) is not kind]:
                raise ValueError(f"{wrong[0]} is something else")  # noqa: TRY301
        except (ValueError, TypeError) as error:
            return _strange(record, "delivery", str(error))
        self.told.setdefault(str(delivery.sink), set()).add(delivery.change_id)
        reason = f": {delivery.reason}" if delivery.reason else ""
        text = f"{delivery.sink} {delivery.outcome} {delivery.change_id[:SHORT_ID]}{reason}"
        if delivery.attempts > 1:
            text += f"; {many(delivery.attempts, 'attempt')}"
        text += f"; {shown_span(delivery.latency_ms)} after the change"
        tones: dict[str, Tone] = {"delivered": "good", "skipped": "quiet", "dead-lettered": "bad"}
        return Event(
            at_ms=record.timestamp,
            kind="delivery",
            text=text,
            tone=tones.get(delivery.outcome, "plain"),
            facts={
                **place_of(record),
                "change_id": delivery.change_id,
                "sink": delivery.sink,
                "outcome": delivery.outcome,
                "reason": delivery.reason,
                "attempts": delivery.attempts,
                "latency_ms": delivery.latency_ms,
            },
        )


class LettersTold:
    """Reads the partitions of servicetrade.deadletters that may hold the entity's; knows which are open."""

    def __init__(self, entity: Entity) -> None:
        self.open: dict[str, DeadLetter] = {}
        """By place, `PARTITION:OFFSET`."""
        self._entity = entity
        self._keys = (entity.account.encode(), entity.key.encode())

    def feed(self, records: Iterable[LogRecord]) -> list[Event]:
        """What records in offset order tell of the entity."""
        return list(self._all(record for record in records if record.key in self._keys))

    def _all(self, records: Iterable[LogRecord]) -> Iterator[Event]:
        for record in records:
            try:
                if is_resolution(record):
                    resolution = read_resolution(record)
                    place = f"{record.partition}:{resolution.offset}"
                    if self.open.pop(place, None) is not None:
                        why = f": {resolution.reason}" if resolution.reason else ""
                        facts = {**place_of(record), "letter": place, "what": resolution.what}
                        text = f"dead letter {place} {resolution.what}{why}"
                        yield Event(at_ms=record.timestamp, kind="resolution", text=text, facts=facts)
                    continue
                letter = read_dead_letter(record.headers)
            except ValueError:
                continue  # nothing of ours
            if self._is_about(letter, record):
                yield self._letter(letter, record)

    def _is_about(self, letter: DeadLetter, record: LogRecord) -> bool:
        if record.key == self._keys[1]:
            return True
        if any(self._is_named(*one) for one in entities_of(letter, record)):
            return True
        # What could not be read as a whole names nobody.
        return letter.stage == PROCESSORS and not letter.elements and self._entity.is_mentioned_in(record.value)

    def _is_named(self, entity_type: str, entity_id: str) -> bool:
        return self._entity.is_named(entity_type, entity_id)

    def _letter(self, letter: DeadLetter, record: LogRecord) -> Event:
        place = f"{record.partition}:{record.offset}"
        self.open[place] = letter
        tried = f" after {many(letter.attempts, 'attempt')}" if letter.attempts > 1 else ""
        again = f"; it had been redriven {many(letter.redrives, 'time')}" if letter.redrives else ""
        return Event(
            at_ms=record.timestamp,
            kind="dead letter",
            text=f"{place} given up by {letter.stage}{tried}: {letter.message} ({letter.error}){again}",
            tone="bad",
            facts={
                **place_of(record),
                "letter": place,
                "stage": letter.stage,
                "error": letter.error,
                "message": letter.message,
                "attempts": letter.attempts,
                "redrives": letter.redrives,
                "original": {"topic": letter.topic, "partition": letter.partition, "offset": letter.offset},
            },
        )


def _strange(record: LogRecord, kind: Kind, why: str) -> Event:
    text = f"a record that cannot be read: {why}"
    return Event(at_ms=record.timestamp, kind=kind, text=text, tone="bad", facts=place_of(record))


def text_of(value: bytes | None) -> str:
    """A header's value; an empty text if there is none."""
    return (value or b"").decode(errors="replace")


def place_of(record: LogRecord) -> dict[str, Any]:
    """Where a record stands, for programs."""
    return {"topic": record.topic, "partition": record.partition, "offset": record.offset}
