"""What all commands of the command line share: where they print, their exit codes, and --config."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

OK, FAILED, MISCONFIGURED = 0, 1, 2


class _Output(Console):
    def on_broken_pipe(self) -> None:
        raise BrokenPipeError  # rich would end the process with 1; `cli.pipe` knows better


OUT = _Output()
ERR = Console(stderr=True)

DEFAULT_CONFIG = Path("tradewind.toml")
Config = Annotated[Path, Parameter(name=["--config", "-c"], help="The configuration file.", env_var="TRADEWIND_CONFIG")]

OpsPort = Annotated[int | None, Parameter(help="Port of /livez, /readyz and /metrics, instead of the configured one.")]
OpsHost = Annotated[str, Parameter(help="Address of /livez, /readyz and /metrics.")]
Instance = Annotated[
    str | None,
    Parameter(help="Name of this worker, the same after a restart (default: the host's name)."),
]

LOOPBACK = "127.0.0.1"
