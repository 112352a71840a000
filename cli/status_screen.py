"""Draws the state of the pipeline: stages, what waits, what is put aside, sessions, processes, what wants a person."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from schemas.moments import shown_ago, shown_second, shown_span
from schemas.printable import printable
from views.status_attention import attention, behind_ms, is_left_alone
from views.status_data import (
    INGEST,
    OPEN_WINDOWS,
    PROCESSORS,
    SPOOL_OLDEST_SECONDS,
    SPOOL_WEBHOOKS,
    Flow,
    OpenLetters,
    Overview,
    Process,
    Session,
    Stage,
    Stored,
    Unread,
)

MOST = 8
"""So many lines of one kind: it has to fit on a screen."""

_MARK = "bold red"
_STATES = {"live": "green", "suspect": "yellow", "paused": "yellow", "refused": _MARK, "unreadable": _MARK}


def drawn(overview: Overview) -> RenderableType:
    """The overview for people, for a terminal of 80 columns or more."""
    wanted = attention(overview)
    parts = Table.grid(padding=(0, 2), expand=False)
    parts.add_column(no_wrap=True, style="bold")
    parts.add_column()
    for name, lines in (
        ("waiting", list(_waiting(overview))),
        ("put aside", list(_put_aside(overview))),
        ("dead letters", list(_letters(overview.letters))),
        ("sessions", list(_sessions(overview))),
        ("processes", [_process(one) for one in overview.processes]),
    ):
        for number, line in enumerate(_few(lines)):
            parts.add_row("" if number else name, line)
    marked = [Text(f"! {printable(sentence)}", _MARK) for sentence in _few_sentences(wanted)]
    return Group(_head(overview, len(wanted)), Text(), _stages(overview), Text(), parts, Text(), *marked)


def _head(overview: Overview, wanted: int) -> Text:
    count = f"{wanted} things want a person" if wanted > 1 else "one thing wants a person"
    verdict = (count, _MARK) if wanted else ("nothing wants a person", "green")
    return Text.assemble(("tradewind", "bold"), f"  {shown_second(overview.now_ms)} UTC  ", verdict)


def _stages(overview: Overview) -> RenderableType:
    flow = overview.flow
    if isinstance(flow, Unread):
        return Text.assemble(("stages        ", "bold"), _unread(flow))
    table = Table("stage", "reads", box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("lag", "behind", "workers"):
        table.add_column(name, justify="right")
    table.add_column("")
    halted = {one.sink for one in overview.stored.halted} if isinstance(overview.stored, Stored) else set()
    for stage in flow.stages:
        waits = stage.lag_records > 0
        table.add_row(
            Text(stage.name, "bold"),
            stage.topic,
            f"{stage.lag_records:,}",
            shown_span(behind_ms(stage, overview.now_ms)) if waits else "-",
            str(stage.members),
            _remark(stage, halted=stage.name in halted),
        )
    return table


def _remark(stage: Stage, *, halted: bool) -> Text:
    if halted:
        return Text("! halted", _MARK)
    if is_left_alone(stage):
        return Text("! nobody works", _MARK)
    if stage.cut_off:
        return Text("! log cut off", _MARK)
    if stage.lost_records:
        return Text(f"! {stage.lost_records:,} lost", _MARK)
    return Text() if stage.members else Text("never ran", "dim")


def _waiting(overview: Overview) -> Iterator[Text]:
    flow, processors, ingest = overview.flow, overview.of_kind(PROCESSORS), overview.of_kind(INGEST)
    windows = sum(one.metrics.get(OPEN_WINDOWS, 0) for one in processors)
    members = next((one.members for one in flow.stages if one.name == "processors"), 0) if isinstance(flow, Flow) else 0
    if processors:
        of = f" in {len(processors)} of {members} workers; --ops names the others" if members > len(processors) else ""
        yield Text(f"{windows:,.0f} windows are open{of}")
    else:
        yield Text("open windows: no process of the processors answers; --ops HOST:PORT says where", "dim")
    if ingest:
        spooled = sum(one.metrics.get(SPOOL_WEBHOOKS, 0) for one in ingest)
        oldest = max(one.metrics.get(SPOOL_OLDEST_SECONDS, 0) for one in ingest)
        said = f"{spooled:,.0f} webhooks are in ingest's spool"
        since = f", the oldest for {shown_span(round(oldest * 1000))}" if spooled else ""
        yield Text(said + since, "yellow" if spooled else "")
    else:
        yield Text("spool: no process of ingest answers; --ops HOST:PORT says where", "dim")
    if isinstance(flow, Flow) and flow.last_append_ms is not None:
        yield Text(f"the last record on the raw log is {shown_ago(flow.last_append_ms, overview.now_ms)}")


def _put_aside(overview: Overview) -> Iterator[Text]:
    if isinstance(overview.stored, Unread):
        yield _unread(overview.stored)
        return
    if not overview.stored.parked:
        yield Text("nothing", "dim")
    for one in overview.stored.parked:
        alone = f"{one.entity_records:,} of single entities ({one.entities:,})" if one.entities else ""
        whole = f"{one.whole_account:,} of the whole account" if one.whole_account else ""
        what = " and ".join(part for part in (whole, alone) if part)
        said = f"{one.sink}  {one.account}: {what}, the first {shown_ago(one.since_ms, overview.now_ms)}"
        yield Text(printable(said), _MARK if one.whole_account else "yellow")


def _letters(letters: OpenLetters | Unread) -> Iterator[Text]:
    if isinstance(letters, Unread):
        yield _unread(letters)
        return
    if letters.unread_records:
        yield Text(f"at least, for {letters.unread_records:,} records of the topic are not read yet", "yellow")
    if not letters.counts and not letters.unread_records:
        yield Text("none is open", "dim")
    for stage, accounts in letters.counts.items():
        yield Text.assemble((f"{printable(stage)}  ", _MARK), printable(_accounts(accounts)))


def _accounts(counts: Mapping[str, int]) -> str:
    most = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    said = ", ".join(f"{account or '(no account)'} {count:,}" for account, count in most[:MOST])
    return said + (f" and {len(most) - MOST} more accounts" if len(most) > MOST else "")


def _sessions(overview: Overview) -> Iterator[Text]:
    if isinstance(overview.stored, Unread):
        yield _unread(overview.stored)
        return
    sessions = overview.stored.sessions
    if not sessions:
        yield Text("nobody has logged in yet", "dim")
    shown = sessions if len(sessions) <= MOST else [one for one in sessions if one.state not in ("live", "none")]
    if len(shown) < len(sessions):
        states = Counter(one.state for one in sessions)
        yield Text(", ".join(f"{count} {state}" for state, count in states.most_common()))
    for one in shown:
        yield _session(one, overview.now_ms)


def _session(session: Session, now_ms: int) -> Text:
    made = f", made {shown_ago(session.made_ms, now_ms)}" if session.made_ms else ""
    state = (session.state, _STATES.get(session.state, "dim"))
    refused = (", credentials refused", _MARK) if session.refused and session.state != "refused" else ""
    return Text.assemble(f"{printable(session.account)}  ", state, f"  generation {session.generation}{made}", refused)


def _process(process: Process) -> Text:
    name = f"{process.name}  " if process.name else ""
    if process.silent:
        return Text(printable(f"{name}{process.address}  does not answer: {process.silent}"), "dim")
    unmet = [condition for condition, holds in process.conditions.items() if not holds]
    state = (printable(f"not ready: {', '.join(unmet)}"), "yellow") if unmet else ("ready", "green")
    return Text.assemble(printable(f"{name}{process.address}  "), state)


def _unread(part: Unread) -> Text:
    return Text(f"! cannot be read: {printable(part.unread)}", _MARK)


def _few(lines: Sequence[Text]) -> list[Text]:
    more = [Text(f"and {len(lines) - MOST} more", "dim")] if len(lines) > MOST else []
    return [*lines[:MOST], *more]


def _few_sentences(sentences: Sequence[str]) -> list[str]:
    more = [f"and {len(sentences) - MOST} more"] if len(sentences) > MOST else []
    return [*sentences[:MOST], *more]
