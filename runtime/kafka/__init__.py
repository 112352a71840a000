"""The Kafka adapter over aiokafka, which is untyped and whose defaults are unsafe: nobody else imports it."""

from aiokafka.errors import IllegalStateError, KafkaError

from runtime.kafka.arguments import client_arguments
from runtime.kafka.batch_producer import RECORDS_REFUSED, BatchProducer, BatchRecord
from runtime.kafka.connecting import BrokerRefused
from runtime.kafka.group import GroupConsumer
from runtime.kafka.producer import Headers, Producer, acknowledged, partition_of
from runtime.kafka.reader import LogReader
from runtime.kafka.records import READ_BYTES, Partition, Position, keep_parsed

__all__ = [
    "READ_BYTES",
    "RECORDS_REFUSED",
    "BatchProducer",
    "BatchRecord",
    "BrokerRefused",
    "GroupConsumer",
    "Headers",
    "IllegalStateError",
    "KafkaError",
    "LogReader",
    "Partition",
    "Position",
    "Producer",
    "acknowledged",
    "client_arguments",
    "keep_parsed",
    "partition_of",
]
