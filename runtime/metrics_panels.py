"""What the Grafana dashboard shows: a row per stage of the pipeline, and the expressions of its graphs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

OF = '{account=~"$account"}'
NOT_LIVE = '{account=~"$account", state!="live"}'
MERGED = '{outcome="merged"}'
DURATIONS = (("p50", 0.5), ("p99", 0.99))


@dataclass(frozen=True, slots=True)
class Panel:
    """A graph."""

    title: str
    lines: Sequence[tuple[str, str]]
    """Expression, and legend."""
    unit: str = "short"
    """As Grafana names it: short, s, bytes, reqps, percentunit."""
    log: bool = False
    """A logarithmic scale."""


@dataclass(frozen=True, slots=True)
class Row:
    """A stage."""

    title: str
    panels: Sequence[Panel]


def rate(metric: str, by: str, *, where: str = "") -> str:
    """Events a second, by these labels."""
    return f"sum by ({by}) (rate({metric}{where}[$__rate_interval]))"


def each(metric: str, where: str = "") -> str:
    """Events a second, all together."""
    return f"sum(rate({metric}{where}[$__rate_interval]))"


def quantiles(metric: str, by: str = "") -> list[tuple[str, str]]:
    """Median and 99th percentile of a histogram, together or by a label."""
    within = f"sum by (le{', ' + by if by else ''}) (rate({metric}_bucket[$__rate_interval]))"
    legend = f"{{{{{by}}}}} " if by else ""
    return [(f"histogram_quantile({share}, {within})", legend + name) for name, share in DURATIONS]


ROWS = (
    Row(
        "At a glance",
        [
            Panel(
                "Ready processes, and restarts",
                [
                    ("count by (service) (min by (service, instance) (tradewind_ready) == 1)", "{{service}}"),
                    (
                        "sum by (service) (changes(tradewind_start_time_seconds[15m])) > 0",
                        "{{service}}: restarts in 15 minutes",
                    ),
                ],
            ),
            Panel(
                "What keeps a process from its work",
                [("sum by (service, condition) (1 - tradewind_ready) > 0", "{{service}}: not {{condition}}")],
            ),
            Panel(
                "Lag in seconds",
                [
                    ("max(tradewind_spool_oldest_seconds)", "ingest (spool)"),
                    ("max(tradewind_lag_seconds)", "processors"),
                    ("max by (sink) (tradewind_sink_lag_seconds)", "{{sink}}"),
                ],
                unit="s",
            ),
            Panel("Notifications nowhere (0!)", [("sum(abs(tradewind_ledger_imbalance))", "ledger imbalance")]),
        ],
    ),
    Row(
        "Ingest",
        [
            Panel(
                "Webhooks",
                [(rate("tradewind_webhooks_received_total", "outcome", where=OF), "{{outcome}}")],
                unit="reqps",
            ),
            Panel(
                "Webhooks by account",
                [(rate("tradewind_webhooks_received_total", "account", where=OF), "{{account}}")],
                unit="reqps",
            ),
            Panel("Time to the durable append", quantiles("tradewind_webhook_ack_seconds"), unit="s"),
            Panel(
                "Silence by account",
                [(f"min by (account) (tradewind_webhook_silence_seconds{OF})", "{{account}}")],
                unit="s",
            ),
            Panel(
                "Refused by a limit",
                [(rate("tradewind_webhooks_limited_total", "account, limit"), "{{account}} {{limit}}")],
                unit="reqps",
            ),
            Panel(
                "Wrong URLs",
                [(rate("tradewind_webhooks_unknown_url_total", "account"), "404 {{account}}")],
                unit="reqps",
            ),
        ],
    ),
    Row(
        "Spool",
        [
            Panel(
                "Webhooks in the spool",
                [
                    ("sum by (instance) (tradewind_spool_webhooks) > 0", "{{instance}} waiting"),
                    ("sum by (instance) (tradewind_spool_parked) > 0", "{{instance}} refused by Kafka"),
                ],
            ),
            Panel("Oldest webhook in the spool", [("max(tradewind_spool_oldest_seconds)", "oldest")], unit="s"),
            Panel("Size of the spool", [("sum(tradewind_spool_bytes)", "bodies")], unit="bytes"),
            Panel(
                "Drained, and room",
                [
                    (each("tradewind_spool_drained_total"), "drained a second"),
                    ('min by (instance) (tradewind_spool_accepting{service="ingest"})', "{{instance}} accepts"),
                ],
            ),
        ],
    ),
    Row(
        "Processors",
        [
            Panel("Lag in records", [('sum(tradewind_lag_records{service="processors"})', "not consumed")]),
            Panel(
                "Notifications",
                [(rate("tradewind_notifications_total", "outcome"), "{{outcome}}")],
                unit="reqps",
            ),
            Panel(
                "Merge ratio: notifications per change",
                [
                    (f"{each('tradewind_notifications_total', MERGED)} / {each('tradewind_changes_total')}", "merged"),
                ],
            ),
            Panel("Restores", quantiles("tradewind_restore_seconds"), unit="s"),
            Panel(
                "Records read again",
                [(each("tradewind_restored_records_total"), "a second")],
            ),
        ],
    ),
    Row(
        "Windows",
        [
            Panel("Open windows", [("sum(tradewind_open_windows)", "open")]),
            Panel("Firing error", quantiles("tradewind_firing_delay_seconds"), unit="s"),
            Panel("Ticks", [(each("tradewind_ticks_total"), "a second")]),
            Panel("Messages held against repeats", [("sum(tradewind_remembered_messages)", "messages")]),
        ],
    ),
    Row(
        "Sinks",
        [
            Panel("Lag in records", [("sum by (sink) (tradewind_sink_lag_records)", "{{sink}}")]),
            Panel(
                "Outcomes",
                [(rate("tradewind_deliveries_total", "sink, outcome"), "{{sink}} {{outcome}}")],
                unit="reqps",
            ),
            Panel(
                "Failures that are tried again",
                [(rate("tradewind_delivery_retries_total", "sink"), "{{sink}}")],
                unit="reqps",
            ),
            Panel(
                "From append to outcome", quantiles("tradewind_delivery_latency_seconds", "sink"), unit="s", log=True
            ),
            Panel(
                "Put aside",
                [
                    (f"sum by (sink, account) (tradewind_parked{OF}) > 0", "{{sink}} {{account}}"),
                    (
                        f"max by (sink, account) (tradewind_parked_account{OF}) > 0",
                        "{{sink}} {{account}}: the whole account",
                    ),
                ],
            ),
            Panel(
                "Open dead letters",
                [(f"max by (sink, account) (tradewind_open_dead_letters{OF}) > 0", "{{sink}} {{account}}")],
            ),
            Panel("Halted", [("max by (sink) (tradewind_sink_halted)", "{{sink}}")]),
            Panel(
                "Answers of subscribers",
                [(rate("tradewind_forward_requests_total", "sink, status"), "{{sink}} {{status}}")],
                unit="reqps",
            ),
        ],
    ),
    Row(
        "ServiceTrade",
        [
            Panel(
                "Answers",
                [(rate("tradewind_servicetrade_requests_total", "status", where=OF), "{{status}}")],
                unit="reqps",
            ),
            Panel(
                "Requests by kind",
                [(rate("tradewind_servicetrade_requests_total", "kind", where=OF), "{{kind}}")],
                unit="reqps",
            ),
            Panel(
                "Logins in the last hour",
                [
                    (
                        f"sum by (account, outcome) (increase(tradewind_servicetrade_logins_total{OF}[1h])) > 0",
                        "{{account}} {{outcome}}",
                    )
                ],
            ),
            Panel(
                "Sessions that are not live",
                [
                    (
                        f"sum by (account, state) (tradewind_servicetrade_session_state{NOT_LIVE}) > 0",
                        "{{account}} {{state}}",
                    )
                ],
            ),
            Panel(
                "Generation of the session",
                [(f"max by (account) (tradewind_servicetrade_session_generation{OF})", "{{account}}")],
            ),
            Panel(
                "Pause before the next login",
                [(f"max by (account) (tradewind_servicetrade_login_pause_seconds{OF})", "{{account}}")],
                unit="s",
            ),
        ],
    ),
)
