"""Every metric that the product exports: name, labels, what it means, and what a rise of it wants of a person.

docs/metrics.md is written from here (`python -m runtime.metrics_docs`). Labels are accounts, sinks, kinds and outcomes;
never an entity's id.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Metric,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

REGISTRY = CollectorRegistry()
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

# When a counter began is of no use to anybody here, and would be as many series again.
disable_created_metrics()  # type: ignore[no-untyped-call] # it has no annotation


def render() -> bytes:
    """All metrics of this process in Prometheus' text format."""
    return generate_latest(REGISTRY)


# -- how metrics are declared --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """A metric as people and rules know it."""

    name: str
    """As it is exported; that of a histogram has _bucket, _sum or _count after it."""
    kind: Literal["counter", "gauge", "histogram"]
    labels: Mapping[str, str]
    """Their names, and which values they have; no text: an account or a sink of the configuration."""
    meaning: str
    rise: str
    """What a rise, or the value that it names, means, and what to do."""

    @property
    def help(self) -> str:
        """What /metrics says about it."""
        return f"{self.meaning}. {self.rise}"


class Tally(Collector):
    """A counter for hot paths: counting is an addition in a dictionary, a tenth of what a Counter takes."""

    def __init__(self, described: Described) -> None:
        self._described = described
        self._counts: defaultdict[tuple[str, ...], int] = defaultdict(int)
        REGISTRY.register(self)

    def add(self, *labels: str) -> None:
        """Count one; from one thread."""
        self._counts[labels] += 1

    def begin(self, *labels: str) -> None:
        """Export it before there is anything to count, or Prometheus would not see the first one as a rise."""
        self._counts[labels] += 0

    def collect(self) -> Iterator[Metric]:
        """What prometheus_client asks for."""
        described = self._described
        family = CounterMetricFamily(described.name, described.help, labels=tuple(described.labels))
        for labels, count in tuple(self._counts.items()):
            family.add_metric(labels, count)
        yield family


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of the pipeline, and its metrics in the order in which they are declared."""

    title: str
    described: list[Described] = field(default_factory=list)

    def tally(self, name: str, meaning: str, rise: str, **labels: str) -> Tally:
        """Declare a counter for a hot path."""
        return Tally(self._describe("counter", name, meaning, rise, labels))

    def counter(self, name: str, meaning: str, rise: str, **labels: str) -> Counter:
        """Declare a counter."""
        described = self._describe("counter", name, meaning, rise, labels)
        return Counter(name, described.help, tuple(labels), registry=REGISTRY)

    def gauge(self, name: str, meaning: str, rise: str, **labels: str) -> Gauge:
        """Declare a gauge."""
        described = self._describe("gauge", name, meaning, rise, labels)
        return Gauge(name, described.help, tuple(labels), registry=REGISTRY)

    def histogram(self, name: str, meaning: str, rise: str, *, buckets: Sequence[float], **labels: str) -> Histogram:
        """Declare a histogram."""
        described = self._describe("histogram", name, meaning, rise, labels)
        return Histogram(name, described.help, tuple(labels), buckets=buckets, registry=REGISTRY)

    def _describe(
        self,
        kind: Literal["counter", "gauge", "histogram"],
        name: str,
        meaning: str,
        rise: str,
        labels: Mapping[str, str],
    ) -> Described:
        described = Described(name=name, kind=kind, labels=labels, meaning=meaning, rise=rise)
        self.described.append(described)
        return described


def begin(counter: Counter, *first: str, values: Iterable[str]) -> None:
    """Export a counter with these values of its last label before there is anything to count: see `Tally.begin`."""
    for value in values:
        counter.labels(*first, value)


class ByAccount:
    """A sink's gauge by account, which is 0 for accounts that are not named any more."""

    def __init__(self, gauge: Gauge, sink: str) -> None:
        self._gauge = gauge
        self._sink = sink
        self._named: set[str] = set()

    def show(self, counts: Mapping[str, int]) -> None:
        """These, and no others."""
        for account in self._named | counts.keys():
            self._gauge.labels(self._sink, account).set(counts.get(account, 0))
        self._named |= counts.keys()


# -- every process -------------------------------------------------------------------------------------------------
PROCESS = Stage("Every process")
READY = PROCESS.gauge(
    "tradewind_ready",
    "1 for each condition of /readyz that holds",
    "0: the process waits for what the condition names, and does no work meanwhile. `broker`: Kafka does not answer it",
    condition="as on /readyz: started, broker, accepting, restored, joined",
)
START_TIME_SECONDS = PROCESS.gauge(
    "tradewind_start_time_seconds",
    "When the process began, in Unix time",
    "It was started anew. Again and again: it dies; `process.crashed` in its log has the traceback, `process.refused` "
    "what is wrong with its configuration",
)

