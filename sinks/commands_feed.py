"""Pure: commands as they arrive at the command sink, and the results that tell what came of them."""

from __future__ import annotations

from schemas.command import Command, CommandResult, decode_command
from schemas.encoding import encode
from schemas.errors import Reject
from schemas.record import LogRecord
from schemas.topics import COMMANDS, RESULTS
from sinks.arrival import Arrival, is_redriven, meant_for
from sinks.command_result import result_of
from sinks.feed import Told


class CommandsFeed:
    """`sinks.feed.Feed` of servicetrade.commands."""

    topic = COMMANDS
    outcomes = RESULTS

    def read(self, record: LogRecord, sink: str) -> Arrival[Command] | None:
        """See `sinks.feed.Feed`."""
        if not meant_for(record, sink):
            return None
        command = decode_command(record.value or b"")
        # The order of an account's commands rests on it: the key decides the partition.
        if record.key != command.account.encode():
            raise ValueError(f"not a Command: the record's key is {record.key!r}, the account {command.account!r}")
        again = is_redriven(record)
        return Arrival(record=record, item=command, account=command.account, key=command.key, again=again)

    def tell(self, arrival: Arrival[Command], outcome: CommandResult, *, sink: str, now_ms: int) -> Told:  # noqa: ARG002
        """See `sinks.feed.Feed`; a repeat is told what came of the command before, to the byte."""
        return Told(value=encode(outcome), outcome=outcome.outcome, latency_ms=_latency_ms(arrival, now_ms))

    def tell_rejected(self, arrival: Arrival[Command], error: Reject, *, sink: str, now_ms: int) -> Told:  # noqa: ARG002
        """See `sinks.feed.Feed`; whoever waits for the result is told why there will be no other."""
        latency_ms = _latency_ms(arrival, now_ms)
        result = result_of(arrival.item, "failed", messages=(str(error),), latency_ms=latency_ms)
        return Told(value=encode(result), outcome="dead-lettered", latency_ms=latency_ms)


def _latency_ms(arrival: Arrival[Command], now_ms: int) -> int:
    # Two clocks, the sender's or the broker's and ours, may disagree.
    return max(0, now_ms - arrival.record.timestamp)
