"""The command line of the harness: `python -m tests.chaos --seed N --minutes M [--profile single|cluster]`."""

from __future__ import annotations

import argparse
import asyncio
import logging
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from tests.chaos.run import Order, run

GOOD, BAD, INTERRUPTED = 0, 1, 130
AROUND_S = 420.0
"""What starting, settling, reading and judging may take besides the load."""


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> int:
    """Run as the arguments say; gives the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, required=True, help="chooses the load and the faults")
    parser.add_argument("--minutes", type=float, required=True, help="how long the load lasts")
    parser.add_argument("--profile", choices=["single", "cluster"], default="single", help="one broker, or three")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="tradewind-chaos-"))
    logging.basicConfig(filename=folder / "harness.log")  # the harness's clients say a lot while brokers are down
    order = Order(seed=arguments.seed, seconds=arguments.minutes * 60, profile=arguments.profile, folder=folder)
    say(f"chaos: seed {order.seed}, {order.seconds:.0f} s of load, profile {order.profile}, in {folder}")
    code, keep = BAD, True
    try:
        code, keep = asyncio.run(_bounded(order))
    except (KeyboardInterrupt, asyncio.CancelledError):
        say("interrupted")
        code, keep = INTERRUPTED, False
    finally:
        if keep:
            sys.stderr.write(f"kept: {folder}\n")
        else:
            shutil.rmtree(folder)
    return code


async def _bounded(order: Order) -> tuple[int, bool]:
    """The exit code, and whether somebody has to look at the folder: also after ends that nobody asked for."""
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    async with asyncio.timeout(order.seconds + AROUND_S):
        outcome = await run(order, say)
    for line in outcome.lines():
        say(line)
    code = BAD if outcome.problems() else GOOD
    return code, bool(code or outcome.exits or outcome.broker_deaths)


if __name__ == "__main__":
    sys.exit(main())
