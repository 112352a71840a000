"""The harness's Kafka: one node or three, each with a direct listener and one behind a proxy."""

from __future__ import annotations

import asyncio
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from runtime.broker_config import HOST, free_port
from runtime.kafka import KafkaError
from runtime.kafka.topics import open_admin
from runtime.settings import KafkaSettings
from schemas.topics import CHANGES, DEADLETTERS, RULES, WEBHOOKS
from tests.chaos.node import Node, Ports
from tests.chaos.proxy import Proxy

WHOLE_DEADLINE_S = 40.0
ASK_DEADLINE_S = 10.0
POLL_S = 0.3
REPLICA_LAG_MS = 3_000
FOLDER_OF_DATA = "kafka"


@dataclass(slots=True, kw_only=True)
class Cluster:
    """Nodes and the proxies before them."""

    nodes: Sequence[Node]
    proxies: Sequence[Proxy]

    @property
    def direct(self) -> KafkaSettings:
        """The cluster as the harness reaches it."""
        return self._settings([node.ports.direct for node in self.nodes])

    @property
    def proxied(self) -> KafkaSettings:
        """The cluster as the workers reach it."""
        return self._settings([node.ports.proxy for node in self.nodes])

    def _settings(self, ports: Sequence[int]) -> KafkaSettings:
        servers = ",".join(f"{HOST}:{port}" for port in ports)
        return KafkaSettings(bootstrap_servers=servers, replication_factor=len(self.nodes))

    def controller(self) -> Node:
        """The node that is the active controller, by what the nodes last wrote down."""
        _, number = max(node.quorum() for node in self.nodes)
        return self.nodes[max(number, 1) - 1]

    async def leader(self, partition: int) -> Node:
        """The node that leads a partition of servicetrade.webhooks.

        Raises:
            KafkaError: nobody answers.
        """
        async with open_admin(self.direct) as admin:
            (topic,) = await admin.describe_topics([WEBHOOKS.name])
        leaders = {entry["partition"]: entry["leader"] for entry in topic["partitions"]}
        return self.nodes[max(int(leaders[partition]), 1) - 1]

    async def whole(self) -> float | None:
        """Wait until every replica is in sync; gives the seconds it took, None if it took too long."""
        began = time.monotonic()
        while time.monotonic() - began < WHOLE_DEADLINE_S:
            if await self._in_sync():
                return time.monotonic() - began
            await asyncio.sleep(POLL_S)
        return None

    async def _in_sync(self) -> bool:
        try:
            async with asyncio.timeout(ASK_DEADLINE_S), open_admin(self.direct) as admin:
                topics = await admin.describe_topics([topic.name for topic in (WEBHOOKS, CHANGES, DEADLETTERS, RULES)])
        except (KafkaError, TimeoutError):
            return False
        parts = [part for topic in topics for part in topic["partitions"]]
        return bool(parts) and all(len(part["isr"]) == len(self.nodes) for part in parts)

    async def registered(self) -> None:
        """Wait until every node counts every other among the living."""
        async with asyncio.timeout(WHOLE_DEADLINE_S):
            while True:
                async with open_admin(self.direct) as admin:
                    if len((await admin.describe_cluster())["brokers"]) == len(self.nodes):
                        return
                await asyncio.sleep(POLL_S)


@asynccontextmanager
async def running_cluster(folder: Path, *, size: int) -> AsyncIterator[Cluster]:
    """Run `size` combined brokers and controllers, and their proxies, for the length of a block."""
    taken: set[int] = set()
    nodes = [
        Node(
            number=number,
            ports=_ports(taken),
            folder=folder / f"node-{number}",
            heap_mb=512 if size == 1 else 384,
        )
        for number in range(1, size + 1)
    ]
    cluster_id = "C" + urlsafe_b64encode(uuid.uuid4().bytes).decode()[1:22]  # a leading "-" would be an option
    await asyncio.gather(*(node.format(_properties(node, nodes), cluster_id) for node in nodes))
    async with AsyncExitStack() as stack:
        proxies = [
            await stack.enter_async_context(Proxy(port=node.ports.proxy, upstream_port=node.ports.proxied))
            for node in nodes
        ]
        cluster = Cluster(nodes=nodes, proxies=proxies)
        try:
            for node in nodes:
                await node.start()
            await asyncio.gather(*(node.up() for node in nodes))
            await cluster.registered()
            yield cluster
        finally:
            await asyncio.gather(*(node.stop() for node in nodes))


def _ports(taken: set[int]) -> Ports:
    chosen: list[int] = []
    for _ in range(4):
        chosen.append(free_port(taken))
        taken.add(chosen[-1])
    return Ports(direct=chosen[0], proxied=chosen[1], controller=chosen[2], proxy=chosen[3])


def _properties(node: Node, nodes: Sequence[Node]) -> str:
    """Give server.properties; the folder's path holds nothing that java.util.Properties escapes."""
    ports, copies = node.ports, len(nodes)
    sure = max(1, copies - 1)
    values: dict[str, object] = {
        "process.roles": "broker,controller",
        "node.id": node.number,
        "listeners": f"DIRECT://{HOST}:{ports.direct},PROXIED://{HOST}:{ports.proxied},CONTROLLER://{HOST}:{ports.controller}",
        "advertised.listeners": f"DIRECT://{HOST}:{ports.direct},PROXIED://{HOST}:{ports.proxy}",
        "listener.security.protocol.map": "DIRECT:PLAINTEXT,PROXIED:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "DIRECT",
        "controller.listener.names": "CONTROLLER",
        "controller.quorum.voters": ",".join(f"{one.number}@{HOST}:{one.ports.controller}" for one in nodes),
        "log.dirs": node.folder / FOLDER_OF_DATA,
        "auto.create.topics.enable": "false",
        "unclean.leader.election.enable": "false",
        "min.insync.replicas": sure,
        "replica.lag.time.max.ms": REPLICA_LAG_MS,
        # A killed broker is let in again only when its old session has ended; among three, a frozen follower must
        # first be missed by the leaders (above), and only a longer freeze by the controller.
        "broker.session.timeout.ms": 2_000 if copies == 1 else 6_000,
        "broker.heartbeat.interval.ms": 400,
        "num.network.threads": 2,
        "num.io.threads": 4,
        "num.recovery.threads.per.data.dir": 2,
        "message.max.bytes": 17 * 1024**2,
        "group.initial.rebalance.delay.ms": 0,
        "group.min.session.timeout.ms": 1_000,
        "offsets.topic.num.partitions": 4,
        "offsets.topic.replication.factor": copies,
        "transaction.state.log.num.partitions": 2,
        "transaction.state.log.replication.factor": copies,
        "transaction.state.log.min.isr": sure,
        "share.coordinator.state.topic.num.partitions": 2,
        "share.coordinator.state.topic.replication.factor": copies,
        "share.coordinator.state.topic.min.isr": sure,
    }
    return "".join(f"{key}={value}\n" for key, value in values.items())
