"""The command line: `python -m tests.sinks_chaos --seed N [--scenario chaos|backlog|all] [--store sqlite|postgres]`."""

from __future__ import annotations

import argparse
import asyncio
import logging
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.sinks_chaos.backlog import run_backlog
from tests.sinks_chaos.run import run_chaos
from tests.sinks_chaos.stage import Order

SCENARIOS = {"chaos": run_chaos, "backlog": run_backlog}
GOOD, BAD, INTERRUPTED = 0, 1, 130
AROUND_S = 300.0
"""What starting, reading and judging may take besides the load and the wait for what is left."""
LEAST_ACCOUNTS = 4


def main() -> int:
    """Run as the arguments say; gives the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.sinks_chaos", description=__doc__)
    parser.add_argument("--scenario", choices=[*SCENARIOS, "all"], default="all")
    parser.add_argument("--seed", type=int, default=1, help="chooses edits, poison and the moments of faults")
    parser.add_argument("--store", choices=["sqlite", "postgres"], default="sqlite")
    parser.add_argument("--changes", type=int, default=20_000)
    parser.add_argument("--accounts", type=int, default=50)
    parser.add_argument("--entities", type=int, default=4_000, help="of the backlog")
    parser.add_argument("--rate", type=float, default=200.0, help="changes per second")
    parser.add_argument("--quick", action="store_true", help="short pauses, and SIGKILL 3 s after readiness, not 10 s")
    arguments = parser.parse_args()
    if arguments.accounts < LEAST_ACCOUNTS or arguments.rate <= 0:
        parser.error(f"--accounts: at least {LEAST_ACCOUNTS}; --rate: above 0")
    if arguments.scenario != "chaos" and not arguments.accounts <= arguments.entities <= arguments.changes:
        parser.error("--entities: at least one per account, and no more than changes")
    names = list(SCENARIOS) if arguments.scenario == "all" else [arguments.scenario]
    return max(_run(name, arguments) for name in names)


def _run(name: str, arguments: argparse.Namespace) -> int:
    """One scenario in a folder of its own, which is kept where somebody has to look at it."""
    folder = Path(tempfile.mkdtemp(prefix=f"tradewind-sinks-{name}-"))
    (folder / "store").mkdir()
    handler = logging.FileHandler(folder / "harness.log")
    logging.getLogger().addHandler(handler)
    told = {key: value for key, value in vars(arguments).items() if key != "scenario"}
    order = Order(**told, folder=folder)
    code, keep = BAD, True
    try:
        code = asyncio.run(_bounded(name, order))
        keep = code != GOOD
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


async def _bounded(name: str, order: Order) -> int:
    task, began = asyncio.current_task(), time.monotonic()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)

    def say(line: str) -> None:
        sys.stdout.write(f"{time.monotonic() - began:6.1f} s  {line}\n")
        sys.stdout.flush()

    say(
        f"{name}: {order.changes} changes over {order.accounts} accounts, {order.store}, seed {order.seed}, "
        f"in {order.folder}"
    )
    async with asyncio.timeout(order.changes / order.rate * 3 + order.pace.unsettled_s + AROUND_S):
        outcome = await SCENARIOS[name](order, say)
    report = outcome.lines()
    (order.folder / "report.txt").write_text("\n".join(report) + "\n", "utf-8")
    sys.stdout.write("".join(f"{line}\n" for line in report))
    sys.stdout.flush()
    return BAD if outcome.problems() else GOOD


if __name__ == "__main__":
    sys.exit(main())
