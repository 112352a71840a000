"""Every metric that the product exports: name, labels and what a rise of it means.

Labels are accounts, sinks, types and outcomes; never an entity's id.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, generate_latest
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

REGISTRY = CollectorRegistry()
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def render() -> bytes:
    """All metrics of this process in Prometheus' text format."""
    return generate_latest(REGISTRY)


class Tally(Collector):
    """A counter for hot paths: counting is an addition in a dictionary, a tenth of what a Counter takes."""

    def __init__(self, name: str, documentation: str, labels: Sequence[str]) -> None:
        self._name = name
        self._documentation = documentation
        self._labels = labels
        self._counts: defaultdict[tuple[str, ...], int] = defaultdict(int)
        REGISTRY.register(self)

    def add(self, *labels: str) -> None:
        """Count one; from one thread."""
        self._counts[labels] += 1

    def collect(self) -> Iterator[Metric]:
        """What prometheus_client asks for."""
        family = CounterMetricFamily(self._name, self._documentation, labels=self._labels)
        for labels, count in tuple(self._counts.items()):
            family.add_metric(labels, count)
        yield family


# -- ingest --------------------------------------------------------------------------------------------------------
WEBHOOKS_RECEIVED = Tally(
    "tradewind_webhooks_received",
    "Requests on a valid URL by outcome: stored (in Kafka), spooled (on this machine's disk), unavailable (503, "
    "ServiceTrade retries), too_large (413, lost)",
    ["account", "outcome"],
)
WEBHOOKS_LIMITED = Counter(
    "tradewind_webhooks_limited_total",
    "Requests that a limit refused: body (413, lost), head, slow, connections, malformed (503, ServiceTrade retries). "
    "The account is empty where the URL was not valid or not read. Any on an account is worth a look",
    ["account", "limit"],
    registry=REGISTRY,
)
UNKNOWN_URL = Counter(
    "tradewind_webhooks_unknown_url_total",
    "Requests on a wrong URL (404). A rise: somebody guesses, or a hook points to an old secret",
    registry=REGISTRY,
)
SILENCE_SECONDS = Gauge(
    "tradewind_webhook_silence_seconds",
    "Since the last webhook of the account, or since this process started. Long: is the subscription still there?",
    ["account"],
    registry=REGISTRY,
)
ACK_SECONDS = Histogram(
    "tradewind_webhook_ack_seconds",
    "From a whole request to its durable append. A rise: the broker is slow; above ack_timeout_s webhooks are spooled",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 4.5),
    registry=REGISTRY,
)
SPOOL_WEBHOOKS = Gauge(
    "tradewind_spool_webhooks",
    "Webhooks that wait in the spool for Kafka. A steady rise: Kafka is away",
    registry=REGISTRY,
)
SPOOL_BYTES = Gauge("tradewind_spool_bytes", "Bytes of the bodies in the spool", registry=REGISTRY)
SPOOL_OLDEST_SECONDS = Gauge(
    "tradewind_spool_oldest_seconds",
    "How long the oldest webhook in the spool waits; 0 if it is empty",
    registry=REGISTRY,
)
SPOOL_ACCEPTING = Gauge(
    "tradewind_spool_accepting",
    "1 while the spool has room and its disk works. 0: webhooks are refused as soon as Kafka does not acknowledge",
    registry=REGISTRY,
)
SPOOL_DRAINED = Counter(
    "tradewind_spool_drained_total", "Webhooks that went from the spool to Kafka", registry=REGISTRY
)
SPOOL_PARKED = Gauge(
    "tradewind_spool_parked",
    "Webhooks in the spool that Kafka refuses for what they are, out of the others' way. Each needs a person",
    registry=REGISTRY,
)

# -- processors ----------------------------------------------------------------------------------------------------
NOTIFICATIONS = Counter(
    "tradewind_notifications_total",
    "Notifications by what became of them: merged, duplicate, filtered, quarantined",
    ["outcome"],
    registry=REGISTRY,
)
CHANGES = Counter(
    "tradewind_changes_total", "Changes emitted. Notifications merged per change is the saving", registry=REGISTRY
)
LAG_RECORDS = Gauge(
    "tradewind_lag_records",
    "Records of the raw log that this worker owns and has not consumed. A steady rise: it is too slow, or stuck",
    registry=REGISTRY,
)
OPEN_WINDOWS = Gauge(
    "tradewind_open_windows", "Windows waiting for silence. A steady rise: ticks do not get through", registry=REGISTRY
)
REMEMBERED_MESSAGES = Gauge(
    "tradewind_remembered_messages",
    "Messages held against repeats, for one to two horizons. Grows with the rate of webhooks",
    registry=REGISTRY,
)
LEDGER_IMBALANCE = Gauge(
    "tradewind_ledger_imbalance", "Notifications that are nowhere. Anything but 0 is a fault", registry=REGISTRY
)
FIRING_DELAY_SECONDS = Histogram(
    "tradewind_firing_delay_seconds",
    "From a window's due time to its change's acknowledgement, when it closed by itself. A rise: the worker is behind",
    buckets=(0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10),
    registry=REGISTRY,
)
RESTORE_SECONDS = Histogram(
    "tradewind_restore_seconds",
    "Time to rebuild one partition's state from the log",
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
    registry=REGISTRY,
)
RESTORED_RECORDS = Counter("tradewind_restored_records_total", "Records read again to rebuild state", registry=REGISTRY)
TICKS = Counter("tradewind_ticks_total", "Ticks appended to move a silent partition's time", registry=REGISTRY)

# -- sinks and ServiceTrade ----------------------------------------------------------------------------------------
DELIVERIES = Counter(
    "tradewind_deliveries_total",
    "Changes by outcome at a sink: delivered, skipped, dead-lettered. Dead letters need a person",
    ["sink", "outcome"],
    registry=REGISTRY,
)
DELIVERY_RETRIES = Counter(
    "tradewind_delivery_retries_total",
    "Deliveries that failed and were tried again. A rise: the sink's other side is in trouble",
    ["sink"],
    registry=REGISTRY,
)
DELIVERY_LATENCY_SECONDS = Histogram(
    "tradewind_delivery_latency_seconds",
    "From a change's append to its outcome at the sink",
    ["sink"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
    registry=REGISTRY,
)
PARKED = Gauge(
    "tradewind_parked",
    "Changes or commands that this worker has put aside because their account, or entity, is in trouble",
    ["sink", "account"],
    registry=REGISTRY,
)
HALTED = Gauge(
    "tradewind_sink_halted",
    "1 while the sink delivers nothing until a person has looked at it (tradewind sink status)",
    ["sink"],
    registry=REGISTRY,
)
FORWARDED = Counter(
    "tradewind_forward_requests_total",
    "Changes sent to subscribers by the status of the answer (0: none). Anything but 2xx is a subscriber in trouble",
    ["sink", "status"],
    registry=REGISTRY,
)
API_REQUESTS = Counter(
    "tradewind_servicetrade_requests_total",
    "Requests to ServiceTrade by account, kind of request and status (0: no answer)",
    ["account", "kind", "status"],
    registry=REGISTRY,
)
LOGINS = Counter(
    "tradewind_servicetrade_logins_total",
    "Logins by outcome: made, refused, throttled, failed. More than a few a day: something kills the shared session",
    ["account", "outcome"],
    registry=REGISTRY,
)
