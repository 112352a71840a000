"""Pure: at which line of a TOML text each of its keys and values stands; tomllib itself does not tell."""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_left
from collections.abc import Mapping

Place = tuple[str | int, ...]
"""Keys of tables and indices of arrays, from the outside in."""

_BLANK = re.compile(r"[ \t]*")
_BLANK_LINES = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_KEY = re.compile(r'"(?:[^"\\]|\\.)*"|\'[^\']*\'|[A-Za-z0-9_-]+')
_STRINGS = (
    re.compile(r'"""(?:[^\\]|\\.)*?"""(?:"{0,2})', re.DOTALL),
    re.compile(r"'''.*?'''(?:'{0,2})", re.DOTALL),
    re.compile(r'"(?:[^"\\]|\\.)*"'),
    re.compile(r"'[^']*'"),
)
_SCALAR = re.compile(r"[^,\]}\n#]*")


def places_in(text: str) -> Mapping[Place, int]:
    """The 1-based line of every key, table and item of an array.

    Args:
        text: TOML that tomllib has read: what is no TOML is not told from what is.
    """
    return _Scanner(text).scan()


def line_of(places: Mapping[Place, int], place: Place) -> int | None:
    """The line of a place, or of the innermost thing around it that has one."""
    for depth in range(len(place), 0, -1):
        if place[:depth] in places:
            return places[place[:depth]]
    return None


class _Scanner:
    """Where it is in the text, and what it has seen."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._ends = [found.start() for found in re.finditer("\n", text)]
        self._places: dict[Place, int] = {}
        self._last: dict[Place, int] = {}
        """Of each array of tables, the index of its last table so far."""

    def scan(self) -> Mapping[Place, int]:
        table: Place = ()
        while self._skip(_BLANK_LINES) < len(self._text):
            if self._text.startswith("[", self._at):
                table = self._header()
            else:
                self._pair(table)
        return self._places

    def _header(self) -> Place:
        """[table] or [[table of an array]]."""
        line, brackets = self._line(), 2 if self._text.startswith("[[", self._at) else 1
        self._at += brackets
        *around, name = self._key()
        self._skip(_BLANK)
        self._at += brackets
        table: Place = ()
        for part in around:
            table = self._inside((*table, part), line)
        table = (*table, name)
        if brackets == 1:
            return self._inside(table, line)
        self._last[table] = self._last.get(table, -1) + 1
        return self._inside(table, line)

    def _inside(self, table: Place, line: int) -> Place:
        """The table itself; of an array of tables, the last."""
        self._places.setdefault(table, line)
        if table in self._last:
            table = (*table, self._last[table])
            self._places.setdefault(table, line)
        return table

    def _pair(self, table: Place) -> None:
        line, place = self._line(), table
        for part in self._key():
            place = (*place, part)
            self._places.setdefault(place, line)
        self._skip(_BLANK)
        self._at += len("=")
        self._skip(_BLANK)
        self._value(place)

    def _key(self) -> list[str]:
        parts: list[str] = []
        while True:
            self._skip(_BLANK)
            begin = self._at
            spelled = self._text[begin : self._skip(_KEY)]
            parts.append(spelled if _BARE_KEY.fullmatch(spelled) else tomllib.loads(f"key = {spelled}")["key"])
            self._skip(_BLANK)
            if not self._text.startswith(".", self._at):
                return parts
            self._at += len(".")

    def _value(self, place: Place) -> None:
        if self._text.startswith("[", self._at):
            self._several(place, "]")
        elif self._text.startswith("{", self._at):
            self._several(place, "}")
        else:
            string = next((found for kind in _STRINGS if (found := kind.match(self._text, self._at))), None)
            self._at = string.end() if string else self._skip(_SCALAR)

    def _several(self, place: Place, closing: str) -> None:
        """The items of an array, or the pairs of an inline table."""
        self._at += 1
        index = 0
        while not self._text.startswith(closing, self._skip(_BLANK_LINES)):
            if closing == "}":
                self._pair(place)
            else:
                self._places[*place, index] = self._line()
                self._value((*place, index))
                index += 1
            self._skip(_BLANK_LINES)
            if self._text.startswith(",", self._at):
                self._at += len(",")
        self._at += len(closing)

    def _skip(self, kind: re.Pattern[str]) -> int:
        found = kind.match(self._text, self._at)
        if found is not None:
            self._at = found.end()
        return self._at

    def _line(self) -> int:
        return bisect_left(self._ends, self._at) + 1
