"""The sections of `make bench`: each measures something, and draws a table of what it found."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench import (
    contenders,
    firing,
    hostile,
    ingest,
    ingest_contenders,
    memory,
    replay,
    restore,
    sinks,
    sinks_tables,
    throughput,
)
from bench.results_file import Table

Report = Callable[[str], None]
Rows = Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line asks for."""

    notifications: int
    runs: int
    seconds: int
    """That each receiver is measured."""
    only: tuple[str, ...]
    """Names of contenders; all if there are none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One of the things that are measured."""

    name: str
    """Its key in the results, and its name on the command line."""
    title: str
    heads: Sequence[str]
    measure: Callable[[Report, Options], dict[str, Any]]
    """Figures for JSON."""
    rows: Callable[[Mapping[str, Any]], Rows]
    about: Callable[[Mapping[str, Any]], str] = lambda _: ""
    """A line over the table."""
    is_default: bool = True
    contenders: tuple[str, ...] = ()
    """Their names, where there are several."""
    more: Callable[[Mapping[str, Any]], Sequence[Table]] = lambda _: ()
    """What is drawn under the table."""

    def tables(self, figures: Mapping[str, Any], about: str = "") -> list[Table]:
        """Everything that is drawn."""
        return [(self.title, about, self.heads, self.rows(figures)), *self.more(figures)]


def _versions(figures: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {number}" for name, number in figures["versions"].items())


def _about_throughput(figures: Mapping[str, Any]) -> str:
    many, runs = figures["notifications"], figures["runs"]
    return f"{many:,} notifications, median of {runs} alternating runs. {_versions(figures)}."


def _about_million(figures: Mapping[str, Any]) -> str:
    return (
        f"{figures['notifications']:,} notifications, one run each; that of Kafka Streams is the second pass over the "
        "topic in the same JVM, so its code is compiled."
    )


def _about_ingest(figures: Mapping[str, Any]) -> str:
    runs, seconds = figures["runs"], figures["seconds"]
    return f"64 connections, median of {runs} alternating runs of {seconds} s. {_versions(figures)}."


def _against_targets(
    name: str,
    title: str,
    measure: Callable[[Report], dict[str, Any]],
    rows: Callable[[Mapping[str, Any]], Rows],
) -> Section:
    heads = ("figure", "target", "measured")
    return Section(name=name, title=title, heads=heads, measure=lambda report, _: measure(report), rows=rows)


SECTIONS: tuple[Section, ...] = (
    Section(
        name="throughput",
        title="Throughput",
        heads=throughput.HEADS,
        measure=lambda report, options: throughput.measure(
            report, notifications=options.notifications, runs=options.runs, only=options.only
        ),
        rows=throughput.rows,
        about=_about_throughput,
        contenders=tuple(one.name for one in contenders.CONTENDERS),
    ),
    Section(
        name="million",
        title="Throughput, warmed up",
        heads=throughput.HEADS,
        measure=lambda report, _: throughput.measure_million(report),
        rows=throughput.rows,
        about=_about_million,
        is_default=False,
    ),
    Section(
        name="ingest",
        title="Ingest",
        heads=ingest.HEADS,
        measure=lambda report, options: ingest.measure(
            report, runs=options.runs, seconds=options.seconds, only=options.only
        ),
        rows=ingest.rows,
        about=_about_ingest,
        contenders=tuple(one.name for one in ingest_contenders.CONTENDERS),
        more=lambda figures: [
            ("Ingest: targets", "Ratios are medians over the rounds.", ingest.TARGET_HEADS, ingest.target_rows(figures))
        ],
    ),
    Section(
        name="sinks",
        title=sinks_tables.TITLE,
        heads=sinks_tables.HEADS,
        measure=lambda report, options: sinks.measure(report, sinks.Size(rounds=options.runs)),
        rows=sinks_tables.rows,
        about=sinks_tables.about,
        more=sinks_tables.more,
    ),
    _against_targets("memory", "Memory of the state", memory.measure, memory.rows),
    _against_targets("firing", "Firing error", firing.measure, firing.rows),
    _against_targets("restore", "Back after SIGKILL", restore.measure, restore.rows),
    _against_targets("replay", "Replay and story", replay.measure, replay.rows),
    _against_targets("hostile", "Bad input", hostile.measure, hostile.rows),
)
