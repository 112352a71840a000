"""What the command line does once nobody reads its stdout any more, as after `| head`."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from cli.console import OK


def nobody_reads() -> bool:
    """Whether stdout is a pipe whose reader is gone."""
    try:
        watch = select.poll()
        watch.register(sys.stdout.fileno(), 0)
    except (OSError, ValueError):  # stdout is no file
        return False
    return any(event & select.POLLERR for _, event in watch.poll(0))


@contextmanager
def while_somebody_reads() -> Iterator[None]:
    """A block that ends quietly, with exit code 0, once the reader of stdout has enough.

    Raises:
        BrokenPipeError: of anything else than stdout.
    """
    try:
        try:
            yield
        finally:
            sys.stdout.flush()  # what is left for the interpreter to flush at its end is a complaint then
    except BrokenPipeError:
        if not nobody_reads():
            raise
        # Python would complain once more, flushing at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(OK) from None
