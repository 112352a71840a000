"""Allows users on a broker what docs/security.md says that they need, and not more."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from aiokafka.protocol.admin import CreateAclsRequest, DescribeAclsRequest

from runtime.kafka.topics import open_admin
from runtime.settings import KafkaSettings
from tests.ingest.running import until

DOCS = Path(__file__).parents[2] / "docs/security.md"
_ANY, _ALLOW, _EVERYWHERE = 1, 3, "*"
_LITERAL, _PREFIXED = 3, 4
_RESOURCES = {"topic": 2, "group": 3}
_OPERATIONS = {"Read": 3, "Write": 4, "Create": 5, "Delete": 6, "DescribeConfigs": 10}
"""As Kafka's protocol numbers them: org.apache.kafka.common.acl.AclOperation and its neighbours."""
_ROW = re.compile(r"^\| (\w+) \| (topic|group) \| `([\w.*-]+)` \| ([\w, ]+) \|$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Acl:
    """One thing that one user may do."""

    user: str
    resource: str
    name: str
    """Ends with * where it stands for all names that begin so."""
    operation: str


def documented() -> list[Acl]:
    """The rows of the table, one operation each."""
    rows = _ROW.findall(DOCS.read_text("utf-8"))
    return [Acl(user, kind, name, one) for user, kind, name, may in rows for one in may.split(", ")]


async def allow(acls: list[Acl], superuser: KafkaSettings) -> None:
    """Return once the broker goes by them."""
    async with open_admin(superuser) as admin:
        node = admin._client.get_random_node()
        for acl in acls:
            pattern = _PREFIXED if acl.name.endswith("*") else _LITERAL
            what = _RESOURCES[acl.resource], acl.name.removesuffix("*"), pattern
            who = f"User:{acl.user}", _EVERYWHERE, _OPERATIONS[acl.operation], _ALLOW
            answer = await admin._send_request_to_node(node, CreateAclsRequest(*what, *who))
            assert [code for code, _ in answer.creation_responses] == [0]

        async def all_known() -> bool:
            every = DescribeAclsRequest(_ANY, None, _ANY, None, None, _ANY, _ANY)
            answer = await admin._send_request_to_node(node, every)
            return sum(len(entries) for *_, entries in answer.resources) >= len(acls)

        await until(all_known)
