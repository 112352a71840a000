"""What every status that a subscriber may answer means."""

from __future__ import annotations

import pytest

from schemas.errors import Halt, Reject, RetryLater
from sinks.forward_answer import Answer, failure_of

SINK = {300, 301, 302, 303, 304, 307, 308, 401, 403, 404, 405, 407, 429, 503}
ENTITY = {408, 425, 500, 501, 502, 504, 520, 599, 600, 999}
REJECTED = {400, 402, 406, 409, 411, 413, 414, 415, 421, 422, 426, 451, 499}


@pytest.mark.parametrize("status", [200, 201, 202, 204, 206, 299])
def test_success_is_delivered(status: int) -> None:
    assert failure_of(Answer(status=status, excerpt="whatever")) is None


@pytest.mark.parametrize("status", sorted(SINK | ENTITY))
def test_what_may_pass_is_tried_again_after_what_was_asked_for(status: int) -> None:
    found = failure_of(Answer(status=status, retry_after_s=9.0))
    assert isinstance(found, RetryLater)
    assert (found.after_s, found.lasting) == (9.0, False)
    assert found.scope == ("sink" if status in SINK else "entity")
    assert f"HTTP {status}" in str(found)


@pytest.mark.parametrize("status", sorted(REJECTED))
def test_what_the_subscriber_will_not_have_is_rejected(status: int) -> None:
    found = failure_of(Answer(status=status, retry_after_s=9.0, excerpt="no"))
    assert isinstance(found, Reject)
    assert str(found) == f"HTTP {status}: no"


def test_gone_halts() -> None:
    assert isinstance(failure_of(Answer(status=410)), Halt)
