"""Brings the processes up, keeps them running until a signal, and drains them so that as little as can be is refused.

The order of the start: first the broker, and ingest as soon as it can be, for it takes webhooks into its spool while
the broker is away; then all others. The order of the end: processors and sinks, side by side, for what they hold is in
Kafka; then ingest, which took webhooks until then (ServiceTrade gives up on one within seconds, so what counts is how
long ingest is away); the broker last.

A process that dies is started again at once, and, if it keeps dying, after growing pauses; all others run on. One that
refuses its configuration (exit code 2) when it is started first ends everything, for then somebody is there to mend it.
Later that is like any other death: that a file is being edited is no reason to refuse webhooks.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from fleet.plan import BROKER, INGEST, Plan, Worker
from fleet.remarks import MISCONFIGURED, Remark, Started, back, died, table, unclean
from fleet.specs import broker_spec, worker_spec
from fleet.voice import Voice
from fleet.watch import Death, Return, Watch
from runtime.broker import PreparedBroker
from runtime.broker_config import HOST
from runtime.kafka import KafkaError
from runtime.kafka.topics import ensure_topics, full_name
from runtime.settings import Settings
from runtime.supervisor import Supervisor
from schemas.errors import SettingsError
from schemas.topics import WEBHOOKS

_BROKER_S = 20.0
"""The embedded broker is up after 3 s, or some more if it was killed. Where there are no topics yet all wait for it."""
_KAFKA_S = 3.0
"""The same for a Kafka that is elsewhere; one that refuses connections is not waited for."""
_RETRY_S = 0.5
_ATTEMPT_S = 20.0
_READY_S = 60.0
_POLL_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to bring up.

    Attributes:
        settings: all of them.
        config: the file that they came from.
        plan: what runs.
        broker: the embedded broker, if the plan has it.
        log_dir: gets a file per process.
        host: of this machine; a part of the processes' names in Kafka's groups.
    """

    settings: Settings
    config: Path
    plan: Plan
    broker: PreparedBroker | None
    log_dir: Path
    host: str


async def run_up(order: Order, voice: Voice) -> int:
    """Run everything until SIGINT, SIGTERM or SIGHUP; a second SIGINT or SIGTERM kills what still drains.

    Returns:
        0 if every process has finished what it held; 1 if one had to be killed, or had failed.

    Raises:
        SettingsError: a process refused its configuration while it was brought up.
    """
    run = _Run(order, voice)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, run.interrupt)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup
        # A lost terminal tells of itself more than once, and nobody meant anything by it.
        loop.add_signal_handler(signal.SIGHUP, run.stop.set)
    return await run.run()


