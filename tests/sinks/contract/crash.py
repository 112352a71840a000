"""A crash at a step of one's choice."""

from __future__ import annotations


class Crash(Exception):
    """Nobody expects it."""


class CrashAt:
    """`sinks.steps.At` that raises at the n-th time that a step is reached, and never again.

    Args:
        step: of `sinks.steps.WORKER_STEPS`, or of a sink's own.
        nth: from 1 on.
    """

    def __init__(self, step: str, nth: int = 1) -> None:
        self._step = step
        self._left = nth
        self.seen: list[str] = []

    def __call__(self, step: str) -> None:
        """The step is reached."""
        self.seen.append(step)
        if step == self._step:
            self._left -= 1
            if self._left == 0:
                raise Crash(step)

    @property
    def crashed(self) -> bool:
        """Whether it has raised."""
        return self._left <= 0
