"""What the demo shows: one live line of figures while the day passes, events above it, and the ledger at the end."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from demo.ledger import Ledger

BAR_WIDTH = 24
PLAIN_INTERVAL_S = 2.0
"""Without a terminal the live line is printed anew so often."""


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
        self._last_line_at = 0.0
        self.settled = False
        """Whether the ledger was shown."""

    def say(self, text: str) -> None:
        """One step of the start-up."""
        self._out.print(f"[dim]·[/] {text}", highlight=False, soft_wrap=True)

    def died(self, name: str, status: int) -> None:
        """A process ended by itself: exit code, or minus the signal."""
        how = f"signal {-status}" if status < 0 else f"exit code {status}"
        self._out.print(f"[bold yellow]![/] {name} died ({how})", highlight=False)

    def back(self, name: str, pid: int, after_s: float) -> None:
        """A process that died was started again and is ready."""
        self._out.print(f"[bold green]+[/] {name} ready again after {after_s:.1f} s, pid {pid}", highlight=False)

    @contextmanager
    def live(self) -> Iterator[None]:
        """Show the live line for as long as the block lasts."""
        if not self._out.is_terminal:
            yield
            return
        with Live(console=self._out, refresh_per_second=8, transient=True) as self._live:
            yield

    def day(self, figures: Figures) -> None:
        """Update the live line."""
        done = min(1.0, figures.sent / max(1, figures.planned))
        bar = "━" * round(done * BAR_WIDTH)
        line = Text.assemble(
            (bar, "green"),
            ("─" * (BAR_WIDTH - len(bar)), "dim"),
            f"  webhooks {figures.sent}/{figures.planned}  →  stored {figures.stored}"
            f"  →  changes {figures.changes}  →  delivered {figures.delivered}",
        )
        if self._live:
            self._live.update(line)
        elif time.monotonic() - self._last_line_at >= PLAIN_INTERVAL_S:
            self._last_line_at = time.monotonic()
            self._out.print(line, soft_wrap=True)

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
            ("webhooks sent", ledger.sent, "by ServiceTrade, with its repeats"),
            ("accepted", ledger.accepted, "2xx: in Kafka, or in the spool"),
            ("refused for good", ledger.refused_for_good, "given up after 3 attempts"),
            ("notifications", ledger.notifications, "elements of these webhooks"),
            ("duplicates dropped", ledger.duplicates, ""),
            ("filtered", ledger.filtered, "by the rules"),
            ("quarantined", ledger.quarantined, "unreadable: in the dead letters"),
            ("merged", ledger.merged, "into:"),
            ("changes", ledger.changes, f"{ledger.repeats} sent again after a crash"),
            ("API reads", reads, "by the mirror"),
            ("logins", logins, "one shared session each"),
            ("rows", ledger.rows, f"{len(ledger.wrong_rows)} differ from ServiceTrade"),
            ("restarts", died, ""),
        ):
            table.add_row(name, str(value), remark)
        colour = "bold green" if ledger.balanced else "bold red"
        table.add_row(Text("lost", colour), Text(str(ledger.lost), colour), _where(ledger))
        self._out.print()
        self._out.print(table)
        self.settled = True


def _reads(requests: Mapping[str, int]) -> int:
    """Reads of entities: `GET /{type}/{id}`, not of sessions or subscriptions."""
    return sum(
        count
        for name, count in requests.items()
        if name.startswith("GET ") and not name.removeprefix("GET ").startswith(("auth", "webhook"))
    )


def _where(ledger: Ledger) -> str:
    if ledger.balanced:
        return "all that was answered 2xx is accounted for"
    parts = {
        "before the log": ledger.lost_before_log,
        "in processing": ledger.lost_in_processing,
        "at the sink": ledger.lost_at_sink,
        "counted twice": ledger.surplus,
        "wrong rows": len(ledger.wrong_rows),
    }
    return ", ".join(f"{name}: {count}" for name, count in parts.items() if count)
