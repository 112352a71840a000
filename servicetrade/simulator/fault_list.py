"""Pure: the faults in force on one account, which of them strikes a request, and how often each did."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from servicetrade.simulator.faults import Fault, On


@dataclass(slots=True, kw_only=True)
class Placed:
    """A fault in force, or used up and not yet cleared."""

    id: int
    fault: Fault
    struck: int = 0

    @property
    def used_up(self) -> bool:
        """Whether it has struck as often as it may."""
        return self.fault.times is not None and self.struck >= self.fault.times

    def as_json(self) -> dict[str, Any]:
        """Its number, all fields, and how many requests it struck."""
        return {"id": self.id, **asdict(self.fault), "struck": self.struck}


class FaultList:
    """The faults of one account in the order they were placed; a used up one stays until it is cleared."""

    def __init__(self) -> None:
        self._placed: dict[int, Placed] = {}

    def __contains__(self, id_: int) -> bool:
        return id_ in self._placed

    def add(self, id_: int, fault: Fault) -> None:
        """Place a fault behind the others, under a number that no other has or had."""
        self._placed[id_] = Placed(id=id_, fault=fault)

    def clear(self, id_: int | None = None) -> int:
        """Remove one fault, or all for None; returns how many went."""
        gone = [one for one in self._placed if id_ in {None, one}]
        for one in gone:
            del self._placed[one]
        return len(gone)

    def strike(self, on: On, method: str, path: str, draw: Callable[[], float]) -> Placed | None:
        """The first matching fault with times left, counted as struck; None if the request is spared.

        Args:
            on: what kind of request it is.
            method: of the request.
            path: of the request, below /api.
            draw: a random number from 0 to below 1; called only for a matching fault with a ratio below 1.
        """
        for one in self._placed.values():
            fault = one.fault
            if one.used_up or not fault.matches(on, method, path):
                continue
            if fault.ratio < 1 and draw() >= fault.ratio:
                continue
            one.struck += 1
            return one
        return None

    def as_json(self) -> list[dict[str, Any]]:
        """All of them, oldest first."""
        return [one.as_json() for one in self._placed.values()]
