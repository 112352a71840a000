"""What each process uses while something is measured: CPU time, sampled, between two moments."""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Mapping, Sequence

from bench.sinks_site import tail
from bench.stage import Child

SAMPLE_S = 0.2

Meters = Mapping[str, Callable[[], float]]
"""By name, what tells the CPU seconds used so far."""
Sample = tuple[float, Mapping[str, float]]
"""Unix milliseconds, and what the meters told."""


async def watched(
    process: Child, meters: Meters, is_done: Callable[[], Awaitable[bool]], *, deadline_s: float
) -> list[Sample]:
    """Sample until it is done, and once more.

    Raises:
        RuntimeError: the process ended before, or it took too long.
    """
    deadline, samples = time.monotonic() + deadline_s, list[Sample]()
    while True:
        done = await is_done()
        samples.append((time.time() * 1000, {name: meter() for name, meter in meters.items()}))
        if done:
            return samples
        if not process.running:
            raise RuntimeError(f"it ended before it was done: {tail(process)}")
        if time.monotonic() > deadline:
            raise RuntimeError(f"not done after {deadline_s:.0f} s: {tail(process)}")
        await asyncio.sleep(SAMPLE_S)


def used(samples: Sequence[Sample], first_ms: float, last_ms: float) -> dict[str, float]:
    """CPU seconds between two moments, by meter; between two samples as if it had been even."""
    return {name: _at(samples, name, last_ms) - _at(samples, name, first_ms) for name in samples[0][1]}


def _at(samples: Sequence[Sample], name: str, at_ms: float) -> float:
    place = bisect_left(samples, at_ms, key=lambda sample: sample[0])
    if place in (0, len(samples)):
        return samples[min(place, len(samples) - 1)][1][name]
    (before_ms, before), (after_ms, after) = samples[place - 1], samples[place]
    share = (at_ms - before_ms) / (after_ms - before_ms)
    return before[name] + share * (after[name] - before[name])
