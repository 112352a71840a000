"""What is done to the pipeline: each fault is done, undone, and tells in a line what was observed."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import Random

from tests.chaos.cluster import Cluster
from tests.chaos.node import Node
from tests.chaos.workers import SESSION_TIMEOUT_S, Workers

GUEST = "processors-3"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What faults act on, and the generator that they choose by."""

    cluster: Cluster
    workers: Workers
    rng: Random

    def worker(self) -> str:
        """One of the workers."""
        return self.rng.choice(self.workers.names())


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of fault, and the seconds to allow for it."""

    name: str
    cost_s: float
    act: Callable[[Stage], Awaitable[str]]


async def kill_worker(stage: Stage) -> str:
    """SIGKILL."""
    name = stage.worker()
    told = await stage.workers.end(name, signal.SIGKILL)
    return f"{told}, {await _back(stage, name)}"


async def stop_worker(stage: Stage) -> str:
    """SIGTERM."""
    name = stage.worker()
    told = await stage.workers.end(name, signal.SIGTERM)
    return f"{told}, {await _back(stage, name)}"


async def freeze_worker(stage: Stage) -> str:
    """SIGSTOP for longer than the session timeout: the group gives its partitions away, then it comes back."""
    name, seconds = stage.worker(), SESSION_TIMEOUT_S + stage.rng.uniform(1.5, 4)
    process = stage.workers.send(name, signal.SIGSTOP)
    await asyncio.sleep(seconds)
    stage.workers.send(name, signal.SIGCONT)
    await asyncio.sleep(stage.rng.uniform(1, 2))
    lives = process is not None and process.returncode is None
    return f"{name} frozen for {seconds:.1f} s, {'lives on' if lives else 'then ended'}"


async def roll_workers(stage: Stage) -> str:
    """SIGTERM one worker after the other, each when the one before is ready again."""
    told = []
    for name in stage.workers.names():
        told.append(await stage.workers.end(name, signal.SIGTERM))
        told.append(await _back(stage, name))
    return ", ".join(told)


async def kill_all_workers(stage: Stage) -> str:
    """SIGKILL to all at the same moment."""
    names = stage.workers.names()
    await asyncio.gather(*(stage.workers.end(name, signal.SIGKILL) for name in names))
    return f"{' and '.join(names)} killed, " + ", ".join([await _back(stage, name) for name in names])


async def stall_connections(stage: Stage) -> str:
    """Hold every byte of the workers' connections while the producers go on."""
    seconds = stage.rng.uniform(5, 10)
    for proxy in stage.cluster.proxies:
        proxy.stall()
    await asyncio.sleep(seconds)
    _resume(stage)
    return f"held for {seconds:.1f} s"


async def slow_connections(stage: Stage) -> str:
    """Delay each chunk of the workers' connections, or allow few bytes per second."""
    seconds = stage.rng.uniform(5, 8)
    delay_s = stage.rng.uniform(0.1, 0.5)
    bytes_per_s = stage.rng.choice([None, 20_000, 60_000])
    for proxy in stage.cluster.proxies:
        proxy.slow(delay_s=delay_s, bytes_per_s=bytes_per_s)
    await asyncio.sleep(seconds)
    _resume(stage)
    return f"{delay_s * 1000:.0f} ms per chunk, {bytes_per_s or 'any'} bytes/s, for {seconds:.1f} s"


async def cut_connections(stage: Stage) -> str:
    """Reset the workers' connections, several times in a row."""
    counts = []
    for _ in range(stage.rng.randint(1, 4)):
        counts.append(sum(proxy.cut() for proxy in stage.cluster.proxies))
        await asyncio.sleep(stage.rng.uniform(0.05, 0.6))
    return f"reset {' + '.join(map(str, counts))} connections"


async def guest_worker(stage: Stage) -> str:
    """Let a third worker join, work and leave."""
    stage.workers.start(GUEST)
    ready = await _back(stage, GUEST)
    await asyncio.sleep(stage.rng.uniform(2, 4))
    if stage.rng.random() < 0.5:
        return f"{ready}, {await stage.workers.retire(GUEST)}"
    killed = await stage.workers.end(GUEST, signal.SIGKILL)
    return f"{ready}, {killed}, {await stage.workers.retire(GUEST)}"


async def kill_broker(stage: Stage) -> str:
    """SIGKILL a node, and start it again."""
    return await _kill_node(stage, stage.rng.choice(stage.cluster.nodes))


async def kill_leader(stage: Stage) -> str:
    """SIGKILL the node that leads a partition of the raw log."""
    partition = stage.rng.randrange(4)
    return f"led partition {partition}: {await _kill_node(stage, await stage.cluster.leader(partition))}"


async def kill_controller(stage: Stage) -> str:
    """SIGKILL the active controller."""
    return f"was the controller: {await _kill_node(stage, stage.cluster.controller())}"


async def freeze_follower(stage: Stage) -> str:
    """SIGSTOP a node that is not the controller for longer than the leaders wait for a replica."""
    controller = stage.cluster.controller()
    node = stage.rng.choice([node for node in stage.cluster.nodes if node is not controller])
    seconds = stage.rng.uniform(4.5, 9)
    node.send(signal.SIGSTOP)
    try:
        await asyncio.sleep(seconds)
    finally:
        node.send(signal.SIGCONT)
    return f"node {node.number} frozen for {seconds:.1f} s, {await _whole(stage)}"


async def _kill_node(stage: Stage, node: Node) -> str:
    await node.kill()
    await asyncio.sleep(stage.rng.uniform(0, 2))
    await node.start()
    took = await node.up()
    return f"node {node.number} killed, answers {took:.1f} s after its start, {await _whole(stage)}"


async def _whole(stage: Stage) -> str:
    took = await stage.cluster.whole()
    return "replicas NOT in sync" if took is None else f"all replicas in sync after {took:.1f} s more"


async def _back(stage: Stage, name: str) -> str:
    took = await stage.workers.ready(name)
    return f"{name} NOT ready" if took is None else f"{name} ready after {took:.1f} s"


def _resume(stage: Stage) -> None:
    for proxy in stage.cluster.proxies:
        proxy.resume()


SINGLE = (
    Kind(name="worker killed", cost_s=6, act=kill_worker),
    Kind(name="worker frozen", cost_s=12, act=freeze_worker),
    Kind(name="worker stopped", cost_s=6, act=stop_worker),
    Kind(name="workers restarted in turn", cost_s=12, act=roll_workers),
    Kind(name="all workers killed", cost_s=6, act=kill_all_workers),
    Kind(name="connections stalled", cost_s=10, act=stall_connections),
    Kind(name="connections slow", cost_s=8, act=slow_connections),
    Kind(name="connections cut", cost_s=3, act=cut_connections),
    Kind(name="third worker", cost_s=11, act=guest_worker),
    Kind(name="broker killed", cost_s=9, act=kill_broker),
)
CLUSTER = (
    *SINGLE[:-1],
    Kind(name="leader killed", cost_s=16, act=kill_leader),
    Kind(name="controller killed", cost_s=16, act=kill_controller),
    Kind(name="follower frozen", cost_s=12, act=freeze_follower),
)
