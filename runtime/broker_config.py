"""What the embedded broker is told: its ports, server.properties, logging and JVM flags."""

from __future__ import annotations

import json
import os
import random
import shutil
import socket
import tempfile
import time
from collections.abc import Container, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from runtime.broker_install import KAFKA_VERSION
from schemas.errors import BrokerError

HOST = "127.0.0.1"
_STATE = "broker.json"
_CLAIM_S = 60
# Below the ephemeral range of Linux (32768) and macOS (49152). From inside it, any outgoing connection can take the
# port while the broker is down; a client that retries on loopback can even connect to itself and keep it.
_PORTS = range(20_000, 32_000)
# Four times the body limit of ingest (4 MiB), and room for what a record batch adds.
_MAX_MESSAGE_BYTES = 4 * 4 * 1024**2 + 1024**2


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerState:
    """What a data folder remembers: its ports, and the Kafka that wrote it."""

    port: int
    controller_port: int
    kafka_version: str


def load_or_create_state(data_dir: Path, *, port: int, controller_port: int) -> BrokerState:
    """Read what the folder remembers, or choose free ports; ports given (not 0) win, and are remembered.

    Raises:
        BrokerError: the folder holds something else, or the data of a newer Kafka.
        OSError: the folder cannot be written.
    """
    path = data_dir / _STATE
    old = _read_state(path)
    if old is None and data_dir.exists() and any(data_dir.iterdir()):
        raise BrokerError(f"{data_dir} is not empty and holds no broker data: choose another folder")
    if old is not None and _numbers(old.kafka_version) > _numbers(KAFKA_VERSION):
        raise BrokerError(
            f"{data_dir} was written by Kafka {old.kafka_version}, newer than {KAFKA_VERSION}: it cannot go back"
        )
    broker = port or (old.port if old else 0) or free_port()
    controller = controller_port or (old.controller_port if old else 0) or free_port({broker})
    state = BrokerState(port=broker, controller_port=controller, kafka_version=KAFKA_VERSION)
    if state != old:
        data_dir.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(".draft")
        draft.write_text(json.dumps(asdict(state)), "utf-8")
        draft.replace(path)
    return state


