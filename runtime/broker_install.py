"""Fetch Apache Kafka's jars once into a cache folder, verified against kafka_jars.lock."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import BrokerError

KAFKA_VERSION = "4.3.1"
LOCK_FILE = Path(__file__).with_name("kafka_jars.lock")
_MANIFEST = "manifest.json"
_PARALLEL_DOWNLOADS = 6
_TIMEOUT_S = 30

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Jar:
    """One line of the lock: a Maven coordinate `group:artifact:version` and the SHA-256 of its jar, in hex."""

    coordinate: str
    sha256: str

    @property
    def relative_path(self) -> Path:
        """Where a Maven repository keeps it."""
        group, artifact, version = self.coordinate.split(":")
        return Path(*group.split("."), artifact, version, f"{artifact}-{version}.jar")


def default_cache_dir(environ: Mapping[str, str]) -> Path:
    """Give the per-user cache folder, by the XDG base directory specification."""
    home = environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(home) / "tradewind" / f"kafka-{KAFKA_VERSION}"


def locked_jars() -> tuple[Jar, ...]:
    """Read kafka_jars.lock: one line `sha256  group:artifact:version` for each jar of the class path."""
    lines = LOCK_FILE.read_text("utf-8").splitlines()
    rows = (line.split() for line in lines if not line.startswith("#"))
    return tuple(Jar(coordinate=coordinate, sha256=digest) for digest, coordinate in rows)


def ensure_jars(
    cache_dir: Path | None = None, *, repository: str | None = None, report: Report = lambda _: None
) -> tuple[Path, ...]:
    """Give Kafka's class path, downloading what the cache lacks; safe in several processes at once.

    The manifest is written last and names the lock it was made from, so neither a download cut short nor the jars
    of another version are taken for complete. A jar left half-written is found by its hash and fetched again.

    Args:
        cache_dir: where the jars are kept; None for the per-user cache folder.
        repository: URL of a Maven repository to use in place of Maven Central.
        report: gets a line for people on each step.

    Raises:
        BrokerError: no network, a jar whose hash is not the locked one, or a folder that cannot be written.
    """
    root = (cache_dir or default_cache_dir(os.environ)).absolute()
    jars = locked_jars()
    if _complete(root, jars):
        return _classpath(root, jars)
    try:
        root.mkdir(parents=True, exist_ok=True)
        with _exclusive(root / ".lock", report):
            if not _complete(root, jars):  # another process may have done it meanwhile
                _download(root, jars, repository, report)
                _write_manifest(root, jars)
    except OSError as error:
        raise BrokerError(f"cannot fetch Apache Kafka {KAFKA_VERSION} into {root}: {error}") from error
    return _classpath(root, jars)


def _classpath(root: Path, jars: tuple[Jar, ...]) -> tuple[Path, ...]:
    return tuple(root / "maven" / jar.relative_path for jar in jars)


def _complete(root: Path, jars: tuple[Jar, ...]) -> bool:
    """Compare the manifest with the lock and with the sizes on disk; hashes were checked before it was written."""
    try:
        sizes = json.loads((root / _MANIFEST).read_bytes())
        return bool(sizes) and all(
            sizes.get(f"{jar.coordinate} {jar.sha256}") == path.stat().st_size
            for jar, path in zip(jars, _classpath(root, jars), strict=True)
        )
    except (OSError, ValueError, AttributeError):
        return False  # missing or unreadable: fetch anew


def _write_manifest(root: Path, jars: tuple[Jar, ...]) -> None:
    paths = _classpath(root, jars)
    sizes = {f"{jar.coordinate} {jar.sha256}": path.stat().st_size for jar, path in zip(jars, paths, strict=True)}
    draft = root / f"{_MANIFEST}.draft"
    draft.write_text(json.dumps(sizes, indent=1), "utf-8")
    draft.replace(root / _MANIFEST)


@contextmanager
def _exclusive(path: Path, report: Report) -> Iterator[None]:
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report("another process is fetching Apache Kafka, waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield  # closing the file, or dying, releases the lock


def _download(root: Path, jars: tuple[Jar, ...], repository: str | None, report: Report) -> None:
    from jgo.maven import MavenContext  # noqa: PLC0415 - half a second, needed once per machine

    report(f"fetching Apache Kafka {KAFKA_VERSION} ({len(jars)} jars, 44 MB)")
    context = MavenContext(
        repo_cache=root / "maven",
        remote_repos={"central": repository} if repository else None,
        timeout=_TIMEOUT_S,
    )
    pool = ThreadPoolExecutor(_PARALLEL_DOWNLOADS)
    try:
        pending = [pool.submit(_fetch, context, jar) for jar in jars]
        for count, done in enumerate(as_completed(pending), 1):
            done.result()
            if count % 5 == 0 or count == len(jars):
                report(f"fetched {count}/{len(jars)} jars")
    finally:
        pool.shutdown(cancel_futures=True)


def _fetch(context: object, jar: Jar) -> None:
    """Download one jar unless it is there already, whole. jgo only warns when a checksum differs; we refuse."""
    path: Path = context.repo_cache / jar.relative_path  # type: ignore[attr-defined]  # jgo is untyped
    if path.exists():
        if _sha256(path) == jar.sha256:
            return
        path.unlink()  # jgo writes in place: this is what a download cut short leaves
    group, artifact, version = jar.coordinate.split(":")
    try:
        context.project(group, artifact).at_version(version).artifact().resolve()  # type: ignore[attr-defined]
    except RuntimeError as error:  # jgo's answer to anything but 200
        raise BrokerError(f"cannot fetch {jar.coordinate}: {error}") from error
    if _sha256(path) != jar.sha256:
        path.unlink()
        raise BrokerError(f"the download of {jar.coordinate} does not have the SHA-256 of {LOCK_FILE.name}")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
