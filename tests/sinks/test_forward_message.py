"""The format of Standard Webhooks 1.0."""

from __future__ import annotations

from base64 import b64decode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.change import cloud_event_headers
from schemas.encoding import decode, encode
from sinks.forward_message import body_of, signed_headers
from tests.sinks.making import change
from tests.sinks.signatures import hmac_sha256


def test_the_published_example_has_the_published_signature() -> None:
    """From the test suites of the specification's reference libraries."""
    key = b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    body = b'{"test": 2432232314}'
    assert signed_headers("msg_p5jXN8AQM9LWM0D4loKWxJek", body, [key], now_s=1614265330) == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


@given(st.binary(min_size=24, max_size=64), st.binary(), st.integers(0, 2**40))
def test_a_signature_is_the_hmac_of_id_time_and_body(key: bytes, body: bytes, now_s: int) -> None:
    kind, _, text = signed_headers("abc", body, [key], now_s=now_s)["webhook-signature"].partition(",")
    assert (kind, b64decode(text)) == ("v1", hmac_sha256(key, f"abc.{now_s}.".encode() + body))


def test_every_key_signs_in_order() -> None:
    both, first, second = (
        signed_headers("a", b"b", keys, now_s=1)["webhook-signature"] for keys in ([b"1", b"2"], [b"1"], [b"2"])
    )
    assert both == f"{first} {second}"


@pytest.mark.parametrize("last_at", [0, 1_700_000_000, 2**62])
def test_the_time_is_that_of_the_cloud_event(last_at: int) -> None:
    one = change(1)
    one.last_at = last_at
    body = decode(body_of(one, encode(one)))
    assert body["timestamp"].encode() == dict(cloud_event_headers(one))["ce_time"]


def test_a_type_that_holds_quotes_makes_no_other_body() -> None:
    one = change(1, entity_type='a","data":"b')
    assert decode(body_of(one, encode(one))) == {
        "type": 'a","data":"b.updated',
        "timestamp": "2023-11-14T22:13:21Z",
        "data": decode(encode(one)),
    }
