"""Command line of the simulator: `python -m servicetrade.simulator --port N --account name:user:password`."""

from __future__ import annotations

import argparse
import asyncio
import signal
from collections.abc import Sequence

from servicetrade.simulator.accounts import AccountSettings
from servicetrade.simulator.sender import SenderRules
from servicetrade.simulator.server import SimulatorSettings, serve

_PARTS = (3, 4)


def account(text: str) -> AccountSettings:
    """name:username:password[:user_id]; ValueError (which argparse reports) for anything else."""
    parts = text.split(":")
    if len(parts) not in _PARTS or not all(parts):
        raise ValueError("name:username:password[:user_id] expected")
    name, username, password, *user_id = parts
    return AccountSettings(
        name=name, username=username, password=password, user_id=int(user_id[0]) if user_id else None
    )


def settings(arguments: Sequence[str] | None = None) -> SimulatorSettings:
    """The settings that the arguments (by default those of the process) ask for."""
    rules = SenderRules()
    parser = argparse.ArgumentParser(prog="python -m servicetrade.simulator", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes any free port and prints it")
    parser.add_argument("--account", type=account, action="append", default=[], dest="accounts")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--delivery-timeout", type=float, default=rules.timeout_s, help="seconds")
    parser.add_argument("--retry-interval", type=float, action="append", help="seconds; give it once per retry")
    parser.add_argument("--concurrency", type=int, default=rules.concurrency, help="deliveries at once, per account")
    chosen = parser.parse_args(arguments)
    return SimulatorSettings(
        host=chosen.host,
        port=chosen.port,
        accounts=tuple(chosen.accounts),
        seed=chosen.seed,
        sender=SenderRules(
            timeout_s=chosen.delivery_timeout,
            intervals_s=tuple(chosen.retry_interval or rules.intervals_s),
            concurrency=chosen.concurrency,
        ),
    )


async def run(chosen: SimulatorSettings) -> None:
    """Serve until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await serve(chosen, stop)


def main() -> None:
    """Entry point of the process."""
    asyncio.run(run(settings()))


if __name__ == "__main__":
    main()
