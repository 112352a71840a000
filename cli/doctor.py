"""`tradewind doctor`: checks the configuration and all that it names, and says what to do about each failure."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from dataclasses import asdict
from typing import Annotated

from cyclopts import Parameter
from rich.text import Text

from cli.console import DEFAULT_CONFIG, FAILED, MISCONFIGURED, OK, OUT, Config
from doctor.doctor import examine
from doctor.finding import Finding, State, any_failed
from schemas.encoding import encode
from schemas.printable import printable, printable_json

_MARKS = {
    State.OK: ("ok", "green"),
    State.WARNING: ("warning", "yellow"),
    State.FAILED: ("FAILED", "bold red"),
    State.NOT_CHECKED: ("not checked", "dim"),
}
_MARK_WIDTH, _CHECK_WIDTH = 13, 15


def doctor(
    *,
    no_login: Annotated[
        bool, Parameter(help="Log in nowhere: sessions that live are used, others are left alone.", negative="")
    ] = False,
    json: Annotated[
        bool, Parameter(help="Print the findings as JSON: check, subject, state, what, do.", negative="")
    ] = False,
    config: Config = DEFAULT_CONFIG,
) -> int:
    """Check the configuration, Kafka, the store, ServiceTrade and the subscriptions; say what to do where one fails.

    Changes nothing, but for one login per account whose shared session does not live: it is made for all processes.
    Exit code 0 if nothing failed, 1 if something did, 2 if the configuration cannot be read.
    """
    found: list[Finding] = []

    def tell(finding: Finding) -> None:
        found.append(finding)
        if not json:
            _print(finding)

    readable = asyncio.run(examine(config, tell, login=not no_login))
    if json:
        text = encode([asdict(finding) for finding in found]).decode()
        sys.stdout.write((printable_json(text) if OUT.is_terminal else text) + "\n")
    else:
        counts = Counter(finding.state for finding in found)
        OUT.print(", ".join(f"{counts[state]} {mark}" for state, (mark, _) in _MARKS.items() if counts[state]))
    if not readable:
        return MISCONFIGURED
    return FAILED if any_failed(found) else OK


def _print(finding: Finding) -> None:
    mark, style = _MARKS[finding.state]
    said = f"{finding.check:<{_CHECK_WIDTH}}{finding.subject}: {finding.what}"
    OUT.print(Text.assemble((f"{mark:<{_MARK_WIDTH}}", style), printable(said)), soft_wrap=True, highlight=False)
    if finding.do:
        OUT.print(Text(f"{'':<{_MARK_WIDTH}}do: {printable(finding.do)}", "bold"), soft_wrap=True, highlight=False)
