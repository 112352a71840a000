"""Pure: whether a topic is as the pipeline needs it, and what comes of it where it is not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from doctor.finding import TOPICS, Finding, many
from runtime.kafka.described import TopicSeen
from schemas.moments import shown_span
from schemas.topics import CHANGES, COMMANDS, FOR_EVER_MS, RULES, WEBHOOKS, Topic

_RETENTION, _CLEANUP, _STAMPS = "retention.ms", "cleanup.policy", "message.timestamp.type"
_SIZE, _IN_SYNC, _BYTES = "max.message.bytes", "min.insync.replicas", "retention.bytes"
_NO_LIMIT = -1
_NO_LEADER = -1

_TOO_SHORT = {
    WEBHOOKS.name: "webhooks older than that cannot be replayed, and are lost if the processors are down for so long",
    CHANGES.name: "a sink that is down for longer loses changes",
    COMMANDS.name: "commands that nobody performs for longer are lost",
    RULES.name: "a replay or a restart cannot know the rules of then",
}
"""What comes of a retention that is shorter than configured."""
_GONE = "what is older is gone for `tradewind story`, `deadletters` and replays"


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicWanted:
    """A topic as it should be."""

    topic: Topic
    name: str
    """On this cluster."""
    config: Mapping[str, str]
    replication_factor: int
    restore_ms: int
    """What of the raw log the processors read when they start."""
    servers: str
    """For commands that are to be typed."""


def topic_findings(wanted: TopicWanted, seen: TopicSeen | None) -> list[Finding]:
    """All that is wrong with the topic, or that nothing is.

    Args:
        wanted: as it should be.
        seen: as it is; None: it is not there.
    """
    if seen is None:
        return [TOPICS.failed(wanted.name, "is not there", "`tradewind topics` creates what is missing")]
    found = [*_partitions(wanted, seen)]
    if seen.config_unread:
        what = f"its settings cannot be read: {seen.config_unread}"
        found.append(TOPICS.warning(wanted.name, what, "allow this user DescribeConfigs on the topic"))
    else:
        found += [*_copies(wanted, seen), *_config(wanted, seen.config)]
    if found:
        return found
    kept = _retained(int(seen.config[_RETENTION]))
    return [TOPICS.ok(wanted.name, f"{many(len(seen.partitions), 'partition')}, kept {kept}")]


def _partitions(wanted: TopicWanted, seen: TopicSeen) -> Iterator[Finding]:
    count, right = len(seen.partitions), wanted.topic.partitions
    if count != right:
        what = f"has {many(count, 'partition')}, not {right}: keys are on other partitions than they are looked for on"
        epoch = " with a higher kafka.log_epoch" if wanted.topic.name == WEBHOOKS.name else ""
        do = f"stop all processes, delete it (what is in it is lost), `tradewind topics`, start them again{epoch}"
        yield TOPICS.failed(wanted.name, what, do)
    if leaderless := [one.number for one in seen.partitions if one.leader == _NO_LEADER]:
        what = f"{_numbered(leaderless)} no leader: nothing can be written or read there"
        yield TOPICS.failed(wanted.name, what, "bring the brokers back that hold it")


def _copies(wanted: TopicWanted, seen: TopicSeen) -> Iterator[Finding]:
    """Of each partition: how many there are, and whether they are enough to be written to."""
    need = int(seen.config[_IN_SYNC])
    fewest = min((one.replicas for one in seen.partitions), default=0)
    if fewest < need:
        what = f"{_IN_SYNC} is {need}, with {_copies_of(fewest)} of each record: no write succeeds"
        yield TOPICS.failed(wanted.name, what, _alter(wanted, _IN_SYNC))
        return
    if starved := [one.number for one in seen.partitions if one.in_sync < need]:
        what = f"{_numbered(starved)} fewer copies in sync than {_IN_SYNC} ({need}): no write succeeds there"
        yield TOPICS.failed(wanted.name, what, "bring the brokers back that hold the other copies")
    elif lagging := [one.number for one in seen.partitions if one.in_sync < one.replicas]:
        what = f"{_numbered(lagging)} copies that are not in sync: one broker more that fails may stop writes"
        yield TOPICS.warning(wanted.name, what, "look at the brokers that hold the other copies")
    if fewest < wanted.replication_factor:
        what = f"{_copies_of(fewest)} of each record, and kafka.replication_factor is {wanted.replication_factor}"
        yield TOPICS.warning(wanted.name, what, "kafka-reassign-partitions.sh adds copies to a topic that exists")
    elif fewest > 1 and need == fewest:
        what = f"{_IN_SYNC} is {need}, as many as there are copies: one broker that is away stops all writes"
        yield TOPICS.warning(wanted.name, what, _alter(wanted, _IN_SYNC))
    if need < int(wanted.config[_IN_SYNC]):
        what = f"{_IN_SYNC} is {need}, not {wanted.config[_IN_SYNC]}: what is acknowledged may be lost with one broker"
        yield TOPICS.warning(wanted.name, what, _alter(wanted, _IN_SYNC))


def _config(wanted: TopicWanted, config: Mapping[str, str]) -> Iterator[Finding]:
    name, stamps = wanted.name, wanted.config.get(_STAMPS)
    if stamps is not None and config[_STAMPS] != stamps:
        what = (
            f"{_STAMPS} is {config[_STAMPS]}, not {stamps}: windows open and close by the brokers' time, and senders' "
            "clocks would stand in its place; no worker starts on it"
        )
        yield TOPICS.failed(name, what, _alter(wanted, _STAMPS))
    if config[_CLEANUP] != wanted.config[_CLEANUP]:
        what = (
            f"{_CLEANUP} is {config[_CLEANUP]}, not {wanted.config[_CLEANUP]}: of each key only the newest record stays"
        )
        yield TOPICS.failed(name, what, _alter(wanted, _CLEANUP))
    if int(config[_SIZE]) < int(wanted.config[_SIZE]):
        what = f"{_SIZE} is {config[_SIZE]}, below {wanted.config[_SIZE]}: large records are refused"
        yield TOPICS.failed(name, what, _alter(wanted, _SIZE))
    yield from _retention(wanted, config)


def _retention(wanted: TopicWanted, config: Mapping[str, str]) -> Iterator[Finding]:
    kept_ms, right_ms = int(config[_RETENTION]), int(wanted.config[_RETENTION])
    is_short = kept_ms != FOR_EVER_MS and (right_ms == FOR_EVER_MS or kept_ms < right_ms)
    told = f"{_RETENTION} is {kept_ms} ({_retained(kept_ms)})"
    if wanted.topic.name == WEBHOOKS.name and kept_ms != FOR_EVER_MS and kept_ms < 2 * wanted.restore_ms:
        need = shown_span(2 * wanted.restore_ms)
        what = f"{told}, below {need}: the processors may not find what they need to start from"
        yield TOPICS.failed(wanted.name, what, _alter(wanted, _RETENTION))
    elif is_short:
        consequence = _TOO_SHORT.get(wanted.topic.name, _GONE)
        why = "the topic should be kept for ever" if right_ms == FOR_EVER_MS else "shorter than kafka.retention_days"
        yield TOPICS.warning(wanted.name, f"{told}, {why}: {consequence}", _alter(wanted, _RETENTION))
    if int(config.get(_BYTES, _NO_LIMIT)) != _NO_LIMIT:
        what = f"{_BYTES} is {config[_BYTES]}: a full partition loses its oldest records, however young they are"
        yield TOPICS.warning(wanted.name, what, _alter(wanted, _BYTES, str(_NO_LIMIT)))


def _alter(wanted: TopicWanted, key: str, value: str | None = None) -> str:
    """The command that puts one setting right."""
    value = wanted.config[key] if value is None else value
    return (
        f"kafka-configs.sh --bootstrap-server {wanted.servers} --alter --entity-type topics "
        f"--entity-name {wanted.name} --add-config {key}={value}"
    )


def _numbered(numbers: Sequence[int]) -> str:
    if len(numbers) == 1:
        return f"partition {numbers[0]} has"
    return f"partitions {', '.join(map(str, numbers))} have"


def _copies_of(count: int) -> str:
    return "1 copy" if count == 1 else f"{count} copies"


def _retained(milliseconds: int) -> str:
    return "for ever" if milliseconds == FOR_EVER_MS else f"for {shown_span(milliseconds)}"
