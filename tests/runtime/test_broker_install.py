"""The cache of Kafka's jars, against a Maven repository on loopback."""

from __future__ import annotations

import functools
import http.server
import os
import shutil
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from runtime.broker_install import default_cache_dir, ensure_jars, locked_jars
from schemas.errors import BrokerError


class Repository(http.server.ThreadingHTTPServer):
    """Serves a folder as a Maven repository and counts what is asked for."""

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
        self.asked: Counter[str] = Counter()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.SimpleHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Repository)
        if self.path.endswith(".jar"):
            self.server.asked[self.path.rsplit("/", 1)[1]] += 1
        super().do_GET()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(folder: Path) -> Iterator[Repository]:
    with Repository(folder) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def jars_folder() -> Path:
    ensure_jars()
    return default_cache_dir(os.environ) / "maven"


@pytest.fixture
def repository(jars_folder: Path) -> Iterator[Repository]:
    with serving(jars_folder) as server:
        yield server


def test_the_jars_are_fetched_once_even_by_several_at_once(repository: Repository, tmp_path: Path) -> None:
    with ThreadPoolExecutor() as pool:
        runs = [pool.submit(ensure_jars, tmp_path, repository=repository.url) for _ in range(2)]
        first, second = (run.result() for run in runs)

    assert first == second == ensure_jars(tmp_path, repository=repository.url)
    assert all(path.is_file() for path in first)
    assert set(repository.asked.values()) == {1}
    assert len(repository.asked) == len(locked_jars())


def test_a_jar_cut_short_is_fetched_again_and_only_that(repository: Repository, tmp_path: Path) -> None:
    classpath = ensure_jars(tmp_path, repository=repository.url)
    whole = classpath[0].read_bytes()
    repository.asked.clear()
    classpath[0].write_bytes(whole[:1000])

    ensure_jars(tmp_path, repository=repository.url)

    assert classpath[0].read_bytes() == whole
    assert repository.asked == {classpath[0].name: 1}


def test_a_jar_with_another_hash_than_the_locked_one_is_refused(jars_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(jars_folder, tmp_path / "repository")
    jar = locked_jars()[0]
    (tmp_path / "repository" / jar.relative_path).write_bytes(b"something else")

    with serving(tmp_path / "repository") as server, pytest.raises(BrokerError, match=jar.coordinate):
        ensure_jars(tmp_path / "cache", repository=server.url)

    assert not (tmp_path / "cache" / "manifest.json").exists()


def test_without_a_network_the_error_says_what_could_not_be_fetched(tmp_path: Path) -> None:
    with Repository(tmp_path) as server:
        url = server.url  # nobody listens once the block is left

    with pytest.raises(BrokerError, match=r"cannot fetch Apache Kafka 4\.3\.1"):
        ensure_jars(tmp_path, repository=url)


def test_the_cache_is_where_xdg_says() -> None:
    assert default_cache_dir({"XDG_CACHE_HOME": "/x"}) == Path("/x/tradewind/kafka-4.3.1")
    assert default_cache_dir({}) == Path.home() / ".cache/tradewind/kafka-4.3.1"
