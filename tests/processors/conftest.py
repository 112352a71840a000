"""Makes the random tests of the core repeatable: the same examples on every machine."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "repeatable", derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
# A longer search with new examples: TRADEWIND_HYPOTHESIS=search, with --hypothesis-seed to repeat it.
settings.register_profile("search", deadline=None, max_examples=5_000, suppress_health_check=list(HealthCheck))
settings.load_profile(os.environ.get("TRADEWIND_HYPOTHESIS", "repeatable"))
