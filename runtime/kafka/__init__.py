"""The Kafka adapter over aiokafka, which is untyped and whose defaults are unsafe: nobody else imports it."""

from aiokafka.errors import IllegalStateError, KafkaError

from runtime.kafka.group import GroupConsumer
from runtime.kafka.producer import Headers, Producer, acknowledged
from runtime.kafka.reader import LogReader
from runtime.kafka.records import READ_BYTES, Partition, Position, keep_parsed

__all__ = [
    "READ_BYTES",
    "GroupConsumer",
    "Headers",
    "IllegalStateError",
    "KafkaError",
    "LogReader",
    "Partition",
    "Position",
    "Producer",
    "acknowledged",
    "keep_parsed",
]
