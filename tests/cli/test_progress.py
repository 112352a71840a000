"""How the command line shows how far something is, and what else it says."""

from __future__ import annotations

import io
import re
import sys

import pytest
from rich.console import Console

from cli.messages import complain, confirmed, note
from cli.progress import bars, progress
from schemas.errors import SettingsError


def test_on_a_terminal_there_is_a_bar_with_the_rate_that_goes_when_it_is_over() -> None:
    out = io.StringIO()
    with progress("reading", "records", Console(file=out, force_terminal=True, width=160)) as tell:
        tell(400, 1000, "7 [changes]")
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.getvalue())
    assert re.search(r"reading .* 40% 400 of 1,000 records, 7 \[changes\], [0-9,]+/s", shown)
    assert out.getvalue().endswith("\x1b[2K")


def test_without_a_terminal_what_is_soon_over_says_nothing() -> None:
    out = io.StringIO()
    with progress("reading", console=Console(file=out)) as tell:
        for done in range(100):
            tell(done, 100)
    assert out.getvalue() == ""


def test_without_a_terminal_what_is_due_is_a_line_for_each_thing() -> None:
    out = io.StringIO()
    with bars(Console(file=out, width=20)) as show:
        show("job", 1, 3, "page 1 of 3, [no] markup, and wider than the console", due=True)
        show("job", 2, 3, "page 2 of 3")
        show("quote", 0, None, "page 0", due=True)
    assert out.getvalue().splitlines() == [
        "job: page 1 of 3, [no] markup, and wider than the console",
        "quote: page 0",
    ]


def test_what_is_said_goes_to_stderr_without_markup_or_control_characters(capfd: pytest.CaptureFixture[str]) -> None:
    complain("[red]no\x1b[2J")
    note("[red]so\x07")
    assert capfd.readouterr() == ("", "tradewind: [red]no\\x1b[2J\n[red]so\\x07\n")


@pytest.mark.parametrize(
    ("because", "sentence"),
    [
        ("", "^there is no terminal to ask on: say --yes$"),
        ("Much would go.", r"^Much would go\. There is no terminal to ask on: say --yes$"),
    ],
)
def test_where_nobody_can_be_asked_the_reason_for_the_question_is_told(because: str, sentence: str) -> None:
    assert not sys.stdin.isatty()
    with pytest.raises(SettingsError, match=sentence):
        confirmed("Go on?", because=because)
