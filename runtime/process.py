"""Runs one process of the product: logs, signals, drain with a deadline, and the one broad except at the top."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable

from runtime.logs import log_event, set_up_logs
from schemas.errors import SettingsError

DRAIN_S = 26.0
"""How long a process may take to finish what it holds after SIGTERM; below any supervisor's patience."""

CRASHED, REFUSED = 1, 2
"""Exit codes. The second one: a person has to mend the configuration; starting again alone does not help."""

_log = logging.getLogger(__name__)


def run_process(name: str, log_level: str, main: Callable[[asyncio.Event], Awaitable[None]]) -> int:
    """Run `main` until it returns or SIGTERM or SIGINT sets the event that it is given.

    Returns:
        The exit code: 0 after a clean stop; 1 after a crash, or a drain that took too long; 2 if the configuration is
        refused, which is one sentence in the log.
    """
    set_up_logs(name, log_level)
    log_event(_log, "process.started")
    try:
        # Not uvloop: writing to a connection that was cut raises RuntimeError there. aiokafka, which expects OSError,
        # then loses the task that refreshes its metadata, and stands still for good.
        with asyncio.Runner() as runner:
            drained = runner.run(_until_signalled(main))
    except Exception as error:  # noqa: BLE001 (the one place that may: it says what happened and ends the process)
        if sentences := refusals_in(error):
            _log.error("process.refused", extra={"error": "; ".join(sentences)})
            return REFUSED
        _log.exception("process.crashed")
        return CRASHED
    log_event(_log, "process.stopped", drained=drained)
    return 0 if drained else CRASHED


def refusals_in(error: Exception) -> list[str]:
    """The distinct sentences of SettingsErrors, in task groups too; nothing if there is any other error among them."""
    if isinstance(error, SettingsError):
        return [str(error)]
    if not isinstance(error, ExceptionGroup):
        return []
    found = [refusals_in(one) for one in error.exceptions]
    return list(dict.fromkeys(sentence for one in found for sentence in one)) if all(found) else []


async def _until_signalled(main: Callable[[asyncio.Event], Awaitable[None]]) -> bool:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    working = asyncio.ensure_future(main(stop))
    signalled = asyncio.ensure_future(stop.wait())
    await asyncio.wait({working, signalled}, return_when=asyncio.FIRST_COMPLETED)
    signalled.cancel()
    if not working.done():
        log_event(_log, "process.stopping", deadline_s=DRAIN_S)
        await asyncio.wait({working}, timeout=DRAIN_S)
    if not working.done():
        working.cancel()
        return False
    await working
    return True
