"""Memory of the core: bytes per open window and per remembered message, each measured in an interpreter of its own."""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import subprocess
import sys
import tracemalloc
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from processors.consolidator import Consolidator
from processors.rules import read_rules
from processors.window import Origin
from schemas.encoding import encode
from schemas.pipeline import PipelineTimes
from schemas.record import LogRecord
from schemas.topics import CONTROL_HEADER, CONTROL_TICK, WEBHOOKS

HELD = 100_000
"""Windows or messages that are held when memory is measured."""
TRACED = HELD // 4
"""As many where tracemalloc looks on, which makes all seven times slower; a power of two less fills dicts alike."""
ACCOUNTS = 50
BATCH = 1_000
START_MS = 1_790_000_000_000
PER_MS = 250
"""Records of one millisecond where windows have to stay open: 400,000 then last 1.6 s, less than the quiet period."""
USUAL = PipelineTimes()
FORGETFUL = PipelineTimes(horizon_s=0.01)
"""So that what windows take is not mixed with what remembered messages take."""
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What is held, and what it may take."""

    name: str
    held: str
    """What one of the figure is: window or message."""
    target_mb: int | None
    notifications: int = 1
    """Per entity."""
    times: PipelineTimes = USUAL
    filtered: bool = False
    per_ms: float = PER_MS


CASES = (
    Case(name="open windows of 1 notification", held="window", target_mb=100, times=FORGETFUL),
    Case(name="open windows of 4 notifications", held="window", target_mb=100, notifications=4, times=FORGETFUL),
    Case(name="open windows of 1 notification, and their remembered messages", held="window", target_mb=None),
    Case(name="remembered messages, all filtered", held="message", target_mb=20, filtered=True),
    # Nine minutes: within the horizon, and each window is closed long before the last one opens.
    Case(name="remembered messages, windows closed", held="message", target_mb=20, per_ms=HELD / 540_000),
)


def body(dice: random.Random, entity_id: int, step: int, at_s: int) -> bytes:
    """One notification as ServiceTrade sends it (envelope as captured, see docs): about 360 bytes."""
    return encode(
        {
            "messageId": str(uuid.UUID(int=dice.getrandbits(128), version=4)),
            "timestamp": str(at_s),
            "data": [
                {
                    "action": "updated",
                    "timestamp": at_s,
                    "userId": 1_000 + dice.randrange(200),
                    "entity": {
                        "type": "appointment",
                        "id": entity_id,
                        "uri": f"https://api.servicetrade.com/api/appointment/{entity_id}",
                    },
                    "changeset": [{"field": "status", "oldValue": f"scheduled {step}", "newValue": "completed"}],
                }
            ],
        }
    )


def _records(case: Case, held: int) -> Iterator[LogRecord]:
    """Round after round over all entities, so that no window is the work of one moment."""
    dice = random.Random(1)
    for step in range(case.notifications):
        for number in range(held):
            offset = step * held + number
            at_ms = START_MS + int(offset / case.per_ms)
            account = f"account-{number % ACCOUNTS:02d}".encode()
            # Ids as large as live ones, close to 2^53.
            value = body(dice, 1_870_000_000_000_000 + number, step, at_ms // 1000)
            yield LogRecord(offset=offset, timestamp=at_ms, key=account, value=value)


def _hold(case: Case, held: int) -> Consolidator:
    rules = {}
    if case.filtered:
        nothing = read_rules({"default": {"keep": False}, "types": {}}, max_ceiling_ms=case.times.max_ceiling_ms)
        rules = {f"account-{number:02d}": nothing for number in range(ACCOUNTS)}
    core = Consolidator(Origin(WEBHOOKS.name, 0, 0), case.times, rules)
    records = _records(case, held)
    while batch := list(islice(records, BATCH)):
        core.feed(batch)
        last = batch[-1]
    if case.held == "message":
        headers = ((CONTROL_HEADER, CONTROL_TICK),)
        core.feed([LogRecord(offset=last.offset + 1, timestamp=last.timestamp + 5_000, value=b"", headers=headers)])
    return core


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE


def _child(case: Case, *, traced: bool) -> dict[str, int]:
    """Hold what the case asks for and say what that took."""
    warm = Consolidator(Origin(WEBHOOKS.name, 0, 0), case.times)  # code paths, caches and pools that all cores share
    warm.feed(list(islice(_records(case, HELD), BATCH)))
    del warm
    gc.collect()
    if traced:
        tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0] if traced else _resident()
    core = _hold(case, TRACED if traced else HELD)
    gc.collect()
    after = tracemalloc.get_traced_memory()[0] if traced else _resident()
    return {
        "bytes": after - before,
        "open_windows": core.open_windows,
        "remembered_messages": core.remembered_messages,
        "imbalance": core.ledger.imbalance(core.open_notifications),
    }


def _in_fresh_interpreter(case: Case, *, traced: bool) -> dict[str, int]:
    command = [sys.executable, "-m", "bench.memory", "--case", str(CASES.index(case)), *(["--traced"] * traced)]
    told = subprocess.run(command, check=True, stdout=subprocess.PIPE, cwd=Path(__file__).parents[1])
    found: dict[str, int] = json.loads(told.stdout)
    held = found["open_windows"] if case.held == "window" else found["remembered_messages"]
    others = found["remembered_messages"] if case.times is FORGETFUL else 0
    # A cut closes about one window in a thousand before its time.
    wanted = TRACED if traced else HELD
    if not 0.99 * wanted < held <= wanted or found["imbalance"] or others > wanted / 4:
        raise RuntimeError(f"{case.name}: not what was to be measured: {found}")
    return found


def measure(report: Callable[[str], None]) -> dict[str, Any]:
    """Bytes that 100,000 windows or messages take: growth of the resident set, and what tracemalloc sees."""
    figures: dict[str, Any] = {"held": HELD, "body_bytes": len(body(random.Random(1), 1_870_000_000_000_000, 0, 1))}
    figures["cases"] = []
    for case in CASES:
        report(f"memory: {HELD:,} {case.name}")
        resident, traced = (_in_fresh_interpreter(case, traced=traced) for traced in (False, True))
        figures["cases"].append(
            {
                "name": case.name,
                "held": case.held,
                "target_mb": case.target_mb,
                "resident_mb": resident["bytes"] / 1e6,
                "resident_bytes_each": _each(case, resident),
                "traced_bytes_each": _each(case, traced),
            }
        )
    return figures


def _each(case: Case, found: dict[str, int]) -> int:
    return round(found["bytes"] / found["open_windows" if case.held == "window" else "remembered_messages"])


def rows(figures: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """(figure, target, measured) of each case."""
    found: list[tuple[str, ...]] = []
    for case in figures["cases"]:
        target = "-" if case["target_mb"] is None else f"<= {case['target_mb']} MB"
        each = f"{case['resident_bytes_each']:,} bytes per {case['held']}; {case['traced_bytes_each']:,} by tracemalloc"
        found.append((f"{figures['held']:,} {case['name']}", target, f"{case['resident_mb']:.1f} MB ({each})"))
    return found


def main() -> None:
    """Measure and print the table; with --case be one of the children."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", type=int)
    parser.add_argument("--traced", action="store_true")
    arguments = parser.parse_args()
    if arguments.case is not None:
        print(json.dumps(_child(CASES[arguments.case], traced=arguments.traced)))
        return
    for row in rows(measure(print)):
        print(" | ".join(row))


if __name__ == "__main__":
    main()
