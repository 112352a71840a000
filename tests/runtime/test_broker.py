"""The embedded broker: a real Kafka, started, killed and started again."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.structs import TopicPartition

from runtime.broker import answers, prepare, running_broker
from schemas.errors import BrokerError

pytestmark = pytest.mark.anyio


def wait_until(condition: Callable[[], bool], *, deadline_s: float = 30) -> None:
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, "the condition did not come true in time"
        time.sleep(0.02)


def is_gone(pid: int) -> bool:
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return state.stdout.strip()[:1] in ("", "Z")


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("broker") / "dätä of one broker"
    prepare(folder)
    return folder


async def produce(servers: str, topic: str, value: bytes) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, 1, 1)])
    finally:
        await admin.close()
    async with AIOKafkaProducer(bootstrap_servers=servers, acks="all", max_request_size=2**25) as producer:
        await producer.send_and_wait(topic, value)


async def consume(servers: str, topic: str) -> bytes:
    consumer = AIOKafkaConsumer(bootstrap_servers=servers)
    consumer.assign([TopicPartition(topic, 0)])
    async with consumer:
        await consumer.seek_to_beginning()
        record = await consumer.getone()
    assert isinstance(record.value, bytes)
    return record.value


async def test_a_record_and_the_port_survive_the_killing_of_the_broker(data_dir: Path) -> None:
    value = os.urandom(16 * 1024**2)  # as large as the architecture allows
    said: list[str] = []
    with running_broker(data_dir, report=said.append) as broker:
        await produce(broker.bootstrap_servers, "kept", value)
        os.kill(broker.pid, signal.SIGKILL)

    with running_broker(data_dir) as again:
        assert again.bootstrap_servers == broker.bootstrap_servers
        assert await consume(again.bootstrap_servers, "kept") == value

    assert is_gone(again.pid)
    assert said[-1].startswith(f"up on {broker.bootstrap_servers} after ")


def test_the_broker_goes_when_its_parent_is_killed(data_dir: Path) -> None:
    script = (
        "import pathlib, sys, time, runtime.broker as b\n"
        "with b.running_broker(pathlib.Path(sys.argv[1])) as broker:\n"
        "    print(broker.pid, flush=True)\n"
        "    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(data_dir)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert not is_gone(pid)
        parent.kill()

    wait_until(lambda: is_gone(pid))


def test_a_process_becomes_the_broker_and_stops_on_sigterm(data_dir: Path) -> None:
    port = prepare(data_dir).port
    script = "import pathlib, sys, runtime.broker as b\nb.exec_broker(b.prepare(pathlib.Path(sys.argv[1])))\n"
    with subprocess.Popen([sys.executable, "-c", script, str(data_dir)]) as process:
        try:
            wait_until(lambda: answers(port) or process.poll() is not None)
            assert answers(port)
            process.terminate()
            assert process.wait(30) == 128 + signal.SIGTERM  # the JVM's way to say that a signal ended it
        finally:
            process.kill()


def test_a_broker_that_ends_while_starting_says_why(data_dir: Path, tmp_path: Path) -> None:
    folder = tmp_path / "broken"
    (folder / "kafka").mkdir(parents=True)
    (folder / "broker.json").write_text((data_dir / "broker.json").read_text())
    (folder / "kafka" / "meta.properties").write_text("version=1\nnode.id=7\ncluster.id=x\n")

    with pytest.raises(BrokerError, match=r"(?s)node.id.*The whole log: .*server\.log"), running_broker(folder):
        pass


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(BrokerError, match=f"port {port} is taken"):
            prepare(tmp_path / "data", port=port)


def test_a_folder_with_other_things_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("Dear")

    with pytest.raises(BrokerError, match="holds no broker data"):
        prepare(tmp_path)


def test_data_of_a_newer_kafka_is_refused(data_dir: Path, tmp_path: Path) -> None:
    state = json.loads((data_dir / "broker.json").read_text())
    (tmp_path / "broker.json").write_text(json.dumps(state | {"kafka_version": "4.10.0"}))

    with pytest.raises(BrokerError, match=r"4\.10\.0, newer than"):
        prepare(tmp_path)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(BrokerError, match="cannot write"):
        prepare(tmp_path / "file" / "data")