# -- ingest --------------------------------------------------------------------------------------------------------
INGEST = Stage("Ingest")
WEBHOOKS_RECEIVED = INGEST.tally(
    "tradewind_webhooks_received_total",
    "Requests on a valid URL by outcome",
    "`spooled`: Kafka is slow or away. `unavailable`: neither Kafka nor the spool took them; what ServiceTrade's three "
    "attempts do not bring is gone. `too_large`: lost; raise `ingest.body_limit_bytes` if it can be raised",
    account="",
    outcome="stored (in Kafka), spooled (on this machine's disk), unavailable (503), too_large (413)",
)
RECEIVED = ("stored", "spooled", "unavailable", "too_large")
WEBHOOKS_LIMITED = INGEST.counter(
    "tradewind_webhooks_limited_total",
    "Requests that a limit refused",
    "Any on an account is worth a look: `ingest.limited` in the log says who. Without an account: somebody scans",
    account="empty where the URL was not valid or not read",
    limit="body (413, lost), head, slow, connections, malformed (503, ServiceTrade tries again)",
)
LIMITS = ("body", "head", "slow", "malformed")
"""Those that can concern an account."""
UNKNOWN_URL = INGEST.counter(
    "tradewind_webhooks_unknown_url_total",
    "Requests on a wrong URL (404)",
    "With an account: a hook has an old secret, and all that it sends is lost: `tradewind subscriptions`, "
    "`ingest.unknown_url` in the log. Without: somebody guesses",
    account="the one that the URL names, with a secret that is not its own; empty: none of the configuration's",
)
SILENCE_SECONDS = INGEST.gauge(
    "tradewind_webhook_silence_seconds",
    "Time since the account's last webhook; a restart of ingest sets it to 0. Over several ingests the least counts",
    "Longer than its nights and weekends: is the subscription still there? `tradewind subscriptions`",
    account="",
)
ACK_SECONDS = INGEST.histogram(
    "tradewind_webhook_ack_seconds",
    "From a whole request to its durable append, in Kafka or in the spool",
    "The broker is slow; above `ingest.ack_timeout_s` webhooks are spooled, and at 5 s ServiceTrade gives up",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 4.5),
)

# -- spool ---------------------------------------------------------------------------------------------------------
SPOOL = Stage("Spool")
SPOOL_WEBHOOKS = SPOOL.gauge(
    "tradewind_spool_webhooks",
    "Webhooks that wait in the spool for Kafka: ingest's lag in records",
    "Steady: Kafka is away. They are on one disk only; bring Kafka back, and they drain by themselves",
)
SPOOL_BYTES = SPOOL.gauge(
    "tradewind_spool_bytes",
    "Bytes of the bodies in the spool",
    "Towards `ingest.spool.max_bytes`, where webhooks are refused: raise it if the disk has room, restart ingest",
)
SPOOL_OLDEST_SECONDS = SPOOL.gauge(
    "tradewind_spool_oldest_seconds",
    "How long the oldest webhook in the spool waits, ingest's lag in seconds; 0 if it is empty",
    "As long as Kafka has been away; beyond `ingest.spool.max_age_s` webhooks are refused",
)
SPOOL_ACCEPTING = SPOOL.gauge(
    "tradewind_spool_accepting",
    "1 while the spool has room and its disk works; always 0 in processes other than ingest",
    "0 in ingest: webhooks are refused as soon as Kafka does not acknowledge. Look at the disk and at the limits above",
)
SPOOL_DRAINED = SPOOL.counter(
    "tradewind_spool_drained_total",
    "Webhooks that went from the spool to Kafka",
    "Kafka is back. If the spool does not shrink meanwhile, more arrives than drains",
)
SPOOL_PARKED = SPOOL.gauge(
    "tradewind_spool_parked",
    "Webhooks in the spool that Kafka refuses for what they are, out of the others' way",
    "Each wants a person: `ingest.parked` in the log says why. A restart of ingest tries them again",
)

