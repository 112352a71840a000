"""Pure: text from outside, so that a terminal shows it and obeys nothing of it."""

from __future__ import annotations


def printable(text: str, *, lines: bool = False) -> str:
    """The text with everything escaped that could do something to a terminal; with `lines`, line breaks stay."""
    return "".join(
        one if one.isprintable() or (lines and one == "\n") else one.encode("unicode_escape").decode() for one in text
    )


def printable_json(text: str) -> str:
    """JSON that says the same: in strings everything is escaped that `printable` escapes, as JSON does it.

    Args:
        text: compact JSON: outside strings nothing is to be escaped.
    """
    return "".join(one if one.isprintable() else _escaped(one) for one in text)


def _escaped(one: str) -> str:
    units = one.encode("utf-16-be")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))
