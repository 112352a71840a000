"""Reads a TOML file into frozen dataclasses, and says which key on which line is wrong."""

from __future__ import annotations

import math
import os
import re
import tomllib
import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeVar, Union, get_args, get_origin, get_type_hints

from schemas.errors import SettingsError
from schemas.suggestion import did_you_mean

T = TypeVar("T")
KeyPath = tuple[str, ...]


class Secret:
    """A value that prints as stars. In TOML: `{ file = "path" }` or `{ env = "NAME" }`, never the value itself."""

    __slots__ = ("_value", "file")

    def __init__(self, value: str, *, file: Path | None = None) -> None:
        self._value = value
        self.file = file
        """Where it was read from; None for an environment variable. Two secrets are equal wherever they came from."""

    def reveal(self) -> str:
        """The secret itself; call it where it is used and keep no copy."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(***)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)


def read_toml(path: Path, cls: type[T]) -> T:
    """Read `path` into `cls`; relative paths in it are relative to its folder.

    Raises:
        SettingsError: the file cannot be read, is not TOML, or a key is unknown, missing or of the wrong type.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path}: not UTF-8: {error}") from error
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path}: not valid TOML: {error}") from error
    return _Reader(path, text).build(cls, data, ())


class _Reader:
    """One file being read: knows its folder and where its keys stand."""

    def __init__(self, path: Path, text: str) -> None:
        self._path = path
        self._lines = text.splitlines()

    def build(self, cls: type[T], data: Mapping[str, Any], at: KeyPath) -> T:
        """An instance of the dataclass `cls` from one TOML table."""
        known = {item.name: item for item in fields(cls)}  # type: ignore[arg-type]
        hints = get_type_hints(cls)
        for name in data:
            if name not in known:
                self.fail((*at, name), f"unknown key; {did_you_mean(name, known, 'known here')}")
        values: dict[str, Any] = {}
        for name, item in known.items():
            if name in data:
                values[name] = self._value(hints[name], data[name], (*at, name))
            elif item.default is MISSING and item.default_factory is MISSING:
                self.fail((*at, name), "missing key")
        try:
            return cls(**values)
        except ValueError as error:
            self.fail(at, str(error), error)

    def _value(self, hint: Any, value: Any, at: KeyPath) -> Any:
        origin, args = get_origin(hint), get_args(hint)
        if origin in (Union, types.UnionType):
            (hint,) = (arg for arg in args if arg is not type(None))
            result = self._value(hint, value, at)
        elif origin is Literal:
            result = value if value in args else self.fail(at, f"must be one of {', '.join(map(repr, args))}")
        elif origin is tuple:
            result = tuple(self._value(args[0], item, at) for item in self._expect(list, value, at))
        elif origin is not None:
            table = self._expect(dict, value, at)
            result = {name: self._value(args[1], item, (*at, name)) for name, item in table.items()}
        elif is_dataclass(hint):
            result = self.build(hint, self._expect(dict, value, at), at)  # type: ignore[arg-type]
        elif hint is Secret:
            result = self._secret(value, at)
        elif hint is Path:
            result = self._path.parent / Path(self._expect(str, value, at)).expanduser()
        elif hint is float and type(value) in (int, float):
            result = float(value) if math.isfinite(value) else self.fail(at, f"expected a number, found {value}")
        else:
            result = self._expect(hint, value, at)
        return result

    def _secret(self, value: Any, at: KeyPath) -> Secret:
        path: Path | None = None
        match value:
            case {"file": str(name), **rest} if not rest:
                path = self._path.parent / Path(name).expanduser()
                try:
                    text = path.read_text(encoding="utf-8")
                except OSError as error:
                    self.fail(at, f"secret file {path} cannot be read: {error.strerror}", error)
                except UnicodeDecodeError as error:
                    self.fail(at, f"secret file {path} is not UTF-8", error)
            case {"env": str(name), **rest} if not rest:
                if name not in os.environ:
                    self.fail(at, f"environment variable {name} is not set")
                text = os.environ[name]
            case _:
                self.fail(at, 'a secret is named as { file = "path" } or { env = "NAME" }, never written here')
        return Secret(text.strip(), file=path)

    def _expect(self, kind: type, value: Any, at: KeyPath) -> Any:
        # bool is an int to Python, not to a person who wrote `port = true`.
        if type(value) is not kind:
            self.fail(at, f"expected {_TOML_NAMES.get(kind, kind.__name__)}, found {value!r}")
        return value

    def fail(self, at: KeyPath, reason: str, cause: Exception | None = None) -> NoReturn:
        """Raise a SettingsError that names the file, the line nearest to the key, and the key."""
        line = find_line(self._lines, at)
        where = f"{self._path}:{line}" if line else str(self._path)
        raise SettingsError(f"{where}: {'.'.join(at)}: {reason}" if at else f"{where}: {reason}") from cause


_TOML_NAMES = {
    dict: "a table",
    list: "an array",
    str: "a string",
    int: "an integer",
    float: "a number",
    bool: "true or false",
}


def find_line(lines: list[str], at: KeyPath) -> int | None:
    """1-based line of the key `at`, or of the innermost table around it, or None."""
    for depth in range(len(at), 0, -1):
        table, key = at[: depth - 1], at[depth - 1]
        current: KeyPath = ()
        for number, line in enumerate(lines, start=1):
            if header := re.match(r"\s*\[+\s*([^\]]+?)\s*\]+", line):
                current = tuple(part.strip().strip("\"'") for part in header[1].split("."))
                if current == at[:depth]:
                    return number
            elif current == table and re.match(rf"\s*[\"']?{re.escape(key)}[\"']?\s*[=.]", line):
                return number
    return None