# -- processors ----------------------------------------------------------------------------------------------------
PROCESSORS = Stage("Processors")
LAG_RECORDS = PROCESSORS.gauge(
    "tradewind_lag_records",
    "Records of the raw log that this worker owns and has not consumed, without partitions that it still restores; the "
    "sum over workers is the lag",
    "Steady: they are too slow, or stuck. More processors help up to the number of partitions",
)
LAG_SECONDS = PROCESSORS.gauge(
    "tradewind_lag_seconds",
    "Age of the oldest of these, by the broker's time of append and this machine's clock; a look too long at most. "
    "Of a partition that it cannot date, since it first looked; 0 while it owns no partitions, as before it has joined "
    "its group",
    "Changes come so much later. Falling: it catches up. Rising: see tradewind_lag_records",
)
NOTIFICATIONS = PROCESSORS.counter(
    "tradewind_notifications_total",
    "Notifications by what became of them. `merged` per change (tradewind_changes_total) is the merge ratio: so many "
    "notifications cost one API read",
    "`duplicate`: ServiceTrade repeats itself, for it got no 2xx in time. `quarantined`: unreadable, dead letters: "
    "`tradewind deadletters list --sink processors`",
    outcome="merged, duplicate, filtered (by the rules), quarantined",
)
FATES = {"merged": "merged", "duplicate": "duplicates", "filtered": "filtered", "quarantined": "quarantined"}
"""The outcomes, and what the ledger calls them."""
begin(NOTIFICATIONS, values=FATES)
CHANGES = PROCESSORS.counter(
    "tradewind_changes_total",
    "Changes that were emitted and acknowledged",
    "As fast as notifications: nothing is merged. Is the quiet period of the rules too short?",
)
LEDGER_IMBALANCE = PROCESSORS.gauge(
    "tradewind_ledger_imbalance",
    "Notifications that went into this worker's core and are nowhere",
    "Anything but 0 is a fault of tradewind: keep the log of the process, and see what `tradewind audit` says",
)
RESTORE_SECONDS = PROCESSORS.histogram(
    "tradewind_restore_seconds",
    "Time to rebuild one partition's state from the log",
    "Rebalances take longer. Often: workers come and go, see `processors.assigned` and `process.crashed` in the logs",
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
RESTORED_RECORDS = PROCESSORS.counter(
    "tradewind_restored_records_total", "Records that were read again to rebuild state", "As tradewind_restore_seconds"
)

# -- windows -------------------------------------------------------------------------------------------------------
WINDOWS = Stage("Windows")
OPEN_WINDOWS = WINDOWS.gauge(
    "tradewind_open_windows",
    "Windows that wait for silence: entities with changes that have not left",
    "As the traffic. Steady without traffic: ticks do not get through, see tradewind_ticks_total",
)
FIRING_DELAY_SECONDS = WINDOWS.histogram(
    "tradewind_firing_delay_seconds",
    "Firing error: from a window's due time to its change's acknowledgement, for windows that closed by themselves",
    "The worker is behind (tradewind_lag_seconds), the broker is slow, or the clocks of the two machines differ",
    buckets=(0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10),
)
TICKS = WINDOWS.counter(
    "tradewind_ticks_total",
    "Ticks that were appended to move a silent partition's time",
    "Many are normal in quiet hours, about one a window. None while windows stay open: the worker is stuck",
)
REMEMBERED_MESSAGES = WINDOWS.gauge(
    "tradewind_remembered_messages",
    "Messages that are held against repeats, for one to two horizons",
    "As the traffic; memory of the process grows with it",
)

# -- sinks ---------------------------------------------------------------------------------------------------------
SINKS = Stage("Sinks")
SINK_LAG_RECORDS = SINKS.gauge(
    "tradewind_sink_lag_records",
    "Records of the partitions that this worker owns from the oldest without an outcome on; those put aside are done. "
    "Not there before it has joined its group; while a rebalance goes on, as it was before",
    "Steady: the sink is too slow, halted, or its other side is away: `tradewind sink status`",
    sink="",
)
SINK_LAG_SECONDS = SINKS.gauge(
    "tradewind_sink_lag_seconds",
    "Age of the oldest of these, by the broker's time of append and this machine's clock. Of a partition of which it "
    "has read nothing since it began, counted from its first look: after a restart a sink that cannot read looks young",
    "Rising: nothing gets through for at least one entity: `sink.retry` in the log. Beyond Kafka's retention: loss",
    sink="",
)
DELIVERIES = SINKS.counter(
    "tradewind_deliveries_total",
    "Changes or commands that have an outcome at a sink",
    "`dead-lettered`: given up, with the bytes and the reason: `tradewind deadletters list --sink NAME`. `uncertain`: "
    "nobody can tell whether it was performed: `tradewind command show ID`. `skipped`: of no more use, or a repeat",
    sink="",
    outcome="delivered, skipped, dead-lettered; of commands done, failed, expired, uncertain, dead-lettered",
)
DEAD_LETTERED = "dead-lettered"
UNCERTAIN = "uncertain"
DELIVERY_RETRIES = SINKS.counter(
    "tradewind_delivery_retries_total",
    "Deliveries that failed and are tried again",
    "The sink's other side is in trouble: `sink.retry` in the log has the reason. Nothing is lost",
    sink="",
)
DELIVERY_LATENCY_SECONDS = SINKS.histogram(
    "tradewind_delivery_latency_seconds",
    "From the append of a change or command to its outcome at the sink",
    "The sink is behind (tradewind_sink_lag_seconds), or what had been put aside comes back",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
    sink="",
)
PARKED_ACCOUNT = SINKS.gauge(
    "tradewind_parked_account",
    "1 while this worker puts aside all that comes for the account, because the account is in trouble",
    "1: nothing of the account is delivered; it is tried again by itself. `tradewind sink status` and `session list`",
    sink="",
    account="",
)
PARKED = SINKS.gauge(
    "tradewind_parked",
    "Changes or commands that this worker has put aside because their account, or their entity, is in trouble",
    "They wait in the store, in order, until the trouble is over: `sink.parked` in the log has the reason",
    sink="",
    account="",
)
OPEN_DEAD_LETTERS = SINKS.gauge(
    "tradewind_open_dead_letters",
    "Dead letters of the sink that nobody has dealt with. Every worker of a sink shows the same: take the maximum",
    "At `dead_letter_cap` the account is put aside: `tradewind deadletters redrive`, or `drop`",
    sink="",
    account="empty where the record names none",
)
HALTED = SINKS.gauge(
    "tradewind_sink_halted",
    "1 while the sink delivers nothing until a person has looked at it",
    "1: `tradewind sink status` says why; that dealt with, `tradewind sink resume NAME`",
    sink="",
)
FORWARDED = SINKS.counter(
    "tradewind_forward_requests_total",
    "Requests to subscribers by the status of the answer",
    "Anything but 2xx: the subscriber is in trouble, or refuses what it is sent",
    sink="",
    status="of HTTP; 0: no answer",
)

# -- ServiceTrade --------------------------------------------------------------------------------------------------
SERVICETRADE = Stage("ServiceTrade")
API_REQUESTS = SERVICETRADE.counter(
    "tradewind_servicetrade_requests_total",
    "Requests to ServiceTrade",
    "0, 429, 5xx: ServiceTrade is in trouble or throttles; accounts are put aside and come back. Many 401: sessions "
    "are killed. 403: the API user lacks a permission",
    account="",
    kind="auth, or the type of the entity",
    status="of HTTP; 0: no answer",
)
LOGINS = SERVICETRADE.counter(
    "tradewind_servicetrade_logins_total",
    "Attempts to log in, of all workers together",
    "`made`: more than a few a day: something kills the shared session, or another program logs in with the same user. "
    "`refused`: wrong credentials. `throttled`, `failed`: they are made less and less often",
    account="",
    outcome="made, refused (403), throttled, failed",
)
LOGIN_OUTCOMES = ("made", "refused", "throttled", "failed")
SESSION_STATE = SERVICETRADE.gauge(
    "tradewind_servicetrade_session_state",
    "1 for the state that the account's session had when this process last needed a new look at it",
    "`doubted`: a 401 cannot be cleared up, /auth is away. `unavailable`: no session, the next login is waited for. "
    "`refused`: nobody logs in any more: put right the credentials, or `tradewind session unlock ACCOUNT`",
    account="",
    state="live, doubted, unavailable, refused",
)
SESSION_STATES = ("live", "doubted", "unavailable", "refused")
SESSION_GENERATION = SERVICETRADE.gauge(
    "tradewind_servicetrade_session_generation",
    "Which of the account's shared sessions this process uses: how many logins there have been",
    "A login took place. Workers that differ for long do not share the store, or not its key",
    account="",
)
LOGIN_PAUSE_SECONDS = SERVICETRADE.gauge(
    "tradewind_servicetrade_login_pause_seconds",
    "How long nobody might log in, when this process last wanted to and could not; 0 once there is a session",
    "Logins fail again and again: `session.login_failed` in the log has ServiceTrade's words",
    account="",
)

STAGES = (PROCESS, INGEST, SPOOL, PROCESSORS, WINDOWS, SINKS, SERVICETRADE)
"""In the order of the pipeline."""
