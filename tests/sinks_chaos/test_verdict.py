"""The verdict can fail: each kind of fault, planted into what a good run leaves behind, is told and counted."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from tests.sinks_chaos.ledger import Entity, Entry, Fate, Ledger, Original, Place, expected_rows
from tests.sinks_chaos.signing import TOLERANCE_S, fault_of
from tests.sinks_chaos.verdict import (
    Letter,
    Request,
    Row,
    judge_held,
    judge_letters,
    judge_logins,
    judge_rows,
    judge_subscriber,
)

JOB: Entity = ("acme", "job", "7")
QUOTE: Entity = ("acme", "quote", "8")
GONE: Entity = ("acme", "contact", "9")
NOTE: Entity = ("acme", "dispatchnote", "1")
NO_JOB: Entity = ("acme", "job", "0")
SHOWN: dict[Entity, dict[str, Any]] = {JOB: {"id": 7, "note": "edit 2"}, QUOTE: {"id": 8}}


def entry(number: int, entity: Entity, fate: Fate = "good") -> Entry:
    return Entry(
        change_id=f"c{number}",
        sequence=f"0001-{number:016d}-00000000",
        entity=entity,
        action="updated",
        fate=fate,
        place=("changes", 0, number),
    )


ENTRIES = [
    entry(1, JOB),
    entry(2, QUOTE),
    entry(3, JOB),
    entry(4, GONE),
    entry(5, NOTE, "pathless"),
    entry(6, NO_JOB, "impossible"),
    entry(7, JOB),
]
GARBAGE: dict[Place, Original] = {("changes", 0, 10): (None, b"{"), ("changes", 1, 0): (b"acme/job/7", b"")}
LEDGER = Ledger(entries=ENTRIES, garbage=GARBAGE, originals={("changes", 0, 6): (b"acme/job/0", b"...")})
EXPECTED = expected_rows(LEDGER, lambda entity: SHOWN.get(entity))  # noqa: PLW0108 - `get` itself is overloaded
ROWS = {JOB: Row(data=SHOWN[JOB], deleted=False), QUOTE: Row(data={"id": 8}, deleted=False)} | {
    GONE: Row(data={"id": 9}, deleted=True)
}


def test_rows_that_equal_servicetrade_are_good_and_what_has_no_path_needs_none() -> None:
    assert {JOB: SHOWN[JOB], QUOTE: SHOWN[QUOTE], GONE: None} == EXPECTED
    assert judge_rows(EXPECTED, ROWS).good
    assert judge_rows(EXPECTED, {**ROWS, GONE: Row(data=None, deleted=True)}).good
    assert judge_rows(EXPECTED, {**ROWS, NO_JOB: Row(data=None, deleted=False)}).good


@pytest.mark.parametrize(
    ("entity", "row", "kind"),
    [
        (JOB, None, "row missing"),
        (JOB, Row(data=None, deleted=False), "row missing"),
        (JOB, Row(data={"id": 7, "note": "edit 1"}, deleted=False), "row wrong"),
        (JOB, Row(data={**SHOWN[JOB], "more": 1}, deleted=False), "row wrong"),
        (JOB, Row(data="text", deleted=False), "row wrong"),
        (JOB, Row(data=SHOWN[JOB], deleted=True), "row marked"),
        (GONE, Row(data={"id": 9}, deleted=False), "row not marked"),
        (GONE, None, "row missing"),
        (NOTE, Row(data={"id": 1}, deleted=False), "row of nothing"),
    ],
)
def test_a_row_that_is_not_what_servicetrade_shows_is_found(entity: Entity, row: Row | None, kind: str) -> None:
    rows = {name: found for name, found in ROWS.items() if name != entity}
    if row is not None:
        rows[entity] = row
    assert judge_rows(EXPECTED, rows).counts == {kind: 1}


def request(number: int, *, accepted: bool = True, body: bytes | None = None, fault: str | None = None) -> Request:
    return Request(change_id=f"c{number}", body=body or b"%d" % number, accepted=accepted, fault=fault)


def requests(*numbers: int) -> list[Request]:
    return [request(number) for number in numbers]


@pytest.mark.parametrize(
    "got",
    [
        requests(1, 2, 3, 4, 5, 6, 7),
        requests(5, 2, 6, 4, 1, 3, 7),
        requests(1, 2, 1, 3, 1, 3, 4, 5, 6, 7, 1, 3),
        [request(1, accepted=False), *requests(2, 1, 3, 4, 5, 6), request(7, accepted=False), request(7)],
    ],
    ids=["in order", "other entities in between", "repeats", "refused and sent again"],
)
def test_every_change_at_least_once_and_in_order_per_entity_is_good(got: Sequence[Request]) -> None:
    assert judge_subscriber("all", ENTRIES, got).good


@pytest.mark.parametrize(
    ("got", "kinds"),
    [
        (requests(1, 2, 3, 4, 5, 6), {"missing": 1}),
        ([*requests(1, 2, 3, 4, 5, 6), request(7, accepted=False)], {"missing": 1}),
        (requests(1, 2, 7, 4, 5, 6, 3), {"disorder": 1}),
        (requests(7, 2, 3, 4, 5, 6, 1), {"disorder": 2}),
        ([request(1), request(3, accepted=False), *requests(7, 3, 2, 4, 5, 6)], {"disorder": 1}),
        ([request(3, accepted=False), *requests(1, 3, 7, 2, 4, 5, 6)], {"disorder": 1}),
        ([*requests(1, 2, 3, 4, 5, 6, 7), request(1, body=b"another")], {"body": 1}),
        ([*requests(1, 2, 3, 4, 5, 6), request(7, fault="not signed")], {"signature": 1}),
        (requests(1, 2, 3, 4, 5, 6, 7, 99), {"unwanted": 1}),
    ],
    ids=[
        "lost",
        "never accepted",
        "swapped",
        "far too late",
        "overtaken while refused",
        "tried too early",
        "another body",
        "badly signed",
        "never asked for",
    ],
)
def test_what_a_subscriber_should_not_have_seen_is_found(got: Sequence[Request], kinds: Mapping[str, int]) -> None:
    assert judge_subscriber("all", ENTRIES, got).counts == kinds


def test_a_subscriber_to_some_types_wants_only_those() -> None:
    wanted = LEDGER.wanted_by(("quote", "dispatchnote"))
    assert [one.change_id for one in wanted] == ["c2", "c5"]
    assert judge_subscriber("some", wanted, requests(5, 2)).good
    assert judge_subscriber("some", wanted, requests(2, 5, 7)).counts == {"unwanted": 1}


def letter(stage: str, place: Place, original: Original) -> Letter:
    return Letter(stage=stage, place=place, original=original)


WANTED = LEDGER.dead_letters(["all"])
LETTERS = [letter(stage, place, original) for stage, places in WANTED.items() for place, original in places.items()]


def test_dead_letters_are_garbage_at_every_sink_and_what_cannot_be_read_at_the_mirror() -> None:
    assert {stage: len(places) for stage, places in WANTED.items()} == {"mirror": 3, "forward/all": 2}
    assert judge_letters(WANTED, [*LETTERS, LETTERS[0]], {}).good


def test_a_dead_subscriber_may_have_the_garbage_for_dead_letters_and_nothing_else() -> None:
    allowed = {"forward/dead": GARBAGE.keys()}
    for place, original in GARBAGE.items():
        assert judge_letters(WANTED, [*LETTERS, letter("forward/dead", place, original)], allowed).good
    more = letter("forward/dead", ENTRIES[0].place, (b"", b""))
    assert judge_letters(WANTED, [*LETTERS, more], allowed).counts == {"dead letter of nothing": 1}


@pytest.mark.parametrize("gone", range(len(LETTERS)))
def test_a_missing_dead_letter_is_found(gone: int) -> None:
    found = judge_letters(WANTED, LETTERS[:gone] + LETTERS[gone + 1 :], {})
    assert found.counts == {"dead letter missing": 1}


def test_a_dead_letter_too_many_and_an_altered_one_are_found() -> None:
    good = letter("mirror", ENTRIES[0].place, (b"acme/job/7", b"..."))
    assert judge_letters(WANTED, [*LETTERS, good], {}).counts == {"dead letter of nothing": 1}
    altered = [*LETTERS[1:], replace(LETTERS[0], original=(LETTERS[0].original[0], b"cut"))]
    assert judge_letters(WANTED, altered, {}).counts == {"dead letter altered": 1}


def test_logins_above_the_budget_are_found_by_account_and_in_all() -> None:
    budget = {"a": 1, "b": 2}
    assert judge_logins({"a": 2, "b": 2}, budget, 1).good
    assert judge_logins({"a": 3, "b": 0}, budget, 1).counts == {"logins": 1}
    assert judge_logins({"a": 2, "b": 3}, budget, 1).counts == {"logins": 1}


def test_an_offset_that_has_passed_what_a_dead_subscriber_wants_is_found() -> None:
    assert judge_held("dead", ENTRIES, {}).good
    assert judge_held("dead", ENTRIES, {("changes", 0): 1, ("changes", 1): 50}).good
    assert judge_held("dead", ENTRIES, {("changes", 0): 3}).counts == {"lost": 2}


KEYS = [b"k" * 24, b"another key of 32 bytes or so..."]
SECRETS = ["whsec_" + base64.b64encode(key).decode() for key in KEYS]
BODY = b'{"id": "c1"}'


def signed(*keys: bytes, body: bytes = BODY, at: str = "1700000000") -> dict[str, str]:
    text = b"c1." + at.encode() + b"." + body
    parts = [base64.b64encode(hmac.new(key, text, hashlib.sha256).digest()).decode() for key in keys]
    return {
        "webhook-id": "c1",
        "webhook-timestamp": at,
        "webhook-signature": " ".join(f"v1,{part}" for part in parts),
    }


def test_a_signature_with_every_live_secret_is_good() -> None:
    assert fault_of(SECRETS[:1], signed(KEYS[0]), BODY, 1_700_000_000.5) is None
    assert fault_of(SECRETS, signed(*reversed(KEYS)), BODY, 1_700_000_000.5) is None


def test_the_example_of_the_standard_is_signed_rightly() -> None:
    """From https://github.com/standard-webhooks/standard-webhooks: the libraries' own test vector."""
    headers = {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    assert fault_of([secret], headers, b'{"test": 2432232314}', 1_614_265_330) is None


@pytest.mark.parametrize(
    ("headers", "body", "now"),
    [
        (signed(KEYS[1]), BODY, 1_700_000_000),
        (signed(KEYS[0], body=b"{}"), BODY, 1_700_000_000),
        (signed(KEYS[0]), BODY + b" ", 1_700_000_000),
        (signed(KEYS[0]), BODY, 1_700_000_001 + TOLERANCE_S),
        (signed(KEYS[0], at="soon"), BODY, 1_700_000_000),
        ({**signed(KEYS[0]), "webhook-id": "c2"}, BODY, 1_700_000_000),
        ({**signed(KEYS[0]), "webhook-signature": "v1,"}, BODY, 1_700_000_000),
        ({"webhook-id": "c1"}, BODY, 1_700_000_000),
    ],
)
def test_a_bad_signature_is_found(headers: dict[str, Any], body: bytes, now: float) -> None:
    assert fault_of(SECRETS[:1], headers, body, now) is not None


def test_during_a_rotation_both_secrets_have_to_sign() -> None:
    assert fault_of(SECRETS, signed(KEYS[1]), BODY, 1_700_000_000) == "secret 0 has not signed it"
