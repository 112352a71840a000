"""Pure: what `tradewind status` knows of the pipeline at one moment; what could not be read is there with a reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

OPEN_WINDOWS = "tradewind_open_windows"
SPOOL_WEBHOOKS = "tradewind_spool_webhooks"
SPOOL_OLDEST_SECONDS = "tradewind_spool_oldest_seconds"
SPOOL_ACCEPTING = "tradewind_spool_accepting"
SPOOL_PARKED = "tradewind_spool_parked"
LEDGER_IMBALANCE = "tradewind_ledger_imbalance"
METRICS = (OPEN_WINDOWS, SPOOL_WEBHOOKS, SPOOL_OLDEST_SECONDS, SPOOL_ACCEPTING, SPOOL_PARKED, LEDGER_IMBALANCE)
"""What is asked of the processes; runtime/metrics.py says what they mean."""

INGEST_NAME = "ingest"
"""What Process.name is for it."""
INGEST = "accepting"
PROCESSORS = "restored"
"""The conditions on /readyz by which these processes are known."""


@dataclass(frozen=True, slots=True)
class Unread:
    """A part that could not be read."""

    unread: str
    """Why, in a sentence for people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CutOff:
    """A partition that ends before what a stage has committed."""

    partition: int
    end: int
    committed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A consumer group of ours: the processors, or a sink."""

    name: str
    """processors, or the sink's name."""
    topic: str
    """What it reads, without the prefix."""
    group: str
    lag_records: int
    """Records that it has not done and that are there: up to the end from what it has committed, or the beginning."""
    oldest_ms: int | None
    """Append time of the first of them, the earliest of all partitions, Unix milliseconds; None: all is done."""
    members: int
    """Workers in the group now."""
    started: bool
    """It has committed at least once."""
    lost_records: int = 0
    """Records that retention removed before it did them."""
    cut_off: Sequence[CutOff] = ()
    """Partitions of which it has done more than there is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """What Kafka tells of the stages."""

    stages: Sequence[Stage]
    last_append_ms: int | None
    """Of the latest record on servicetrade.webhooks, ticks too; None: there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenLetters:
    """Dead letters that nobody has dealt with."""

    counts: Mapping[str, Mapping[str, int]]
    """By stage and account; an empty account: the record named none."""
    unread_records: int
    """Records of the topic that there was no time to read: the counts are at least these."""

    @property
    def total(self) -> int:
        """All of them."""
        return sum(sum(accounts.values()) for accounts in self.counts.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A process of ours, or where one should answer."""

    name: str
    """What should be there by the configuration; empty: whatever it is, on an address that a person gave."""
    address: str
    """host:port of /readyz and /metrics."""
    silent: str
    """Why it did not answer; empty: it did."""
    conditions: Mapping[str, bool] = field(default_factory=dict)
    """What /readyz says."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Those of METRICS that it exports."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parked:
    """What a sink has put aside of one account."""

    sink: str
    account: str
    whole_account: int
    """Records that wait for the whole account."""
    entity_records: int
    """Records that wait for their entity alone."""
    entities: int
    """How many entities these are about."""
    since_ms: int
    """When the first of them was put aside, Unix milliseconds, the store's clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Halted:
    """A sink that waits for a person."""

    sink: str
    reason: str
    since_ms: int
    """Unix milliseconds, the store's clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """An account's shared ServiceTrade session."""

    account: str
    state: str
    """live, suspect, refused, paused, unreadable or none."""
    generation: int
    """How often anybody has logged in."""
    made_ms: int
    """Unix milliseconds; 0: never."""
    refused: bool
    """ServiceTrade refused the configured credentials."""
    reason: str
    """Why, in ServiceTrade's words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What the SQL store tells."""

    parked: Sequence[Parked]
    halted: Sequence[Halted]
    sessions: Sequence[Session]


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """The whole pipeline at one moment."""

    now_ms: int
    """By this machine's clock, or that of the latest record if it is ahead; Unix milliseconds.

    Kafka tells nobody what time it is: its clock is known only from the records that it has stamped."""
    flow: Flow | Unread
    letters: OpenLetters | Unread
    stored: Stored | Unread
    processes: Sequence[Process]

    def of_kind(self, condition: str) -> list[Process]:
        """The processes that answered and have a condition of this name on /readyz."""
        return [one for one in self.processes if not one.silent and condition in one.conditions]
