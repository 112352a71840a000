"""Pure: what the Kafka cluster as a whole is good for: which release, how many brokers, whose clock."""

from __future__ import annotations

from collections.abc import Mapping

from doctor.finding import BROKER, Finding, many
from runtime.kafka.described import Cluster
from schemas.moments import shown_ago, shown_span

OTHER_CLOCK_MS = 2_000
"""Two clocks that are further apart are not kept by NTP."""

_SIGNS = (
    ("4.3", 35, 5),
    ("4.2", 2, 11),
    ("4.1", 1, 18),
    ("4.0", 2, 10),
    ("3.9", 1, 17),
    ("3.8", 0, 11),
    ("3.7", 1, 16),
    ("3.5", 1, 15),
    ("3.1", 1, 13),
    ("2.7", 1, 12),
    ("2.1", 1, 10),
)
"""Releases of Apache Kafka, by the API (0 Produce, 1 Fetch, 2 ListOffsets, 35 DescribeLogDirs) that came to speak that
version in it; as franz-go tells them apart (pkg/kversion), held against a broker of 4.3.1 only."""
OLDEST = "2.1"
"""Before it no broker takes batches that are compressed with zstd (KIP-110)."""


def release_of(versions: Mapping[int, int]) -> str:
    """The oldest release of Apache Kafka that speaks these versions; empty: before all that can be told.

    A client is told no release, only versions of APIs (ApiVersions), and brokers of other makers have them too.
    """
    return next((name for name, api, version in _SIGNS if versions.get(api, -1) >= version), "")


def cluster_findings(cluster: Cluster, servers: str, replication_factor: int) -> list[Finding]:
    """Whether the release will do, and whether there are as many brokers as copies are wanted."""
    nodes = ", ".join(f"{broker.id} at {broker.address}" for broker in cluster.brokers)
    found = [
        BROKER.ok(servers, f"reachable: {many(len(cluster.brokers), 'broker')}: {nodes}"),
        _release(cluster, servers),
    ]
    count, copies = len(cluster.brokers), f"kafka.replication_factor is {replication_factor}"
    if count < replication_factor:
        what = f"{copies}, but there {'is' if count == 1 else 'are'} {many(count, 'broker')}: no topic can be made so"
        found.append(BROKER.failed("replication", what, "start the other brokers, or lower kafka.replication_factor"))
    elif replication_factor == 1 and count > 1:
        what = f"{copies}: a broker that is lost takes the only copy of webhooks with it"
        do = f"kafka.replication_factor = {min(count, 3)}, and kafka-reassign-partitions.sh for topics that exist"
        found.append(BROKER.warning("replication", what, do))
    else:
        alone = "; with one broker there is no second copy of anything" if count == 1 else ""
        found.append(BROKER.ok("replication", f"{copies}, {many(count, 'broker')}{alone}"))
    return found


def _release(cluster: Cluster, servers: str) -> Finding:
    if not cluster.versions:
        return BROKER.not_checked("release", "the broker did not tell which versions of the protocol it speaks")
    release = release_of(cluster.versions)
    if not release:
        what = f"older than Kafka {OLDEST}, by the versions of the protocol that it speaks: it takes no zstd"
        return BROKER.failed("release", what, f"upgrade the brokers at {servers}")
    return BROKER.ok("release", f"Kafka {release} or later, by the versions of the protocol that it speaks")


def clock_finding(last_append_ms: int | None, now_ms: int) -> Finding:
    """Whether the brokers' clock is ahead of this machine's.

    Kafka tells nobody what time it is: its clock is known only from records that it has stamped. One of long ago says
    nothing about a clock that is behind.

    Args:
        last_append_ms: of the newest record on the raw log; None: there is none.
        now_ms: this machine's clock, after it was read.
    """
    if last_append_ms is None:
        return BROKER.not_checked("clock", "no record on the raw log tells what time it is for the brokers")
    ahead_ms = last_append_ms - now_ms
    if ahead_ms > OTHER_CLOCK_MS:
        what = (
            f"a record was stamped {shown_span(ahead_ms)} ahead of this machine's clock: ages and lags are shown wrong"
        )
        return BROKER.warning("clock", what, "let NTP keep the clocks of this machine and of the brokers")
    newest = shown_ago(last_append_ms, now_ms)
    return BROKER.ok("clock", f"not ahead of this machine's: the newest record on the raw log was stamped {newest}")
