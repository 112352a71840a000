"""Pure: the tables of the sinks section, from its figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from bench.results_file import Table

TITLE = "Mirror"
HEADS = (
    "contender",
    "changes/s",
    "min to max",
    "it : plain loop",
    "round by round",
    "CPU s per 1,000: it",
    "simulator",
    "Kafka",
    "database server",
    "GETs per change",
    "rows right",
)
FIGURE_HEADS = ("figure", "target", "measured")
LATENCY_HEADS = ("from a webhook to its row", "p50 ms", "p99 ms", "max ms")
PLAIN, PLAIN_TITLE = "plain", "plain httpx loop"
ANSWERED = "answered"
"""What the plain loop calls a read that did not fail."""
READS_TARGET = 1.1
FAILED = "failed"
_PARTS = (
    ("whole_ms", "**all of it, without the quiet period**"),
    ("append_ms", "webhook due to appended: the load's delay, HTTP, acknowledgement"),
    ("firing_ms", "window due to change appended"),
    ("row_ms", "change appended to row and its record: queue, GET, commit, append"),
)


def about(figures: Mapping[str, Any]) -> str:
    """The line over the first table."""
    versions = ", ".join(f"{name} {number}" for name, number in figures["versions"].items())
    rounds = max((len(one["runs"]) for one in figures["contenders"]), default=0)
    return (
        f"{figures['changes']:,} changes of {figures['entities']:,} entities ({figures['entity_bytes']:,} bytes each) "
        f"of {figures['accounts']} accounts wait; {figures['concurrency']} reads at a time, "
        f"{figures['account_concurrency']} of an account; "
        f"{f'median of {rounds} alternating rounds' if rounds > 1 else 'one round'}. {versions}."
    )


def rows(figures: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The table of HEADS, the contenders in the order in which they ran."""
    others = {one["name"]: one["runs"] for one in figures["contenders"]}
    table: list[tuple[str, ...]] = []
    for one in figures["contenders"]:
        runs = one["runs"]
        if not runs:
            table.append((one["title"], FAILED, *[""] * (len(HEADS) - 2)))
            continue
        ratios = _ratios(runs, others.get(PLAIN, []))
        rates = [run["rate"] for run in runs]
        table.append(
            (
                one["title"],
                f"{median(rates):,.0f}",
                f"{min(rates):,.0f} to {max(rates):,.0f}" if len(rates) > 1 else "one run",
                f"{median(ratios):.2f}" if ratios else "",
                ", ".join(f"{ratio:.2f}" for ratio in ratios),
                *(_cpu(runs, name) for name in ("contender", "simulator", "Kafka", "store")),
                f"{_middle(runs, 'reads') / figures['changes']:.2f}",
                _rows_right(runs),
            )
        )
    return table


def _ratios(runs: Sequence[Mapping[str, Any]], plain: Sequence[Mapping[str, Any]]) -> list[float]:
    """Of runs of the same round; without those of a contender that has failed there are none."""
    return [run["rate"] / other["rate"] for run, other in zip(runs, plain, strict=False)]


def _middle(runs: Sequence[Mapping[str, Any]], name: str) -> float:
    return float(median(run[name] for run in runs))


def _cpu(runs: Sequence[Mapping[str, Any]], name: str) -> str:
    found = [run["cpu_s_per_1000"][name] for run in runs if name in run["cpu_s_per_1000"]]
    return f"{median(found):.2f}" if found else "-"


def _rows_right(runs: Sequence[Mapping[str, Any]]) -> str:
    judged = [run for run in runs if run["rows_right"] is not None]
    if not judged:
        failed = sum(count for run in runs for outcome, count in run["outcomes"].items() if outcome != ANSWERED)
        return f"- ({failed:,} GETs failed)" if failed else "-"
    wrong = sum(run["rows_wanted"] - run["rows_right"] for run in judged)
    return f"WRONG {wrong:,}" if wrong else f"all of {judged[0]['rows_wanted']:,}"


def figure_rows(figures: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The table of FIGURE_HEADS: what bounds the plain loop, and the queue that is coalesced."""
    table: list[tuple[str, ...]] = []
    plain: Sequence[Mapping[str, Any]] = next(
        (one["runs"] for one in figures["contenders"] if one["name"] == PLAIN), ()
    )
    if plain:
        busy = {name: median(_share(run, name) for run in plain) for name in ("contender", "simulator", "Kafka")}
        ceiling = median(1000 / max(run["cpu_s_per_1000"]["simulator"], 1e-6) for run in plain)
        shares = f"plain loop {busy['contender']:.0%}, simulator {busy['simulator']:.0%}, Kafka {busy['Kafka']:.0%}"
        table.append(("busy under the plain loop, of one core each", "-", shares))
        table.append(("most that the simulator could answer, with a core of its own", "-", f"{ceiling:,.0f} GETs/s"))
    told = "coalesced: changes of the same entities wait, SQLite"
    if "coalesced" not in figures:
        return [*table, (told, f"<= {READS_TARGET:g} GETs per entity", FAILED)]
    one = figures["coalesced"]
    measured = (
        f"{one['changes']:,} changes of {one['entities']:,} entities: {one['seconds']:.1f} s, "
        f"{one['reads'] / one['entities']:.2f} GETs per entity, rows right: {_rows_right([one])}"
    )
    return [*table, (told, f"<= {READS_TARGET:g} GETs per entity", measured)]


def _share(run: Mapping[str, Any], name: str) -> float:
    """How busy a process was, of one core."""
    return float(run["cpu_s_per_1000"][name] * run["rate"] / 1000)


def latency_rows(figures: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The table of LATENCY_HEADS."""
    if "latency" not in figures:
        return [(FAILED, "", "", "")]
    found = figures["latency"]
    return [(title, *(f"{found[name][which]:,.0f}" for which in ("p50", "p99", "max"))) for name, title in _PARTS]


def _about_latency(figures: Mapping[str, Any]) -> str:
    if "latency" not in figures:
        return ""
    found = figures["latency"]
    sender, statuses = found["sender"], found["sender"]["statuses"]
    refused = sum(count for status, count in statuses.items() if not status.startswith("2"))
    outcomes = ", ".join(f"{count:,} {outcome}" for outcome, count in sorted(found["outcomes"].items()))
    return (
        f"{found['rate']:.0f} webhooks/s, each at its time, for {found['seconds']:.0f} s and some that do not count; "
        f"SQLite. {found['webhooks']:,} webhooks ({refused:,} not answered 2xx; {found['in_changes']:,} came out) in "
        f"{found['changes']:,} changes ({outcomes}), {found['judged']:,} of them judged. The load was at most "
        f"{sender['latest_ms']:,.0f} ms behind; answers came {sender['answer_p50_ms']:,.1f} ms (p50) and "
        f"{sender['answer_p99_ms']:,.1f} ms (p99) after a webhook was due."
    )


def more(figures: Mapping[str, Any]) -> list[Table]:
    """What is drawn under the first table."""
    return [
        ("Mirror: what bounds it, and coalescing", "", FIGURE_HEADS, figure_rows(figures)),
        ("Mirror: end to end", _about_latency(figures), LATENCY_HEADS, latency_rows(figures)),
    ]


def tables(figures: Mapping[str, Any]) -> list[Table]:
    """All of them."""
    return [(TITLE, about(figures), HEADS, rows(figures)), *more(figures)]
