"""Lines of a TOML text: every key that tomllib reads has one, and it is where the key stands."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from rules.toml_places import Place, line_of, places_in

TRICKY = '''\
# comment = 1
top = 1  # another [not.a.table]
"quoted.key" = "a # no comment [x]"
dotted . inner."x y" = 'literal \\'

text = """
[no.table]
key = "no key" \\""" still ""\"""
raw = \'\'\'
[[neither]]
\'\'\'
when = 1979-05-27 07:32:00
many = [ # why
  1, [2,
  3], { a = 1, b.c = ["]", "}"] }
  , # trailing
]
[ spaced . "table" ]
key = true
[[list]]
a = 1
[list.sub]
b = 2
[[list.deep]]
c = 3
[[list]]
a = 4
[[list.deep]]
c = 5
[[list.deep]]
c = 6
'''


def paths(data: Any, place: Place = ()) -> Iterator[tuple[Place, Any]]:
    if place:
        yield place, data
    if isinstance(data, dict):
        for name, value in data.items():
            yield from paths(value, (*place, name))
    elif isinstance(data, list):
        for index, value in enumerate(data):
            yield from paths(value, (*place, index))


def test_every_key_of_a_tricky_text_has_its_line() -> None:
    places, lines = places_in(TRICKY), TRICKY.split("\n")
    for place, _ in paths(tomllib.loads(TRICKY)):
        assert place in places, place
    assert len(places) == len(list(paths(tomllib.loads(TRICKY))))
    told = {place: lines[line - 1].strip() for place, line in places.items()}
    assert told[("quoted.key",)].startswith('"quoted.key"')
    assert told[("dotted", "inner", "x y")].startswith("dotted")
    assert (told["raw",], told["when",]) == ("raw = '''", "when = 1979-05-27 07:32:00")
    assert told["many", 1, 1] == '3], { a = 1, b.c = ["]", "}"] }'
    assert told["many", 2, "b", "c"] == told["many", 1, 1]
    assert (told["spaced", "table"], told["spaced", "table", "key"]) == ('[ spaced . "table" ]', "key = true")
    assert (told["list", 0, "sub", "b"], told["list", 1, "a"]) == ("b = 2", "a = 4")
    assert (told["list", 0, "deep", 0, "c"], told["list", 1, "deep", 1, "c"]) == ("c = 3", "c = 6")


def test_what_has_no_line_of_its_own_has_that_of_what_is_around_it() -> None:
    places = places_in("\n[a]\nb = 1\n")
    assert line_of(places, ("a", "b", "c", 0)) == 3
    assert line_of(places, ("a", "nothing")) == 2
    assert line_of(places, ("nothing",)) is None
    assert line_of(places, ()) is None


KEYS = st.one_of(st.sampled_from(["a", "b-c", "1"]), st.text(st.characters(codec="utf-8"), max_size=3))
SCALARS = st.one_of(st.integers(-9, 9), st.booleans(), st.text(st.characters(codec="utf-8"), max_size=6))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=3)),
    max_leaves=6,
)
TABLES = st.dictionaries(KEYS, VALUES, max_size=4)


def quoted(text: str) -> str:
    """JSON's escapes are TOML's, but for surrogates, which there are none of, and DEL."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def spelled(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, list):
        return "[ # ]\n" + "".join(f"  {spelled(item)} , # '\n" for item in value) + "]"
    if isinstance(value, dict):
        # Inside an inline table there are no comments and no line ends, so what is in it is written as JSON.
        return "{ " + ", ".join(f"{quoted(name)} = {flat(item)}" for name, item in value.items()) + " }"
    return str(value)


def flat(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(map(flat, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{quoted(name)}={flat(item)}" for name, item in value.items()) + "}"
    return spelled(value)


@given(st.lists(st.tuples(KEYS, TABLES), max_size=4, unique_by=lambda pair: pair[0]), st.lists(TABLES, max_size=3))
def test_every_key_that_tomllib_reads_has_a_line_that_begins_with_it(
    tables: list[tuple[str, dict[str, Any]]], array: list[dict[str, Any]]
) -> None:
    heads = [(f"[{quoted('t' + name)}]", table) for name, table in tables] + [("[[ array ]]", one) for one in array]
    text = "".join(
        f"\n{head}\n" + "".join(f"{quoted(name)} = {spelled(value)}\n" for name, value in table.items())
        for head, table in heads
    )
    places, lines = places_in(text), text.split("\n")
    found = dict(paths(tomllib.loads(text)))
    assert places.keys() == found.keys()
    for place, line in places.items():
        name = place[-1]
        if isinstance(name, str) and place != ("array",):
            assert quoted(name) in lines[line - 1]
        elif isinstance(found[place], bool | int | str):
            assert spelled(found[place]) in lines[line - 1]
