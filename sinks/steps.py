"""Pure: the steps between which a sink's worker may die; a test that wants it to takes the place of `pass_by`."""

from __future__ import annotations

from collections.abc import Callable

At = Callable[[str], None]
"""Told the name of each step as it is reached; what it raises ends the worker there, as a crash would."""

WORKER_STEPS = (
    "given",  # the sink is about to be called
    "effect",  # it has returned, and nobody knows yet
    "reported",  # the outcome is on record in Kafka
    "buried",  # a dead letter is on record in Kafka
    "parked",  # changes are in the table `parked`, and their offsets not committed
    "unparked",  # a parked change's outcome is on record, and its row still there
    "committing",
    "committed",
)


def pass_by(step: str) -> None:
    """Nothing happens at any step: the product's way."""
