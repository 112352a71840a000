"""Asks the brokers who works in a consumer group now."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError, for_code

from runtime.kafka.topics import RETRY_S, open_admin
from runtime.settings import KafkaSettings

_NO_ERROR = 0
COORDINATOR_S = 5.0


async def group_members(
    settings: KafkaSettings, groups: Sequence[str], *, patience_s: float = COORDINATOR_S
) -> dict[str, int]:
    """How many members each consumer group has; none, if there is no such group.

    Args:
        settings: where the brokers are.
        groups: the names.
        patience_s: how long to wait for a group's coordinator, in seconds: a restarted broker reads its groups first.

    Raises:
        KafkaError: the brokers cannot say.
    """
    end = time.monotonic() + patience_s
    async with open_admin(settings) as admin:
        return {group: await _of(admin, group, end) for group in groups}


def members_in(described: Sequence[Any]) -> int:
    """How many members a group has by what Kafka says of it in DescribeGroups.

    Args:
        described: error code, group, state, type of protocol, protocol, members; of later versions more.

    Raises:
        KafkaError: it says that it cannot tell. aiokafka passes that on unread, beside an empty list of members.
    """
    code, group, members = described[0], described[1], described[5]
    if code != _NO_ERROR:
        raise for_code(code)(f"the members of {group} are not known")
    return len(members)


async def _of(admin: AIOKafkaAdminClient, group: str, end: float) -> int:
    while True:
        try:
            # One at a time: aiokafka 0.14 cannot read an answer that is about several.
            (answer,) = await admin.describe_consumer_groups([group])
            (described,) = answer.groups
            return members_in(described)
        except KafkaError as error:
            if not error.retriable or time.monotonic() > end:
                raise
        await asyncio.sleep(RETRY_S)
