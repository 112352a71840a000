"""JSON logs on stdout, one object a line, and the one list of the events that the product logs."""

from __future__ import annotations

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import Any, Literal

Event = Literal[
    "process.started",  # once per process; often: it keeps dying, look for process.crashed
    "process.stopping",  # SIGTERM or SIGINT was received; the process drains
    "process.stopped",
    "broker.refused",  # the brokers answer ingest, but not with this configuration; it spools, and asks again
    "broker.unreachable",  # no Kafka broker can be reached; the process waits for one before it begins
    "process.refused",  # the configuration is refused, in a sentence; exit code 2
    "process.crashed",  # with the traceback; the supervisor restarts it
    "ingest.request",  # one request, if ingest.access_log is on
    "ingest.unknown_url",  # a 404: somebody guesses, or a hook points to a secret that is retired
    "ingest.limited",  # a limit refused a request: a body above body_limit_bytes (413) is lost, others come again
    "ingest.fault",  # a fault of ingest itself, with the traceback; the request was answered 503
    "ingest.refused",  # a webhook was answered 503: neither Kafka nor the spool took it in time; ServiceTrade retries
    "ingest.spooling",  # Kafka does not acknowledge in time: a partition's webhooks go to the spool
    "ingest.append_failed",  # Kafka refused a batch, or the spool could not be read; tried again after a pause
    "ingest.drained",  # the spool of a partition is empty: its webhooks go straight to Kafka again
    "ingest.spool_failed",  # the spool's disk is full or fails: webhooks are refused while Kafka is away
    "ingest.parked",  # Kafka refuses a webhook for what it is; it stays in the spool, and a person has to look
    "ingest.secrets_changed",  # webhook secrets were read again without a restart
    "ingest.secrets_unreadable",  # the configuration cannot be read again: the old secrets stay in force
    "processors.restored",  # a partition's state was rebuilt from the log
    "processors.assigned",  # after every rebalance; restoring what is not in memory begins
    "processors.revoked",  # a rebalance begins: batches wait until it is over
    "processors.not_drained",  # what was on its way at the end will stand in the topics twice
    "processors.commit_refused",  # the group moved on while a batch was worked on; another worker repeats it
    "processors.quarantined",  # a webhook, or elements of it, could not be read and went to the dead letters
    "processors.rules_applied",  # an account's rules changed from this position on
    "sink.retry",  # a delivery failed and will be tried again
    "sink.rejected",  # a delivery can never succeed and went to the dead letters
    "sink.parked",  # an account, or one entity, is in trouble and was put aside; it is tried again by itself
    "sink.unparked",  # all that was put aside has been delivered
    "sink.halted",  # the sink delivers nothing until a person has looked at it: tradewind sink resume NAME
    "sink.resumed",
    "sink.lag_unknown",  # Kafka does not tell, or refuses, what the lag is measured by; the metrics stay as they were
    "store.migrated",  # the store's tables were made, or brought to this version's schema
    "custom.failed",  # a custom sink's own function raised what it should not, with the traceback; it is tried again
    "command.uncertain",  # nobody can tell whether a command was performed: a person has to look
    "command.overtaken",  # two workers had one command in hand; if its step is not `intended`, look for two effects
    "session.dead",  # ServiceTrade says that the shared session is dead, so a login follows
    "session.login",  # a new shared session was made; often: something kills sessions
    "session.login_failed",  # with the reason, and how long no worker tries again; only this account waits
    "session.surplus",  # a login was overtaken by another worker's; its session was ended, the other one is used
    "session.refused",  # ServiceTrade refused the credentials: the account stands still until they change
]

_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName", "data", "stack"}


class JsonFormatter(logging.Formatter):
    """Renders a record as one JSON object: time, level, logger, event, and the event's own fields."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line."""
        entry: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "process": self._process,
            "logger": record.name,
            "event": record.getMessage(),
        }
        entry |= {name: value for name, value in record.__dict__.items() if name not in _STANDARD}
        if record.exc_info and record.exc_info[1]:
            entry["error"] = repr(record.exc_info[1])
            entry["traceback"] = "".join(traceback.format_exception(*record.exc_info))
        return json.dumps(entry, default=str)


class _AtMostOncePer(logging.Filter):
    """Passes a library's message once per interval: while a broker is away its clients say so ten times a second."""

    def __init__(self, interval_s: float) -> None:
        super().__init__()
        self._interval_s = interval_s
        self._passed_at: dict[tuple[str, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to log it."""
        said = (record.name, str(record.msg))
        if record.created - self._passed_at.get(said, 0.0) < self._interval_s:
            return False
        self._passed_at[said] = record.created
        return True


def set_up_logs(process: str, level: str) -> None:
    """Send every logger of this process to stdout as JSON."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter(process))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # These tell each connection attempt and each request at info level; their warnings matter.
    for name in ("aiokafka", "aiosqlite", "alembic", "faust", "mode", "httpx", "httpcore", "uvicorn"):
        logging.getLogger(name).setLevel(logging.WARNING)
    throttle = _AtMostOncePer(5.0)
    # A logger's filter does not hold for its children, so each that repeats itself gets it.
    for name in ("", ".producer.sender", ".consumer.fetcher", ".consumer.group_coordinator", ".conn", ".cluster"):
        logging.getLogger(f"aiokafka{name}").addFilter(throttle)
    logging.captureWarnings(capture=True)


def log_event(
    logger: logging.Logger,
    event: Event,
    *,
    level: int = logging.INFO,
    fault: BaseException | None = None,
    **fields: Any,
) -> None:
    """Log one of the product's events with its fields, and the traceback of a fault of its own."""
    logger.log(level, event, extra=fields, exc_info=fault)
