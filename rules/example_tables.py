"""Pure: reads the examples that stand beside rules: given these notifications, expect these changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from processors.notification import ENTITY_TYPE, MAX_ID, MAX_NAME
from rules.findings import Findings, shown, warn_of_type
from rules.tables import ACTIONS, EXAMPLES, Surroundings
from rules.toml_places import Place
from schemas.change import ClosedBy
from schemas.encoding import decode, encode
from schemas.suggestion import did_you_mean

LONGEST_S = 86_400
"""How long an example may last, by its own time."""
GIVEN_KEYS = ("at", "type", "id", "action", "user", "fields", "message", "happened")
EXPECTED_KEYS = ("type", "id", "action", "fields", "notifications", "closed_by", "due")
LIKE = '{ at = 0.0, type = "job", id = 1, action = "updated" }'


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """One notification, in a webhook of its own."""

    at_ms: int
    """When it is appended, from the beginning of the example."""
    happened_ms: int
    """When it happened, by ServiceTrade's clock."""
    entity_type: str
    entity_id: int
    action: str
    user: int | None = None
    fields: Mapping[str, tuple[Any, Any]] | None = None
    """Old and new values by field; None: a notification that does not say what changed."""
    message: str

    @property
    def entity(self) -> str:
        """`type/id`."""
        return f"{self.entity_type}/{self.entity_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """One change: what is not said may be anything."""

    entity_type: str
    entity_id: int
    said: Mapping[str, Any]
    """action, fields (old and new values by name, or sorted names), notifications, closed_by, due (milliseconds)."""

    @property
    def entity(self) -> str:
        """`type/id`."""
        return f"{self.entity_type}/{self.entity_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """What has to come of some notifications, under the rules of one account."""

    name: str
    account: str
    line: int | None
    given: Sequence[Given]
    expect: Sequence[Expected]


def read_examples(data: Any, findings: Findings, around: Surroundings) -> list[Example]:
    """The examples of a rules file; what is wrong with them is noted, and then they are not to be used."""
    reader = _Reader(findings, around)
    items = findings.array(data, (EXAMPLES,), like="[[examples]]")
    return [reader.example(item, (EXAMPLES, index)) for index, item in enumerate(items)]


class _Reader:
    def __init__(self, findings: Findings, around: Surroundings) -> None:
        self._findings = findings
        self._around = around

    def example(self, data: Any, place: Place) -> Example:
        findings = self._findings
        table = self._table(data, ("name", "account", "given", "expect"), place, needed=("account", "given", "expect"))
        name, account = table.get("name", f"example {place[-1]}"), table.get("account", "")
        name = name if findings.is_a(str, name, (*place, "name")) else ""
        account = account if findings.is_a(str, account, (*place, "account")) else ""
        if account not in self._around.accounts and isinstance(table.get("account"), str):
            hint = did_you_mean(account, self._around.accounts, "configured are")
            findings.error((*place, "account"), f"no account {account or shown('')} in the configuration", hint)
        given: list[Given] = []
        where = (*place, "given")
        for index, item in enumerate(findings.array(table.get("given", []), where, like=f"[{LIKE}]")):
            given.append(self._given(item, (*where, index)))
            if index and given[-1].at_ms < given[-2].at_ms:
                findings.error(
                    (*where, index), "at is before that of the one above", "put them in the order of the log"
                )
        where = (*place, "expect")
        wanted = findings.array(table.get("expect", []), where, like='[{ type = "job", id = 1 }]')
        expect = [self._expected(item, (*where, index)) for index, item in enumerate(wanted)]
        line = findings.places.get(place)
        return Example(name=name, account=account, line=line, given=given, expect=expect)

    def _table(self, data: Any, known: Sequence[str], place: Place, needed: Sequence[str]) -> dict[str, Any]:
        table = self._findings.table(data, known, place)
        if isinstance(data, dict):
            for name in needed:
                if name not in data:
                    hint = "write expect = [] if no change is expected" if name == "expect" else ""
                    self._findings.error(place, f"{name} is missing", hint)
        return table

    def _given(self, data: Any, place: Place) -> Given:
        table = self._table(data, GIVEN_KEYS, place, needed=("at", "type", "id", "action"))
        at_ms = self._time(table.get("at", 0), (*place, "at"))
        user = table.get("user")
        if user is not None and self._findings.is_a(int, user, (*place, "user")) and abs(user) > MAX_ID:
            self._findings.error((*place, "user"), f"{shown(user)} is beyond what an id can be")
        message = table.get("message", f"message {place[1:]}")
        where = (*place, "message")
        if self._findings.is_a(str, message, where) and not 0 < len(message) <= MAX_NAME:
            self._findings.error(where, f"expected 1 to {MAX_NAME} characters")
        fields = table.get("fields")
        return Given(
            at_ms=at_ms,
            happened_ms=self._time(table["happened"], (*place, "happened")) if "happened" in table else at_ms,
            entity_type=self._type(table.get("type", "job"), (*place, "type")),
            entity_id=self._id(table.get("id", 0), (*place, "id")),
            action=self._one_of(table.get("action", "updated"), ACTIONS, (*place, "action")),
            user=user,
            fields=None if fields is None else self._values(fields, (*place, "fields")),
            message=message if isinstance(message, str) else "",
        )

    def _expected(self, data: Any, place: Place) -> Expected:
        table = self._table(data, EXPECTED_KEYS, place, needed=("type", "id"))
        said: dict[str, Any] = {}
        if "action" in table:
            said["action"] = self._one_of(table["action"], ACTIONS, (*place, "action"))
        if "fields" in table:
            said["fields"] = self._names_or_values(table["fields"], (*place, "fields"))
        if "notifications" in table:
            said["notifications"] = self._count(table["notifications"], (*place, "notifications"))
        if "closed_by" in table:
            # No instant of an example is a cut, and no clock of it is set back.
            known = [name for name in get_args(ClosedBy) if name in ("quiet", "ceiling")]
            said["closed_by"] = self._one_of(table["closed_by"], known, (*place, "closed_by"))
        if "due" in table:
            said["due"] = self._time(table["due"], (*place, "due"))
        return Expected(
            entity_type=self._type(table.get("type", "job"), (*place, "type")),
            entity_id=self._id(table.get("id", 0), (*place, "id")),
            said=said,
        )

    # -- single keys ---------------------------------------------------------------------------------------------------

    def _time(self, value: Any, place: Place) -> int:
        """Milliseconds."""
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= LONGEST_S:
            self._findings.error(
                place, f"expected seconds, from 0 to {LONGEST_S}, found {shown(value)}", "write it like 0.5"
            )
            return 0
        return round(value * 1000)

    def _type(self, value: Any, place: Place) -> str:
        if not self._findings.is_a(str, value, place):
            return ""
        name: str = value.lower()
        if ENTITY_TYPE.fullmatch(name):
            warn_of_type(name, place, self._findings, self._around.types)
        else:
            self._findings.error(place, f"{shown(value)} is no entity type")
        return name

    def _id(self, value: Any, place: Place) -> int:
        if not self._findings.is_a(int, value, place):
            return 0
        entity_id: int = value
        if not 0 <= entity_id <= MAX_ID:
            self._findings.error(place, f"{shown(entity_id)} is no id")
        return entity_id

    def _count(self, value: Any, place: Place) -> int:
        if not self._findings.is_a(int, value, place):
            return 0
        count: int = value
        if not 0 < count <= MAX_ID:
            self._findings.error(place, f"no change is made of {shown(count)} notifications")
        return count

    def _one_of(self, value: Any, known: Sequence[str], place: Place) -> str:
        if isinstance(value, str) and value in known:
            return value
        word = shown(value).strip('"')
        self._findings.error(place, f"{shown(value)} is not known", did_you_mean(word, known, "there are"))
        return ""

    def _names_or_values(self, value: Any, place: Place) -> list[str] | Mapping[str, tuple[Any, Any]]:
        if not isinstance(value, list):
            return self._values(value, place)
        return sorted({item for index, item in enumerate(value) if self._findings.is_a(str, item, (*place, index))})

    def _values(self, value: Any, place: Place) -> Mapping[str, tuple[Any, Any]]:
        like = '{ status = ["old", "new"] }'
        if not self._findings.is_a(dict, value, place, like=like):
            return {}
        found: dict[str, tuple[Any, Any]] = {}
        for name, pair in value.items():
            if not isinstance(pair, list) or len(pair) != len(("old", "new")):
                self._findings.error((*place, name), "expected the old and the new value", f"write it like {like}")
                continue
            try:
                # As a webhook carries them: a date is a string there.
                found[name] = (decode(encode(pair[0])), decode(encode(pair[1])))
            except (TypeError, ValueError) as error:
                self._findings.error((*place, name), f"a webhook could not carry that: {error}")
        return found
