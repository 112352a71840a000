"""Pure: what can be set differently at run time, per account: shapes and the sender's habits.

What goes wrong with the API's answers is not here but in `faults.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

Shape = Literal["flat", "compound"]
Changesets = Literal["array", "object", "null", "absent", "mixed"]
Timestamps = Literal["documented", "string", "int"]
EntityIds = Literal["int", "string"]

_CHOICES: dict[str, tuple[str, ...]] = {
    "shape": get_args(Shape),
    "changesets": get_args(Changesets),
    "timestamps": get_args(Timestamps),
    "entity_ids": get_args(EntityIds),
}
_RATIOS = ("repeat_ratio", "reorder_ratio")


@dataclass(frozen=True, slots=True, kw_only=True)
class Switches:
    """The switches of one account; the defaults are what the published documents describe.

    Args:
        shape: of entity answers; both are live, on different accounts.
        changesets: how `changeset` looks; "object" makes one element per changed field, "mixed" varies.
        timestamps: "documented" is a string at the message and an integer at the element.
        entity_ids: `entity.id` as a number or as a string of digits.
        repeat_ratio: share of messages sent once more, with the same messageId and array.
        reorder_ratio: share of messages held back so that later ones overtake.
    """

    shape: Shape = "flat"
    changesets: Changesets = "array"
    timestamps: Timestamps = "documented"
    entity_ids: EntityIds = "int"
    repeat_ratio: float = 0.0
    reorder_ratio: float = 0.0

    def changed(self, wanted: Mapping[str, Any]) -> Switches:
        """These switches with some set anew; ValueError names the first one that makes no sense."""
        for name, value in wanted.items():
            check(name, value)
        return replace(self, **wanted)

    def as_json(self) -> dict[str, Any]:
        """All switches by name."""
        return asdict(self)


def check(name: str, value: object) -> None:
    """Refuse an unknown switch or a value outside its range with a ValueError."""
    if name in _CHOICES:
        if value not in _CHOICES[name]:
            raise ValueError(f"{name}: expected one of {', '.join(_CHOICES[name])}, got {value!r}")
    elif name in _RATIOS:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise ValueError(f"{name}: expected a number from 0 to 1, got {value!r}")
    else:
        raise ValueError(f"{name}: no such switch")
