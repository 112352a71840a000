"""Records of servicetrade.commands as arrivals, and outcomes as records of servicetrade.results."""

from __future__ import annotations

from dataclasses import replace

import pytest

from schemas.command import Command, CommandResult, decode_result
from schemas.encoding import encode
from schemas.errors import Reject
from schemas.record import LogRecord
from schemas.topics import COMMANDS, REDRIVE_TO_HEADER, RESULTS
from sinks.arrival import Arrival
from sinks.command_result import result_of
from sinks.commands_feed import CommandsFeed
from sinks.feed import Feed
from tests.sinks.command_world import a_command

COMMAND = a_command("PUT")
RECORD = LogRecord(topic=COMMANDS.name, offset=3, timestamp=1_000, key=b"acme", value=encode(COMMAND))


def read(record: LogRecord) -> Arrival[Command]:
    arrival = CommandsFeed().read(record, "command")
    assert arrival is not None
    return arrival


def test_a_record_is_a_command_in_the_lane_of_its_entity() -> None:
    feed: Feed[Command, CommandResult] = CommandsFeed()
    assert (feed.topic, feed.outcomes) == (COMMANDS, RESULTS)
    arrival = read(RECORD)
    assert (arrival.item, arrival.account, arrival.key, arrival.again) == (COMMAND, "acme", "acme/job/7", False)
    assert read(replace(RECORD, value=encode(a_command("POST")))).key == "acme/job"


def test_a_redriven_record_is_for_its_sink_alone() -> None:
    assert read(replace(RECORD, headers=((REDRIVE_TO_HEADER, b"command"),))).again
    assert CommandsFeed().read(replace(RECORD, headers=((REDRIVE_TO_HEADER, b"mirror"),)), "command") is None


@pytest.mark.parametrize(
    "record", [replace(RECORD, value=None), replace(RECORD, value=b"{}"), replace(RECORD, key=b"bolt")]
)
def test_what_is_no_command_of_the_account_in_its_key_is_refused(record: LogRecord) -> None:
    with pytest.raises(ValueError, match=r".+"):
        CommandsFeed().read(record, "command")


def test_the_result_is_told_as_it_was_recorded() -> None:
    arrival = read(RECORD)
    result = result_of(COMMAND, "uncertain", status=500, messages=("ü",), attempts=2, latency_ms=17)
    told = CommandsFeed().tell(arrival, result, sink="command", now_ms=1_500)
    assert (decode_result(told.value), told.outcome, told.latency_ms) == (result, "uncertain", 500)
    assert CommandsFeed().tell(arrival, result, sink="command", now_ms=900).latency_ms == 0


def test_who_waits_for_a_command_that_is_rejected_is_told_that_it_failed() -> None:
    arrival = read(RECORD)
    told = CommandsFeed().tell_rejected(arrival, Reject("no such account"), sink="command", now_ms=1_250)
    result = decode_result(told.value)
    assert (result.command_id, result.outcome, result.messages) == ("c1", "failed", ("no such account",))
    assert (result.attempts, result.latency_ms, result.entity_id) == (0, 250, "7")
    assert (told.outcome, told.latency_ms) == ("dead-lettered", 250)
