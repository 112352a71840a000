"""Names and text from outside: what may have been meant, and what a terminal gets to see."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from schemas.encoding import decode, encode
from schemas.printable import printable, printable_json
from schemas.suggestion import did_you_mean


def test_the_known_word_that_is_closest_is_suggested_whatever_the_case() -> None:
    assert did_you_mean("jbo", ["quote", "job"]) == "did you mean job?"
    assert did_you_mean("JOBS", {"job": 1}) == "did you mean job?"
    assert did_you_mean("Acmee", ["Acme", "bolt"]) == "did you mean Acme?"


def test_where_nothing_is_close_all_are_named_if_the_caller_wants_it() -> None:
    assert did_you_mean("zzz", ["job", "quote"], "known") == "known: job, quote"
    assert did_you_mean("zzz", ["job"]) == did_you_mean("zzz", [], "known") == ""


@given(text=st.text())
def test_nothing_that_is_shown_can_do_anything_to_a_terminal(text: str) -> None:
    assert printable(text).isprintable()
    assert printable(text, lines=True).replace("\n", "").isprintable()


@given(value=st.dictionaries(st.text(), st.text()))
def test_json_on_a_terminal_says_the_same_and_does_nothing_to_it(value: dict[str, str]) -> None:
    text = encode(value).decode()
    assert printable_json(text).isprintable()
    assert decode(printable_json(text).encode()) == value


def test_what_is_escaped_is_escaped_as_json_does_it() -> None:
    assert printable_json('"\x9b\u202e\U000e0001a\u00e9"') == '"\\u009b\\u202e\\udb40\\udc01a\u00e9"'
