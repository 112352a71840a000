"""The command line: `python -m tests.ingest_chaos --scenario NAME|all --seconds N --rate R --seed S`."""

from __future__ import annotations

import argparse
import asyncio
import logging
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.ingest_chaos.run import NotPermitted, Order, run
from tests.ingest_chaos.scenarios import SCENARIOS

GOOD, BAD, INTERRUPTED = 0, 1, 130
AROUND_S = 420.0
"""What starting, draining, reading and judging may take besides the outage."""
LONGEST_S = 300.0
"""Half the horizon: a repeat after it may make a second change."""
MOST_PER_S = 1_000.0
FULL_DISK = ("full-disk", "full-spool")


def main() -> int:
    """Run as the arguments say; gives the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.ingest_chaos", description=__doc__)
    parser.add_argument("--scenario", choices=[*SCENARIOS, "all"], default="all")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long the broker is away")
    parser.add_argument("--rate", type=float, default=200.0, help="webhooks per second")
    parser.add_argument("--seed", type=int, default=1, help="chooses bodies and moments")
    parser.add_argument("--ack-timeout", type=float, default=2.0, help="ingest.ack_timeout_s")
    parser.add_argument("--requests", type=int, default=20_000, help="how many the fuzzer sends")
    arguments = parser.parse_args()
    if not 0 < arguments.seconds <= LONGEST_S or not 0 < arguments.rate <= MOST_PER_S:
        parser.error(f"--seconds is at most {LONGEST_S:g}, --rate at most {MOST_PER_S:g}, both above 0")
    names: Sequence[str] = [arguments.scenario]
    if arguments.scenario == "all":
        names = list(SCENARIOS)
    elif arguments.scenario == "full-disk":
        names = FULL_DISK
    return max(_run(name, arguments) for name in names)


def _run(name: str, arguments: argparse.Namespace) -> int:
    """One scenario in a folder of its own, which is kept where somebody has to look at it."""
    folder = Path(tempfile.mkdtemp(prefix=f"tradewind-ingest-{name}-"))
    (folder / "spool").mkdir()
    handler = logging.FileHandler(folder / "harness.log")  # the harness's clients say a lot while brokers are down
    logging.getLogger().addHandler(handler)
    order = Order(
        scenario=name,
        seconds=arguments.seconds,
        rate=arguments.rate,
        seed=arguments.seed,
        ack_timeout_s=arguments.ack_timeout,
        requests=arguments.requests,
        folder=folder,
    )
    code, keep = BAD, True
    try:
        code = asyncio.run(_bounded(order))
        keep = code != GOOD
    except NotPermitted as error:
        sys.stdout.write(f"{name} was NOT run: {error}\n")
        code, keep = GOOD, False
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.stdout.write("interrupted\n")
        sys.exit(INTERRUPTED)
    finally:
        logging.getLogger().removeHandler(handler)
        handler.close()
        if keep:
            sys.stderr.write(f"kept: {folder}\n")
        else:
            shutil.rmtree(folder)
    return code


async def _bounded(order: Order) -> int:
    task, began = asyncio.current_task(), time.monotonic()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)

    def say(line: str) -> None:
        sys.stdout.write(f"{time.monotonic() - began:6.1f} s  {line}\n")
        sys.stdout.flush()

    say(f"{order.scenario}: away for {order.seconds:g} s, {order.rate:g}/s, seed {order.seed}, in {order.folder}")
    async with asyncio.timeout(order.seconds * 2 + AROUND_S):
        outcome = await run(order, say)
    sys.stdout.write("".join(f"{line}\n" for line in outcome.lines()))
    sys.stdout.flush()
    return BAD if outcome.problems() else GOOD


if __name__ == "__main__":
    sys.exit(main())
