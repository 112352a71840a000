"""Pure: how long something (an account, or all that a sink delivers) has been failing, and when it is tried again."""

from __future__ import annotations

from dataclasses import dataclass, field

SEVERAL = 5
"""So many entities that fail in a row are not each in trouble: it is what they have in common."""


@dataclass(slots=True)
class Trouble:
    """Failures since the last success; times are monotonic seconds."""

    since: float | None = None
    """When the first of them happened; None: all is well."""
    not_before: float = 0.0
    """No call before this time."""
    asked_until: float = 0.0
    """The other side has asked for silence until then, which a success of a call from before does not end."""
    failures: int = 0
    """Rounds of them: those that come while a pause is on belong to the round before."""
    entities: set[str] = field(default_factory=set)
    """Which failed, as far as it matters."""

    def seen(self, key: str, now: float) -> None:
        """An entity failed, whoever is to blame."""
        if self.since is None:
            self.since = now
        if len(self.entities) < SEVERAL:
            self.entities.add(key)

    @property
    def slowed(self) -> bool:
        """Whether it has been paused since the last success: then one call at a time finds out if it is well again."""
        return self.not_before > 0

    @property
    def common(self) -> bool:
        """Whether so many have failed that it is no single entity's fault."""
        return len(self.entities) >= SEVERAL

    def lasted_s(self, now: float) -> float:
        """Seconds since the first failure; 0 if there is none."""
        return 0.0 if self.since is None else now - self.since

    def pause(self, now: float, pause_s: float, asked_s: float | None = None) -> None:
        """Nothing is called for so long; `asked_s`: because the other side asked for so much of it."""
        if now >= self.not_before:
            self.failures += 1
        self.not_before = max(self.not_before, now + pause_s)
        if asked_s is not None:
            self.asked_until = max(self.asked_until, now + asked_s)

    def over(self, now: float) -> None:
        """Something succeeded."""
        if self.since is not None or self.not_before:
            self.since, self.failures = None, 0
            self.not_before = self.asked_until if self.asked_until > now else 0.0
            self.entities.clear()