def _read_state(path: Path) -> BrokerState | None:
    try:
        return BrokerState(**json.loads(path.read_bytes()))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise BrokerError(f"{path} is damaged: {error}") from error


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def port_is_free(port: int) -> bool:
    """Tell whether a server could listen on this loopback port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the JVM does
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def free_port(besides: Container[int] = ()) -> int:
    """A loopback port that nobody listens on and no outgoing connection is given.

    Raises:
        BrokerError: none is left.
    """
    for port in random.sample(_PORTS, 200):
        if port not in besides and port_is_free(port) and _claimed(port):
            return port
    raise BrokerError(f"no free port between {_PORTS.start} and {_PORTS.stop}")


def _claimed(port: int) -> bool:
    """Make a port ours for a minute or two against others on this machine who choose one before either listens."""
    claims, now = Path(tempfile.gettempdir()) / f"tradewind-ports-{os.getuid()}", int(time.time() // _CLAIM_S)
    try:
        if (claims / str(now - 1) / str(port)).exists():
            return False
        (claims / str(now)).mkdir(parents=True, exist_ok=True)
        (claims / str(now) / str(port)).touch(exist_ok=False)
    except FileExistsError:
        return False
    for old in claims.iterdir():
        if old.name not in (str(now - 1), str(now), str(now + 1)):
            shutil.rmtree(old, ignore_errors=True)  # somebody else does it at the same time
    return True


def write_config(data_dir: Path, state: BrokerState, properties: Mapping[str, object]) -> None:
    """Write server.properties, in which the given `properties` win, and log4j2.xml into the data folder.

    Raises:
        BrokerError: Kafka could not be given this path: `log.dirs` is a list separated by commas.
        OSError: the folder cannot be written.
    """
    if "," in str(data_dir):
        raise BrokerError(f"{data_dir}: Kafka allows no comma in the path of its data")
    lines = {**_server_properties(data_dir, state), **properties}
    text = "".join(f"{key}={_escaped(str(value))}\n" for key, value in lines.items())
    (data_dir / "server.properties").write_text(text, "ascii")
    (data_dir / "log4j2.xml").write_text(_LOG4J2, "ascii")
    for folder in ("logs", "tmp"):
        (data_dir / folder).mkdir(exist_ok=True)


def _escaped(value: str) -> str:
    r"""Escape for java.util.Properties: a file in Latin-1, where `\` escapes and \uXXXX are UTF-16 units."""
    units = value.replace("\\", "\\\\").encode("utf-16-be")
    pairs = (int.from_bytes(units[at : at + 2], "big") for at in range(0, len(units), 2))
    return "".join(chr(unit) if 32 <= unit < 127 else f"\\u{unit:04x}" for unit in pairs)  # noqa: PLR2004 - printable


def _server_properties(data_dir: Path, state: BrokerState) -> dict[str, object]:
    return {
        "process.roles": "broker,controller",
        "node.id": 1,
        "listeners": f"BROKER://{HOST}:{state.port},CONTROLLER://{HOST}:{state.controller_port}",
        "advertised.listeners": f"BROKER://{HOST}:{state.port}",
        "listener.security.protocol.map": "BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "BROKER",
        "controller.listener.names": "CONTROLLER",
        # A static quorum is read anew at each start, so that the controller's port may change.
        "controller.quorum.voters": f"1@{HOST}:{state.controller_port}",
        "log.dirs": data_dir / "kafka",
        "auto.create.topics.enable": "false",
        "delete.topic.enable": "true",
        "message.max.bytes": _MAX_MESSAGE_BYTES,
        # A broker that was killed is refused as "another broker with that id" until its old session ends, and asks
        # again every 2 s: with the default of 9 s it is back after 14 s, with 2 s after 5 s (measured).
        "broker.session.timeout.ms": 2_000,
        "broker.heartbeat.interval.ms": 400,
        "num.network.threads": 2,
        "num.io.threads": 4,
        "num.recovery.threads.per.data.dir": 2,
        "group.initial.rebalance.delay.ms": 0,
        "offsets.topic.num.partitions": 8,
        "offsets.topic.replication.factor": 1,
        "transaction.state.log.num.partitions": 4,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        "share.coordinator.state.topic.num.partitions": 4,
        "share.coordinator.state.topic.replication.factor": 1,
        "share.coordinator.state.topic.min.isr": 1,
    }


def java_command(java: Path, classpath: tuple[Path, ...], data_dir: Path, *, heap_mb: int) -> list[str]:
    """Give the command line of a JVM with Kafka on its class path, up to and without the main class.

    Serial collector, first-level compiler: measured on 2 cores, up in 2.8 s for 3.5 s of CPU against 4.0 s for 6.4 s
    with the defaults; the full compiler's steady state is cheaper only after some 70,000 produce requests.
    """
    return [
        str(java),
        f"-Xmx{heap_mb}m",
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        "-XX:+ExitOnOutOfMemoryError",  # a broker out of memory dies visibly and is restarted
        "-XX:-UsePerfData",
        "-Djava.awt.headless=true",
        # Native parts of the codecs are unpacked here; /tmp may be mounted noexec or read-only.
        f"-Djava.io.tmpdir={data_dir / 'tmp'}",
        f"-Dtradewind.logs={data_dir / 'logs'}",
        f"-Dlog4j2.configurationFile={data_dir / 'log4j2.xml'}",
        # Java 24 and later warn on stderr about what Kafka and its codecs do by design.
        "--sun-misc-unsafe-memory-access=allow",
        "--enable-native-access=ALL-UNNAMED",
        "-cp",
        ":".join(map(str, classpath)),
    ]


_LOG4J2 = """\
<Configuration status="ERROR" shutdownHook="disable">
  <Appenders>
    <RollingFile name="file" fileName="${sys:tradewind.logs}/server.log"
                 filePattern="${sys:tradewind.logs}/server.%i.log">
      <PatternLayout pattern="%d %p %m (%c{1})%n"/>
      <SizeBasedTriggeringPolicy size="8 MB"/>
      <DefaultRolloverStrategy max="2"/>
    </RollingFile>
  </Appenders>
  <Loggers>
    <Root level="INFO"><AppenderRef ref="file"/></Root>
  </Loggers>
</Configuration>
"""
