"""A rotation without a restart: what the files say counts soon, and what cannot be read changes nothing."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from ingest.hooks import Hooks
from ingest.secrets_watch import live_secrets, watch_secrets
from runtime.hook_secrets import fingerprint_of
from runtime.logs import JsonFormatter
from runtime.secret_file import add_secret, retire_secret
from runtime.settings import read_settings

pytestmark = pytest.mark.anyio

WINTER, SPRING = "winter-7f3a-0123456", "spring-91bc-0123456"
CONFIG = """\
[kafka]
bootstrap_servers = "127.0.0.1:1"
[store]
url = "sqlite+aiosqlite:///data.db"
key = { file = "key" }
"""
ACCOUNT = """
[accounts.{0}]
username = "api"
password = {{ file = "key" }}
hook_secret = {{ file = "{0}" }}
"""


class CountingExecutor(ThreadPoolExecutor):
    """The loop's own kind of thread pool; the watch looks at the files in it once an interval at least."""

    def __init__(self) -> None:
        super().__init__(2)
        self.submitted = 0

    def submit(self, *arguments: Any, **named: Any) -> Future[Any]:
        self.submitted += 1
        return super().submit(*arguments, **named)


class Site:
    """A configuration, the hooks made of it, and what the watch logged."""

    def __init__(self, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
        self.folder = folder
        self.config = folder / "tradewind.toml"
        self.looks = CountingExecutor()
        self._caplog = caplog
        self.write("key", "key-8e21")
        self.write("main", WINTER + "\n")
        self.configure("main")
        self.hooks = Hooks({})

    def write(self, name: str, text: str) -> None:
        """Give a file another content, of which nobody sees a half."""
        (self.folder / "next").write_text(text)
        (self.folder / "next").rename(self.folder / name)

    def configure(self, *accounts: str) -> None:
        self.write(self.config.name, CONFIG + "".join(map(ACCOUNT.format, accounts)))

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Between reading the configuration and the first look of the watch lies what the block does first."""
        asyncio.get_running_loop().set_default_executor(self.looks)
        settings = read_settings(self.config)
        self.hooks = Hooks(live_secrets(settings))
        watch = asyncio.create_task(watch_secrets(self.config, settings, self.hooks, interval_s=0.002))
        try:
            yield
            assert not watch.done()
        finally:
            watch.cancel()
            await asyncio.wait({watch})

    def opens(self, account: str, secret: str) -> bool:
        return self.hooks.account_of(f"/webhooks/{account}/{secret}") == account

    def events(self, name: str) -> list[dict[str, Any]]:
        lines = [JsonFormatter("ingest").format(record) for record in self._caplog.records]
        assert not [line for line in lines if WINTER in line or SPRING in line]
        return [entry for entry in map(json.loads, lines) if entry["event"] == name]

    def changed(self) -> list[dict[str, Any]]:
        return [event["accounts"] for event in self.events("ingest.secrets_changed")]

    def reasons(self) -> list[str]:
        return [event["reason"] for event in self.events("ingest.secrets_unreadable")]

    async def several_looks(self) -> None:
        due = self.looks.submitted + 20
        await until(lambda: self.looks.submitted >= due)


@pytest.fixture
def site(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Site:
    caplog.set_level(logging.INFO, "ingest.secrets_watch")
    return Site(tmp_path, caplog)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while True:
            if condition():
                return
            await asyncio.sleep(0.002)


async def test_a_rotation_counts_step_by_step_and_is_logged_by_fingerprints(site: Site) -> None:
    async with site.watched():
        old, new = add_secret(site.folder / "main")
        added = (site.folder / "main").read_text().split()[1]
        await until(lambda: site.opens("main", added))
        assert site.opens("main", WINTER)
        retire_secret(site.folder / "main", old)
        await until(lambda: not site.opens("main", WINTER))
        assert site.opens("main", added)
        await site.several_looks()
    assert site.changed() == [{"main": {"came": [new], "went": []}}, {"main": {"came": [], "went": [old]}}]


async def test_an_account_that_comes_or_goes_counts_too(site: Site) -> None:
    came = {"came": [fingerprint_of(SPRING)], "went": []}
    async with site.watched():
        site.write("other", SPRING)
        site.configure("main", "other")
        await until(lambda: site.opens("other", SPRING))
        site.configure("other")
        await until(lambda: not site.opens("main", WINTER))
    assert site.changed() == [{"other": came}, {"main": {"came": [], "went": [fingerprint_of(WINTER)]}}]


async def test_the_file_of_an_account_that_came_later_is_watched_as_well(site: Site) -> None:
    async with site.watched():
        site.write("other", WINTER)
        site.configure("main", "other")
        await until(lambda: site.opens("other", WINTER))
        site.write("other", SPRING)
        await until(lambda: site.opens("other", SPRING))
        assert not site.opens("other", WINTER)


async def test_while_the_files_cannot_be_read_the_old_secrets_count_and_each_reason_is_logged_once(site: Site) -> None:
    async with site.watched():
        site.write("main", "")
        await until(site.reasons)
        await site.several_looks()
        (site.folder / "main").unlink()
        await until(lambda: len(site.reasons()) == 2)
        await site.several_looks()
        site.write(site.config.name, "[")
        await until(lambda: len(site.reasons()) == 3)
        await site.several_looks()
        assert site.opens("main", WINTER)
        assert site.changed() == []
        site.write("main", SPRING)
        site.configure("main")
        await until(lambda: site.opens("main", SPRING))
    empty, gone, broken = site.reasons()
    assert "hook_secret holds one secret, or two during a rotation; found 0" in empty
    assert "cannot be read: No such file" in gone
    assert "not valid TOML" in broken
    assert site.changed() == [{"main": {"came": [fingerprint_of(SPRING)], "went": [fingerprint_of(WINTER)]}}]


async def test_a_configuration_that_can_be_read_again_is_told_though_no_secret_changed(site: Site) -> None:
    async with site.watched():
        site.write(site.config.name, "[")
        await until(site.reasons)
        site.configure("main")
        await until(site.changed)
    assert site.changed() == [{}]


async def test_a_file_that_another_one_takes_the_place_of_is_read_though_its_times_and_size_are_the_same(
    site: Site,
) -> None:
    async with site.watched():
        before = (site.folder / "main").stat()
        site.write("next", SPRING + "\n")
        os.utime(site.folder / "next", ns=(before.st_atime_ns, before.st_mtime_ns))
        (site.folder / "next").rename(site.folder / "main")
        await until(lambda: site.opens("main", SPRING))


async def test_a_change_before_the_first_look_is_not_missed(site: Site) -> None:
    async with site.watched():
        # The watch has not had a turn yet.
        assert site.looks.submitted == 0
        site.write("main", SPRING)
        await until(lambda: site.opens("main", SPRING))


async def test_files_that_do_not_change_are_not_read_again(site: Site) -> None:
    async with site.watched():
        await site.several_looks()
        # The watch does not look at this file; were the configuration read, it would be missed.
        (site.folder / "key").unlink()
        await site.several_looks()
        assert site.reasons() == []
    assert site.changed() == []
