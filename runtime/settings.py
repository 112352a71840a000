"""Settings: one TOML file, read once and validated whole, as frozen dataclasses."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from runtime.hook_secrets import live_in
from runtime.kafka_settings import KafkaSaslSettings, KafkaTlsSettings, Security, check_security
from runtime.setting_checks import positive, usable_url
from runtime.sink_settings import SinksSettings
from runtime.toml_reader import Secret, read_toml
from schemas.entity_type import EntityType
from schemas.pipeline import PipelineTimes
from schemas.topics import ACCOUNT_NAME, BODY_LIMIT_BYTES

HOOK_SECRET = re.compile(r"[A-Za-z0-9_-]{16,}")
_HOST = re.compile(r"(?=.{1,253}$)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*")
LONGEST_ANSWER_S = 4.9
"""ServiceTrade hangs up after 5 s."""
LONGEST_PAUSE_S = 3600.0
"""No pause between logins is longer, whatever a Retry-After says or however far a clock was set back."""
LONGEST_LEASE_S = 120.0
"""No lease on a login is longer; one that seems to be is due to a clock set back, and is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaSettings:
    """Where the broker is, how it is spoken to, and how topics are made."""

    bootstrap_servers: str
    topic_prefix: str = ""
    """Put before every topic name, so that several pipelines can share a cluster."""
    replication_factor: int = 1
    retention_days: int = 90
    """How long webhooks and everything made of them stay readable and replayable."""
    log_epoch: int = 1
    """Raise by hand when servicetrade.webhooks is created anew: keeps `sequence` growing."""
    security: Security = "plaintext"
    tls: KafkaTlsSettings = field(default_factory=KafkaTlsSettings)
    """Used with "ssl" and "sasl_ssl"."""
    sasl: KafkaSaslSettings | None = None
    """Needed by "sasl_plaintext" and "sasl_ssl"."""

    def __post_init__(self) -> None:
        check_security(self.security, self.tls, self.sasl)
        positive(
            replication_factor=self.replication_factor,
            retention_days=self.retention_days,
            log_epoch=self.log_epoch,
        )

    @property
    def retention_ms(self) -> int:
        """The retention in milliseconds."""
        return self.retention_days * 86_400_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolSettings:
    """Where ingest keeps webhooks that Kafka has not acknowledged in time."""

    folder: Path = Path(".tradewind/spool")
    """On a disk that outlives the process. Several ingest processes may share it, each takes a file of its own."""
    max_bytes: int = 1_073_741_824
    """Bytes of bodies, over which a webhook that Kafka does not acknowledge is answered 503."""
    max_age_s: float = 86_400.0
    """The same once the oldest waits for longer than this. Nothing that is in the spool is ever thrown away."""

    def __post_init__(self) -> None:
        positive(max_bytes=self.max_bytes, max_age_s=self.max_age_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestSettings:
    """The receiver of webhooks."""

    host: str = "127.0.0.1"
    port: int = 8080
    ops_port: int = 9101
    public_url: str | None = None
    """How ServiceTrade reaches the receiver, up to where /webhooks begins; `tradewind subscribe` needs it."""
    ack_timeout_s: float = 2.0
    """How long a webhook may wait for Kafka's acknowledgement before it is spooled."""
    answer_timeout_s: float = 4.5
    """How long a request may take, from its first byte, before it is answered 503; ServiceTrade gives up after 5 s."""
    body_limit_bytes: int = BODY_LIMIT_BYTES
    head_limit_bytes: int = 16_384
    """Request line and headers together."""
    connection_limit: int = 1_000
    idle_timeout_s: float = 60.0
    """How long a connection may stand open without a request."""
    access_log: bool = False
    """Log every request, with the account and a fingerprint of the secret."""
    spool: SpoolSettings = field(default_factory=SpoolSettings)

    def __post_init__(self) -> None:
        positive(
            ack_timeout_s=self.ack_timeout_s,
            body_limit_bytes=self.body_limit_bytes,
            head_limit_bytes=self.head_limit_bytes,
            connection_limit=self.connection_limit,
            idle_timeout_s=self.idle_timeout_s,
        )
        for name in ("ack_timeout_s", "answer_timeout_s"):
            if getattr(self, name) > LONGEST_ANSWER_S:
                raise ValueError(f"{name} is at most {LONGEST_ANSWER_S}: ServiceTrade hangs up after 5 s")
        if self.ack_timeout_s >= self.answer_timeout_s:
            raise ValueError("ack_timeout_s must be below answer_timeout_s: what Kafka does not take has to be spooled")
        if self.body_limit_bytes > BODY_LIMIT_BYTES:
            raise ValueError(f"body_limit_bytes is at most {BODY_LIMIT_BYTES}: the topics hold no larger record")
        if self.public_url is not None and not usable_url(self.public_url):
            raise ValueError("public_url must be https://host (or http://host:port for a simulator)")
        if not _HOST.fullmatch(self.host):  # not resolved here: settings are read again while DNS may be away
            raise ValueError(
                f"host is an IPv4 address, or a name of one, to listen on (0.0.0.0: all); found {self.host!r}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessorsSettings:
    """The workers that turn webhooks into changes."""

    group: str = "tradewind-processors"
    ops_port: int = 9102
    session_timeout_s: float = 15.0
    """How long Kafka keeps a silent worker's partitions for it before others take over."""
    stall_timeout_s: float = 60.0
    """A worker that has webhooks to consume, and a broker that answers, but does not move for so long, exits."""

    def __post_init__(self) -> None:
        positive(session_timeout_s=self.session_timeout_s, stall_timeout_s=self.stall_timeout_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreSettings:
    """The SQL database that sessions and mirrored entities live in."""

    url: str
    """SQLAlchemy URL: sqlite+aiosqlite:///path or postgresql+asyncpg://user@host/name."""
    password: Secret | None = None
    """Password of the database user, where it is not in a file that the driver reads by itself."""
    key: Secret
    """Fernet key that session tokens are encrypted with (`tradewind key` prints a new one)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginSettings:
    """How the one session that all workers of an account share is made and replaced."""

    answer_timeout_s: float = 5.0
    """One request to /auth, from connecting to the last byte."""
    lease_s: float = 12.0
    """How long others leave a login to a worker that has gone silent."""
    wait_s: float = 25.0
    """How long a request waits for a session before it fails. Above lease_s, or one worker's death fails the others."""
    interval_s: float = 5.0
    """Between two logins of an account at least; also the first pause after a failure."""
    longest_pause_s: float = 300.0
    """Where the pauses after failures, each twice as long as the one before, stop growing."""
    throttled_statuses: tuple[int, ...] = (429,)
    """Answers to a login that mean "too often". ServiceTrade does not publish its own; a 403 that is not listed here
    means wrong credentials, and stops the account."""

    def __post_init__(self) -> None:
        positive(answer_timeout_s=self.answer_timeout_s, wait_s=self.wait_s, longest_pause_s=self.longest_pause_s)
        if self.interval_s < 0:
            raise ValueError(f"interval_s must not be below 0, found {self.interval_s}")
        if not self.interval_s <= self.longest_pause_s <= LONGEST_PAUSE_S:
            raise ValueError(f"longest_pause_s must be from interval_s to {LONGEST_PAUSE_S:g}")
        if not 2 * self.answer_timeout_s < self.lease_s <= LONGEST_LEASE_S:
            # Two requests are made under a lease.
            raise ValueError(f"lease_s must be above twice answer_timeout_s, and {LONGEST_LEASE_S:g} at most")
        for status in self.throttled_statuses:
            if status not in range(300, 600):
                raise ValueError(f"throttled_statuses: statuses from 300 to 599, found {status}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceTradeSettings:
    """The ServiceTrade API."""

    base_url: str = "https://api.servicetrade.com"
    """Without the trailing /api."""
    timeout_s: float = 10.0
    """One request, from connecting to the last byte."""
    concurrency: int = 5
    """Requests at a time per account and process."""
    login: LoginSettings = field(default_factory=LoginSettings)
    types: Mapping[str, EntityType] = field(default_factory=dict)
    """What to add to the catalogue of entity types, or to set right in it."""

    def __post_init__(self) -> None:
        positive(timeout_s=self.timeout_s, concurrency=self.concurrency)
        if not usable_url(self.base_url):
            raise ValueError("base_url must be https://host (or http://host:port for a simulator)")


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountSettings:
    """One customer account of ServiceTrade; its name is the table's name, [accounts.NAME]."""

    username: str
    password: Secret
    hook_secret: Secret
    """The secret part of the webhook URL; during a rotation two, separated by white space."""

    def __post_init__(self) -> None:
        live = self.hook_secret.reveal().split()
        if len(live) not in (1, 2):
            raise ValueError(f"hook_secret holds one secret, or two during a rotation; found {len(live)}")
        if not all(HOOK_SECRET.fullmatch(secret) for secret in live):
            raise ValueError("hook_secret is a part of a URL: at least 16 of A-Z, a-z, 0-9, - and _")

    @property
    def live_secrets(self) -> tuple[str, ...]:
        """The distinct secrets in `hook_secret`, the newest last."""
        return live_in(self.hook_secret.reveal())


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """What the processes write to stdout."""

    level: Literal["debug", "info", "warning", "error"] = "info"


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerSettings:
    """The embedded broker (`tradewind broker`); a deployment with a Kafka of its own leaves it out."""

    data_dir: Path = Path(".tradewind/kafka")
    port: int = 9092


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The whole configuration."""

    kafka: KafkaSettings
    store: StoreSettings
    accounts: Mapping[str, AccountSettings]
    servicetrade: ServiceTradeSettings = field(default_factory=ServiceTradeSettings)
    pipeline: PipelineTimes = field(default_factory=PipelineTimes)
    ingest: IngestSettings = field(default_factory=IngestSettings)
    processors: ProcessorsSettings = field(default_factory=ProcessorsSettings)
    sinks: SinksSettings = field(default_factory=SinksSettings)
    log: LogSettings = field(default_factory=LogSettings)
    broker: BrokerSettings = field(default_factory=BrokerSettings)

    def __post_init__(self) -> None:
        if not self.accounts:
            raise ValueError("accounts: at least one [accounts.NAME] table is needed")
        for name in self.accounts:
            if not ACCOUNT_NAME.fullmatch(name):
                raise ValueError(
                    f"accounts.{name}: a name is made of a-z, 0-9, - and _, and starts with a letter or digit"
                )
        if self.kafka.retention_ms < 2 * self.pipeline.restore_ms:
            raise ValueError("kafka.retention_days must be at least twice pipeline memory + max_ceiling + horizon")


def read_settings(path: Path) -> Settings:
    """Read and validate the configuration.

    Raises:
        SettingsError: names the file, the line and the key.
    """
    return read_toml(path, Settings)
