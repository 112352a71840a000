"""Shows a story to people: a line for each event, its time beside the last; what was read, and what stands out."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from schemas.moments import shown_second, shown_span, utc_time
from schemas.printable import printable
from views.story_event import SHORT_ID, Event, Judged, Story, Tone, many

GROUP_MS = 60_000
"""After a longer silence the next event begins a group, with its full time."""
TIME, KIND = 13, 11
"""Columns of the time and of the kind, each with the blank after it counted."""
_NARROWEST = 40


@dataclass(frozen=True, slots=True)
class Line:
    """One line on the screen: when, what kind, what; the parts that a screen may colour."""

    when: str
    kind: str
    text: str
    tone: Tone = "plain"


class Lines:
    """Lays events out, one after the other; remembers the time of the last one."""

    def __init__(self, width: int | None) -> None:
        self._width = None if width is None else max(width - TIME - KIND - 2, _NARROWEST)
        self._last_ms: int | None = None
        self._day = ""

    def of(self, events: Sequence[Event]) -> Iterator[Line]:
        """The lines of further events."""
        for event in events:
            yield from self._before(event.at_ms)
            when = self._when(event.at_ms)
            self._last_ms = event.at_ms
            for number, part in enumerate(self._wrapped(printable(event.text))):
                first = number == 0
                yield Line(when if first else "", event.kind if first else "", part, event.tone)

    def _before(self, at_ms: int) -> Iterator[Line]:
        """The day, where another one begins, and an empty line before a group."""
        day = f"{utc_time(at_ms):%Y-%m-%d}"
        if day != self._day:
            self._day = day
            yield Line("", "", "")
            yield Line(day, "", "")
            self._last_ms = None
        elif self._last_ms is not None and at_ms - self._last_ms > GROUP_MS:
            yield Line("", "", f"… {shown_span(at_ms - self._last_ms)} of silence", "quiet")

    def _when(self, at_ms: int) -> str:
        if self._last_ms is None or abs(at_ms - self._last_ms) > GROUP_MS:
            return clock_time(at_ms)
        sign = "-" if at_ms < self._last_ms else "+"
        return sign + shown_span(at_ms - self._last_ms)

    def _wrapped(self, text: str) -> list[str]:
        if self._width is None:
            return [text]
        return textwrap.wrap(text, self._width, break_long_words=True, break_on_hyphens=False) or [""]


def clock_time(at_ms: int) -> str:
    """Time of day, UTC, with milliseconds."""
    return f"{utc_time(at_ms):%H:%M:%S}.{at_ms % 1000:03d}"


def heading(story: Story, seconds: float) -> str:
    """Whose story it is, and what was read for it."""
    read = story.range
    records = many(read.records, "record")
    if read.from_ms is None or read.to_ms is None:
        return f"{story.entity.subject} of {story.entity.account}: {read.topic}[{read.partition}] is empty"
    return (
        f"{story.entity.subject} of {story.entity.account}: read from {shown_second(read.from_ms)} "
        f"to {shown_second(read.to_ms)} UTC, {records} in {seconds:.1f} s"
    )


def summary(story: Story) -> Iterator[tuple[str, Tone]]:
    """What it amounts to, and what a person should look at."""
    webhooks = verdicts_of(story.events)
    windows = [event for event in story.events if event.kind == "window"]
    kept = webhooks["opened"] + webhooks["joined"]
    parts = [f"{kept} kept"] if kept else []
    words = (("filtered", "filtered"), ("repeat", "repeated"), ("quarantined", "could not be read"))
    parts += [f"{webhooks[verdict]} {word}" for verdict, word in words if webhooks[verdict]]
    total = many(webhooks.total(), "notification")
    yield f"{total}" + (f": {', '.join(parts)}" if parts else "") + f"; {many(len(windows), 'change')}", "plain"
    outcomes = Counter(
        (event.facts["sink"], event.facts["outcome"])
        for event in story.events
        if event.kind == "delivery" and "sink" in event.facts
    )
    for sink in sorted({sink for sink, _ in outcomes}):
        told = [f"{number} {outcome}" for (name, outcome), number in sorted(outcomes.items()) if name == sink]
        yield f"{sink}: {', '.join(told)}", "plain"
    yield from _remarks(story)


def _remarks(story: Story) -> Iterator[tuple[str, Tone]]:
    if story.window_open:
        yield "a window is open where reading ended: its change comes when it closes", "plain"
    yield from _verdicts(story.judged)
    for letter in story.open_letters:
        yield f"dead letter {letter} is open: `tradewind deadletters show {letter}`, then redrive or drop it", "bad"
    if story.foreign_rules:
        yield f"{many(story.foreign_rules, 'record')} on tradewind.rules passed over: no rules are in it", "bad"
    if story.range.removed:
        sentence = f"retention has removed the {many(story.range.removed, 'record')} before"
        yield f"{sentence}: what is told of the first minutes may lack what depends on them", "quiet"


def verdicts_of(events: Sequence[Event]) -> Counter[str]:
    """How many notifications became what."""
    counted: Counter[str] = Counter()
    for event in events:
        if event.kind == "webhook":
            counted.update(event.facts.get("verdicts") or {event.facts["verdict"]: 1})
    return counted


def _verdicts(judged: Judged) -> Iterator[tuple[str, Tone]]:
    missing, waiting = judged.missing, judged.waiting
    if missing and judged.missing_by_ms is None:
        sentence = f"{_named(missing)} {_are(missing)} not on servicetrade.changes: the processors have not got there"
        yield f"{sentence}, or `tradewind audit` says what is wrong", "bad"
    elif missing:
        yield f"{_named(missing)} had not come to servicetrade.changes{_by(judged.missing_by_ms)}", "plain"
    for sink, told, ids in (
        ("no sink", "told", waiting),
        *((one, "not told", ids) for one, ids in judged.untold.items()),
    ):
        if ids and judged.told_by_ms is None:
            yield f"{sink} has {told} what became of {_named(ids)}: see `tradewind status`", "bad"
        elif ids:
            yield f"{sink} had {told} what became of {_named(ids)}{_by(judged.told_by_ms)}", "plain"
    if judged.windows_unjudged:
        windows = many(judged.windows_unjudged, "window")
        yield (
            f"whether {windows} became changes is not judged: retention has removed servicetrade.changes of then",
            "quiet",
        )
    if judged.changes_unjudged:
        changes = many(judged.changes_unjudged, "change")
        sentence = f"what became of {changes} is not known: retention has removed servicetrade.deliveries of then"
        yield sentence, "quiet"


def _by(at_ms: int | None) -> str:
    return "" if at_ms is None else f" by {shown_second(at_ms)} UTC; what came later was not read"


def absence(story: Story) -> Iterator[str]:
    """Sentences for an entity without a trace."""
    entity = story.entity
    within = "in that time" if story.range.removed == 0 else "in what retention has left"
    if story.account_seen:
        yield f"there is no trace of {entity.subject} of {entity.account} {within}"
    else:
        yield f"there is no trace of {entity.subject}, nor of anything else of the account {entity.account}, {within}"
    if story.near:
        shown = ", ".join(printable(key) for key in story.near[:5])
        yield f"there is something of {shown}" + (f", and {len(story.near) - 5} more" if len(story.near) > 5 else "")  # noqa: PLR2004


def _named(ids: Sequence[str]) -> str:
    shown = ", ".join(one[:SHORT_ID] for one in ids[:3])
    return f"change {shown}" if len(ids) == 1 else f"changes {shown}" + (" …" if len(ids) > 3 else "")  # noqa: PLR2004


def _are(ids: Sequence[str]) -> str:
    return "is" if len(ids) == 1 else "are"
