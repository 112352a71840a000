"""What the demo shows: one live line of figures while the day passes, events above it, and the ledger at the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from demo.ledger import Ledger
from runtime.supervisor import ProcessEvent

BAR_WIDTH = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """The live line."""

    planned: int
    sent: int
    stored: int
    changes: int
    delivered: int


class Screen:
    """Prints to a terminal, or plainly to a pipe."""

    def __init__(self, out: Console) -> None:
        self._out = out
        self._live: Live | None = None

    def say(self, text: str) -> None:
        """One step of the start-up."""
        self._out.print(f"[dim]·[/] {text}", highlight=False)

    def process(self, event: ProcessEvent) -> None:
        """A process died or is back; orderly starts and stops are not worth a line."""
        if event.kind == "died":
            status = event.status or 0
            how = f"signal {-status}" if status < 0 else f"exit code {status}"
            self._out.print(f"[bold yellow]![/] {event.name} died ({how})", highlight=False)
        elif event.kind == "restarted":
            self._out.print(f"[bold green]+[/] {event.name} started again, pid {event.pid}", highlight=False)

    def day_begins(self) -> None:
        """Show the live line from here on."""
        if self._out.is_terminal:
            self._live = Live(console=self._out, refresh_per_second=8, transient=True)
            self._live.start()

    def day(self, figures: Figures) -> None:
        """Update the live line."""
        done = min(1.0, figures.sent / max(1, figures.planned))
        bar = "━" * round(done * BAR_WIDTH)
        line = Text.assemble(
            (bar, "green"),
            ("━" * (BAR_WIDTH - len(bar)), "dim"),
            f"  webhooks {figures.sent}/{figures.planned}  →  stored {figures.stored}"
            f"  →  changes {figures.changes}  →  delivered {figures.delivered}",
        )
        if self._live:
            self._live.update(line)

    def day_ends(self) -> None:
        """Take the live line away."""
        if self._live:
            self._live.stop()
            self._live = None

    def ledger(self, ledger: Ledger, accounts: Sequence[Mapping[str, Any]], restarts: Mapping[str, int]) -> None:
        """The table at the end."""
        reads = sum(_reads(account["requests"]) for account in accounts)
        logins = ", ".join(f"{account['name']} {account['logins']}" for account in accounts)
        died = ", ".join(f"{name} {count}" for name, count in restarts.items() if count) or "none"
        table = Table(box=None, show_header=False, padding=(0, 2))
        table.add_column(justify="left")
        table.add_column(justify="right")
        table.add_column(style="dim")
        for name, value, remark in (
            ("webhooks sent", ledger.sent, "by ServiceTrade, repeats included"),
            ("accepted", ledger.accepted, "answered 2xx: durable in Kafka"),
            ("refused for good", ledger.refused_for_good, "ServiceTrade gave up after 3 attempts"),
            ("notifications", ledger.notifications, "elements of the webhooks in the log"),
            ("duplicates dropped", ledger.duplicates, ""),
            ("filtered", ledger.filtered, "by demo/rules.toml"),
            ("quarantined", ledger.quarantined, "unreadable; servicetrade.deadletters has them, untouched"),
            ("merged", ledger.merged, "into"),
            ("changes", ledger.changes, f"{ledger.repeats} of them sent again after a crash, same id"),
            ("API reads", reads, "by the mirror"),
            ("logins", logins, "one session per account, shared"),
            ("rows", ledger.rows, f"{len(ledger.wrong_rows)} of them not as ServiceTrade has them now"),
            ("restarts", died, "processes that died and were started again"),
        ):
            table.add_row(name, str(value), remark)
        colour = "bold green" if ledger.balanced else "bold red"
        table.add_row(Text("lost", colour), Text(str(ledger.lost), colour), _where(ledger))
        self._out.print()
        self._out.print(table)


def _reads(requests: Mapping[str, int]) -> int:
    """Reads of entities: `GET /{type}/{id}`, not of sessions or subscriptions."""
    return sum(
        count
        for name, count in requests.items()
        if name.startswith("GET ") and not name.removeprefix("GET ").startswith(("auth", "webhook"))
    )


def _where(ledger: Ledger) -> str:
    if ledger.balanced:
        return "every notification answered 2xx is accounted for"
    parts = {
        "before the log": ledger.lost_before_log,
        "in processing": ledger.lost_in_processing,
        "at the sink": ledger.lost_at_sink,
        "counted twice": ledger.surplus,
        "wrong rows": len(ledger.wrong_rows),
    }
    return ", ".join(f"{name}: {count}" for name, count in parts.items() if count)
