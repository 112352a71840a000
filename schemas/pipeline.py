"""PipelineTimes: the three spans that decide how much of the log the processors' state depends on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineTimes:
    """Settings of the whole pipeline, not of an account: every reader of the log must use the same."""

    horizon_s: float = 600
    """A notification that comes again within this time is dropped as a duplicate."""
    memory_s: float = 900
    """Period of the cuts: no chain of windows of one entity is longer."""
    max_ceiling_s: float = 300
    """The largest ceiling that rules may ask for; a log clock that steps back further starts time anew."""

    def __post_init__(self) -> None:
        if min(self.horizon_s, self.memory_s, self.max_ceiling_s) <= 0:
            raise ValueError("horizon_s, memory_s and max_ceiling_s must be above 0")
        if self.max_ceiling_s >= self.memory_s:
            raise ValueError("max_ceiling_s must be below memory_s")

    @property
    def horizon_ms(self) -> int:
        """The horizon in milliseconds."""
        return round(self.horizon_s * 1000)

    @property
    def memory_ms(self) -> int:
        """The memory in milliseconds."""
        return round(self.memory_s * 1000)

    @property
    def max_ceiling_ms(self) -> int:
        """The largest ceiling in milliseconds."""
        return round(self.max_ceiling_s * 1000)

    @property
    def restore_ms(self) -> int:
        """How far back the log has to be read to know the state at a position."""
        return self.horizon_ms + self.memory_ms + self.max_ceiling_ms
