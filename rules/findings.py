"""Pure: what is wrong, or looks wrong, in a rules file: its line, its key, the reason and a suggestion."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from rules.toml_places import Place, line_of
from schemas.suggestion import did_you_mean

_NAMES = {dict: "a table", list: "an array", str: "a string", int: "an integer", bool: "true or false"}

_LARGEST_SHOWN = 10**30


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong (error) or looks wrong (warning)."""

    severity: Literal["error", "warning"]
    line: int | None
    key: str
    """Dotted, as in accounts.acme.quiet_s; empty where it is about the file."""
    reason: str
    suggestion: str = ""

    def __str__(self) -> str:
        return (f"{self.key}: " if self.key else "") + "; ".join(
            part for part in (self.reason, self.suggestion) if part
        )


@dataclass(slots=True)
class Findings:
    """Collects findings; `places` tells at which line a key stands."""

    places: Mapping[Place, int] = field(default_factory=dict)
    found: list[Finding] = field(default_factory=list)

    def error(self, place: Place, reason: str, suggestion: str = "") -> None:
        """Note something for which the file is refused."""
        self._add("error", place, reason, suggestion)

    def warning(self, place: Place, reason: str, suggestion: str = "") -> None:
        """Note something that may not be what was meant."""
        self._add("warning", place, reason, suggestion)

    def is_a(self, kind: type, value: Any, place: Place, *, like: str = "") -> bool:
        """Whether the value is of exactly that type; notes an error if not."""
        # bool is an int to Python, not to a person who wrote `id = true`.
        if type(value) is kind:
            return True
        self.error(place, f"expected {_NAMES[kind]}, found {shown(value)}", f"write it like {like}" if like else "")
        return False

    def table(self, data: Any, known: Iterable[str], place: Place) -> dict[str, Any]:
        """What a table says, without keys that nobody knows: of those an error is noted."""
        if not self.is_a(dict, data, place):
            return {}
        names = list(known)
        for name in data:
            if name not in names:
                self.error((*place, name), "unknown key", did_you_mean(name, names, "known here"))
        return {name: value for name, value in data.items() if name in names}

    def array(self, data: Any, place: Place, *, like: str = "") -> list[Any]:
        """The items of an array; none, and an error, if it is something else."""
        return data if self.is_a(list, data, place, like=like) else []

    def _add(self, severity: Literal["error", "warning"], place: Place, reason: str, suggestion: str) -> None:
        key = ""
        for part in place:
            key += f"[{part}]" if isinstance(part, int) else f"{'.' if key else ''}{part}"
        finding = Finding(
            severity=severity, line=line_of(self.places, place), key=key, reason=reason, suggestion=suggestion
        )
        if finding not in self.found:
            self.found.append(finding)


def shown(value: Any) -> str:
    """A value as the file spells it, cut where it is long."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        text = f"[{', '.join(map(shown, value))}]"
    elif isinstance(value, int) and abs(value) > _LARGEST_SHOWN:
        text = "a huge integer"  # Python refuses to write those of thousands of digits out
    else:
        text = f'"{value}"' if isinstance(value, str) else "a table" if isinstance(value, dict) else str(value)
    return text if len(text) <= 80 else f"{text[:79]}…"  # noqa: PLR2004 - about a line


def warn_of_type(name: str, place: Place, findings: Findings, types: Mapping[str, bool | None]) -> None:
    """Note a type that nothing documents, or that webhooks are not sent about: both are data, and may be meant."""
    if types and name not in types:
        hint = did_you_mean(name, types) or "[servicetrade.types] of the configuration can make it known"
        findings.warning(place, f"no entity type {name} is documented", hint)
    elif types.get(name) is False:
        findings.warning(place, f"ServiceTrade is not known to send webhooks about the type {name}")
