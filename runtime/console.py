"""What all commands of the command line share: where they print, their exit codes, and --config."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

OK, FAILED, MISCONFIGURED = 0, 1, 2

OUT = Console()
ERR = Console(stderr=True)

DEFAULT_CONFIG = Path("tradewind.toml")
Config = Annotated[Path, Parameter(name=["--config", "-c"], help="The configuration file.", env_var="TRADEWIND_CONFIG")]
