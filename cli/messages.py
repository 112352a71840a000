"""What the command line says beside what was asked for: why something cannot be done, remarks, and questions."""

from __future__ import annotations

import sys

from rich.markup import escape
from rich.text import Text

from cli.console import ERR
from schemas.errors import SettingsError
from schemas.printable import printable


def complain(sentence: str) -> None:
    """Say why something cannot be done."""
    ERR.print(f"[bold red]tradewind:[/] {escape(printable(sentence))}", highlight=False, soft_wrap=True)


def note(sentence: str) -> None:
    """Say something that is no part of what was asked for."""
    ERR.print(Text(printable(sentence)), soft_wrap=True)


def confirmed(question: str, *, because: str = "") -> bool:
    """Ask on the terminal, with No as the default.

    Args:
        question: ends with a question mark.
        because: a sentence that says what makes it worth a question; empty: nothing needs to be said.

    Raises:
        SettingsError: there is no terminal to ask on.
    """
    if not sys.stdin.isatty():
        no_terminal = "here is no terminal to ask on: say --yes"
        raise SettingsError(f"{because} T{no_terminal}" if because else f"t{no_terminal}")
    from rich.prompt import Confirm  # noqa: PLC0415 (most commands ask nothing)

    try:
        return Confirm.ask(escape(f"{because} {question}".strip()), default=False, console=ERR)
    except EOFError:
        return False