class _Run:
    """One run."""

    def __init__(self, order: Order, voice: Voice) -> None:
        self.stop = asyncio.Event()
        self._order = order
        self._voice = voice
        self._watch = Watch(on_death=self._died, on_return=self._back)
        self._supervisor = Supervisor(log_dir=order.log_dir, on_event=self._watch, on_line=voice.line)
        self._watch.supervisor = self._supervisor
        self._kafka_is_away = asyncio.Event()
        self._draining = False
        self._refused = ""

    def interrupt(self) -> None:
        """Somebody wants an end; if the first one is under way: at once."""
        if self._draining:
            self._voice.say(Remark(event="up.killing", level="warning", text="killing what still runs"))
            self._supervisor.kill()
        self.stop.set()

    async def run(self) -> int:
        async with self._supervisor:
            starting = asyncio.create_task(self._bring_up())
            stopping = asyncio.create_task(self.stop.wait())
            await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not starting.done() or starting.exception() is None:
                await stopping
            self._draining = True
            self._watch.cancel()
            for task in (starting, stopping):
                task.cancel()
            await asyncio.wait({starting, stopping})
            await self._drain()
        if not starting.cancelled():
            starting.result()
        if self._refused:
            raise SettingsError(self._refused)
        found = list(unclean(self._watch.ended))
        for remark in found:
            self._voice.say(remark)
        ended = "all had finished what they held" if not found else f"{len(found)} of {len(self._watch.ended)} had not"
        self._voice.say(Remark(event="up.stopped", text=f"stopped; {ended}", fields={"unclean": len(found)}))
        return 1 if found else 0

    async def _bring_up(self) -> None:
        """Start everything, and say when all of it is ready."""
        began, order = time.monotonic(), self._order
        ingest = [worker for worker in order.plan.workers if worker.name == INGEST]
        others = [worker for worker in order.plan.workers if worker.name != INGEST]
        async with asyncio.TaskGroup() as tasks:
            if order.broker is not None:
                await self._supervisor.start(broker_spec(order.broker))
            topics = tasks.create_task(self._make_topics(), name="topics")
            if order.broker is not None and self._has_topics(order.broker):
                await self._start(ingest)
                ingest = []
            # Workers wait for a broker by themselves; but one that finds no topic ends, and is started again.
            away = tasks.create_task(self._kafka_is_away.wait())
            patience_s = _BROKER_S if order.broker else _KAFKA_S
            await asyncio.wait({topics, away}, timeout=patience_s, return_when=asyncio.FIRST_COMPLETED)
            away.cancel()
            if self.stop.is_set():
                return
            await self._start((*ingest, *others))
            self._tell_what_runs()
            await self._until_ready(began)
            await topics

    async def _start(self, workers: Iterable[Worker]) -> None:
        config, host = self._order.config.absolute(), self._order.host
        for worker in workers:
            await self._supervisor.start(worker_spec(worker, config=config, ops_port=worker.ops_port, host=host))

    def _has_topics(self, broker: PreparedBroker) -> bool:
        """Whether the raw log is there already: by its first partition's folder, for the broker does not answer yet."""
        return (broker.data_dir / "kafka" / f"{full_name(self._order.settings.kafka, WEBHOOKS)}-0").exists()

    async def _make_topics(self) -> None:
        """Create the topics that are missing, as soon as there is a broker, and say where others differ."""
        kafka, said = self._order.settings.kafka, ""
        patient_until = time.monotonic() + _BROKER_S  # the embedded one takes a while
        while True:
            try:
                async with asyncio.timeout(_ATTEMPT_S):
                    report = await ensure_topics(kafka)
                break
            except SettingsError as error:  # waiting does not help; but nothing is ended that runs
                reason = str(error)
                if not said:
                    self._refuse(reason)
                    return
            except (KafkaError, OSError, TimeoutError) as error:
                reason = str(error) or type(error).__name__
            if reason != said and (self._order.broker is None or time.monotonic() > patient_until):
                said = reason
                text = f"waiting for Kafka at {kafka.bootstrap_servers}: {reason}; ingest keeps webhooks in its spool"
                fields = {"servers": kafka.bootstrap_servers, "reason": reason}
                self._voice.say(Remark(event="up.waiting", level="warning", text=text, fields=fields))
                self._kafka_is_away.set()
            await asyncio.sleep(_RETRY_S)
        if report.created:
            text = f"created the topics {', '.join(report.created)}"
            self._voice.say(Remark(event="up.topics", text=text, fields={"created": report.created}))
        for sentence in report.wrong:
            self._voice.say(Remark(event="up.topic_wrong", level="warning", text=sentence))

    def _tell_what_runs(self) -> None:
        plan, settings, supervisor = self._order.plan, self._order.settings, self._supervisor
        rows = []
        if self._order.broker is not None:
            address = self._order.broker.bootstrap_servers
            rows.append(Started(name=BROKER, pid=supervisor.pid(BROKER) or 0, address=address, ops="", does="Kafka"))
        for worker in plan.workers:
            address = f"{settings.ingest.host}:{settings.ingest.port}" if worker.name == INGEST else ""
            pid, ops = supervisor.pid(worker.name) or 0, f"{HOST}:{worker.ops_port}"
            rows.append(Started(name=worker.name, pid=pid, address=address, ops=ops, does=worker.does))
        for remark in table(rows, [(one.name, one.why) for one in plan.left_out]):
            self._voice.say(remark)

    async def _until_ready(self, began: float) -> None:
        waiting, told = set(self._order.plan.names), False
        while waiting:
            waiting -= {name for name in waiting if await self._supervisor.is_ready(name)}
            if waiting and not told and time.monotonic() - began > _READY_S:
                told = True
                names = sorted(waiting)
                text = f"not ready after {_READY_S:g} s: {', '.join(names)}; logs are in {self._order.log_dir}"
                fields = {"names": names}
                self._voice.say(Remark(event="up.not_ready", level="warning", text=text, fields=fields))
            await asyncio.sleep(_POLL_S if waiting else 0)
        took_s = time.monotonic() - began
        text = f"all are ready after {took_s:.1f} s; logs in {self._order.log_dir}; Ctrl-C drains and stops them"
        self._voice.say(Remark(event="up.ready", text=text, fields={"after_s": round(took_s, 3)}))

    async def _drain(self) -> None:
        everybody = set(self._order.plan.names)
        groups = [everybody - {INGEST, BROKER}, {INGEST}, {BROKER}]
        text = "stopping: processors and sinks finish what they hold, then ingest, then the broker; Ctrl-C again kills"
        self._voice.say(Remark(event="up.stopping", text=text))
        for group in groups:
            running = [name for name in self._supervisor.names if name in group]
            await asyncio.gather(*(self._supervisor.stop(name) for name in running))

    def _refuse(self, why: str) -> None:
        """End what was hardly begun, for the configuration has to be mended."""
        self._refused = self._refused or why
        self.stop.set()

    def _died(self, death: Death) -> None:
        words = self._voice.words_of(death.name)
        if death.status == MISCONFIGURED and death.at_first:
            self._refuse(f"{death.name} refuses its configuration: {words or 'it does not say why'}")
        log = str(self._order.log_dir / f"{death.name}.log")
        if remark := died(death.name, death.status, death.in_a_row, words=words, log=log):
            self._voice.say(remark)

    def _back(self, found: Return) -> None:
        self._voice.say(
            back(
                found.name,
                found.pid,
                status=found.status,
                deaths=found.deaths,
                restarted_after_s=found.restarted_after_s,
                ready_after_s=found.ready_after_s,
            )
        )
