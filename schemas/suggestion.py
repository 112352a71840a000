"""Pure: what may have been meant by a name that nobody knows."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(word: str, known: Iterable[str], otherwise: str = "") -> str:
    """A suggestion: the known word that is closest, else all of them after `otherwise`; empty if there is none."""
    names = list(known)
    close = difflib.get_close_matches(word, names, n=1) or difflib.get_close_matches(word.lower(), names, n=1)
    if close:
        return f"did you mean {close[0]}?"
    return f"{otherwise}: {', '.join(names)}" if otherwise and names else ""
