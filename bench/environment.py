"""What the peers run in: an environment of their own for the Python ones, folders of jars and of what Go built."""

from __future__ import annotations

import hashlib
import json
import platform
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from runtime.broker_install import KAFKA_VERSION

ROOT = Path(__file__).parents[1]
PEERS = Path(__file__).parent / "peers"
HOME = ROOT / ".bench"
"""Ignored by git; removed, it is made anew."""

_LOCK = PEERS / "requirements.lock"
_STREAMS = PEERS / "kafka_streams"
_GO = PEERS / "go_ingest"
_SHOWN = ("faust-streaming", "quixstreams", "bytewax", "confluent-kafka", "orjson")


class NotAtHandError(Exception):
    """A program that a whole section needs is not installed; says how to get it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peers:
    """How the peers are started."""

    python: Path
    """Of the environment that has their libraries."""
    java: tuple[str, ...]
    """The command of the Kafka Streams program; empty where there is no JDK or no Maven."""
    versions: dict[str, str]


def prepare_peers(report: Callable[[str], None]) -> Peers:
    """Make what is missing in .bench/.

    Raises:
        CalledProcessError: a package or a jar cannot be had; the first time this needs a network.
    """
    python, java = peers_python(report), _streams(report)
    return Peers(python=python, java=java, versions=_versions(python, java=bool(java)))


def _stamped(folder: Path, *sources: Path) -> tuple[Path, str, bool]:
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()
    stamp = folder / "made-from"
    return stamp, digest, stamp.exists() and stamp.read_text() == digest


def peers_python(report: Callable[[str], None]) -> Path:
    """The interpreter of the environment that has the peers' libraries; made if it is missing.

    Raises:
        CalledProcessError: a package cannot be had; the first time this needs a network.
    """
    folder = HOME / "peers"
    python = folder / "bin" / "python"
    stamp, digest, is_made = _stamped(folder, _LOCK)
    if not is_made:
        report("installing the peers into .bench/ (first time only)")
        venv.create(folder, clear=True, with_pip=True)
        uv = Path(sys.executable).with_name("uv")
        command = [str(uv), "pip", "install", "--quiet", "--python", str(python), "--require-hashes", "-r", str(_LOCK)]
        subprocess.run(command, check=True)
        stamp.write_text(digest)
    return python


def _streams(report: Callable[[str], None]) -> tuple[str, ...]:
    java, maven = shutil.which("java"), shutil.which("mvn")
    if java is None or maven is None:
        return ()
    folder = HOME / "kafka_streams"
    stamp, digest, is_made = _stamped(folder, _STREAMS / "pom.xml", *_STREAMS.rglob("*.java"))
    if not is_made:
        report("building the Kafka Streams program (first time only)")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        pom, build = str(_STREAMS / "pom.xml"), f"-Dbench.build={folder}"
        subprocess.run([maven, "--quiet", "--batch-mode", "--file", pom, build, "package"], check=True)
        stamp.write_text(digest)
    return (java, "-cp", f"{folder / 'classes'}:{folder / 'lib'}/*", "Sessions")


def go_ingest(report: Callable[[str], None]) -> Path | None:
    """The receiver in Go, built if it is missing or has changed; None where Go is not at hand, or cannot build it."""
    if (go := shutil.which("go")) is None:
        return None
    folder = HOME / "go_ingest"
    stamp, digest, is_made = _stamped(folder, *sorted(_GO.iterdir()))
    program = folder / "go_ingest"
    if not is_made:
        report("building the Go receiver (first time only)")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        command = [go, "build", "-C", str(_GO), "-buildvcs=false", "-mod=readonly", "-o", str(program), "."]
        built = subprocess.run(command, capture_output=True, text=True, check=False)
        if built.returncode:
            report(f"Go cannot build it: {built.stderr.strip()[-500:]}")
            return None
        stamp.write_text(digest)
    return program


def go_versions(program: Path) -> dict[str, str]:
    """Of Go and of franz-go, as the built program tells them."""
    told = subprocess.check_output(["go", "version", "-m", str(program)], text=True)
    go, franz = re.search(r": go(\S+)", told), re.search(r"twmb/franz-go\s+v(\S+)", told)
    return {"Go": go.group(1) if go else "unknown", "franz-go": franz.group(1) if franz else "unknown"}


def versions_in(python: Path, names: tuple[str, ...]) -> dict[str, str]:
    """The versions of packages in the environment of an interpreter."""
    program = (
        f"import json; from importlib.metadata import version; print(json.dumps({{n: version(n) for n in {names}}}))"
    )
    found: dict[str, str] = json.loads(subprocess.check_output([python, "-c", program]))
    return found


def _versions(python: Path, *, java: bool) -> dict[str, str]:
    found = versions_in(python, _SHOWN)
    ours = {name: version(name) for name in ("tradewind", "aiokafka", "orjson")}
    streams = {}
    if java:
        told = subprocess.run(["java", "-version"], capture_output=True, text=True, check=True).stderr
        number = re.search(r'version "([^"]+)"', told)
        streams = {
            "Java (Kafka Streams)": number.group(1) if number else "unknown",
            "Kafka Streams": _streams_version(),
        }
    return {"Python": platform.python_version(), "Apache Kafka": KAFKA_VERSION, **ours, **found, **streams}


def _streams_version() -> str:
    found = re.search(
        r"<artifactId>kafka-streams</artifactId>\s*<version>([^<]+)</version>", (_STREAMS / "pom.xml").read_text()
    )
    return found.group(1) if found else "unknown"
