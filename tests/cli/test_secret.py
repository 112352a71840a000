"""`tradewind secret` as a person uses it; no secret is ever in what it says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.hook_secrets import fingerprint_of
from runtime.settings import HOOK_SECRET, read_settings

WINTER, SPRING, AUTUMN, SUMMER = (f"{season}-7f3a-0123456" for season in ("winter", "spring", "autumn", "summer"))
CONFIG = """\
[kafka]
bootstrap_servers = "127.0.0.1:1"
[store]
url = "sqlite+aiosqlite:///data.db"
key = { env = "HOME" }
"""
ACCOUNT = """
[accounts.{name}]
username = "api"
password = {{ env = "HOME" }}
hook_secret = {source}
"""
FILE, VARIABLE = '{ file = "hook" }', '{ env = "HOOK" }'


class Desk:
    """A folder with a configuration, and the command run in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "hook"
        self.file.write_text(WINTER + "\n")

    def configure(self, **sources: str) -> None:
        accounts = [ACCOUNT.format(name=name, source=source) for name, source in sources.items()]
        (self.folder / "tradewind.toml").write_text(CONFIG + "".join(accounts))

    def live(self) -> list[str]:
        """The fingerprints of the secrets in the file."""
        return [fingerprint_of(secret) for secret in self.file.read_text().split()]

    def run(self, *arguments: str) -> str:
        """What a command says that succeeds."""
        ended = self.ended(*arguments)
        assert (ended.returncode, ended.stderr) == (0, "")
        return ended.stdout

    def refusal(self, *arguments: str) -> str:
        """The one sentence of a command that fails, and leaves the file as it was."""
        held = self.file.read_bytes()
        ended = self.ended(*arguments)
        assert (ended.returncode, ended.stdout) == (2, "")
        assert self.file.read_bytes() == held
        assert ended.stderr.startswith("tradewind: ")
        assert ended.stderr.count("\n") == 1
        return ended.stderr.removeprefix("tradewind: ").strip()

    def ended(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "cli.main", "secret", *arguments]
        environment = {**os.environ, "HOOK": f"{AUTUMN} {SUMMER}"}
        secrets = {AUTUMN, SUMMER, *self.file.read_text().split()}
        ended = subprocess.run(
            command, capture_output=True, text=True, timeout=60, cwd=self.folder, check=False, env=environment
        )
        secrets |= set(self.file.read_text().split())
        assert not [secret for secret in secrets if secret in ended.stdout + ended.stderr]
        return ended


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = Desk(tmp_path)
    desk.configure(main=FILE)
    return desk


def test_a_rotation_adds_the_new_secret_and_retires_the_old_one(desk: Desk) -> None:
    said = desk.run("new", "main")
    old, new = desk.live()
    assert old == fingerprint_of(WINTER)
    assert said.startswith(f"main: {new} is live beside {old}, in hook\n")
    assert "ingest.secrets_changed" in said
    assert said.index("tradewind subscribe main\n") < said.index(f"tradewind secret retire main {old}\n")

    assert desk.run("list") == (
        f"account  fingerprint  age     file\nmain     {old}     old     hook\nmain     {new}     newest  hook\n"
    )
    refused = desk.refusal("new", "main")
    assert refused == f"hook: two secrets are live already, {old} (old) and {new} (newest): retire one first"

    assert desk.run("retire", "main", old) == f"main: {old} is retired, {new} stays, in hook\n"
    assert set(desk.live()) == {new}
    assert desk.run("list", "main").splitlines()[1:] == [f"main     {new}     newest  hook"]
    assert desk.refusal("retire", "main", new) == f"hook: {new} is the last secret: add a new one first"


def test_a_secret_is_printed_to_begin_with_and_nothing_is_changed_or_read(desk: Desk) -> None:
    (desk.folder / "tradewind.toml").unlink()
    first, second = (desk.run("new", "--print") for _ in range(2))
    assert first != second
    assert HOOK_SECRET.fullmatch(first.strip())
    assert desk.file.read_text() == WINTER + "\n"


@pytest.mark.parametrize("arguments", [("new",), ("new", "main", "--print")])
def test_new_either_adds_a_secret_or_prints_one(desk: Desk, arguments: tuple[str, ...]) -> None:
    assert desk.refusal(*arguments) == (
        "tradewind secret new ACCOUNT adds a secret, tradewind secret new --print shows one"
    )


def test_the_help_of_new_says_how_to_begin(desk: Desk) -> None:
    assert "tradewind secret new --print > FILE" in " ".join(desk.run("new", "--help").replace("│", " ").split())


def test_secrets_from_the_environment_are_listed_and_left_to_the_person(desk: Desk) -> None:
    desk.configure(main=FILE, other=VARIABLE)
    assert desk.run("list", "other").splitlines()[1:] == [
        f"other    {fingerprint_of(AUTUMN)}     old     from the environment",
        f"other    {fingerprint_of(SUMMER)}     newest  from the environment",
    ]
    for arguments in (("new", "other"), ("retire", "other", fingerprint_of(AUTUMN))):
        assert desk.refusal(*arguments).startswith("other: hook_secret comes from an environment variable, which only")


def test_accounts_that_share_a_file_are_all_named(desk: Desk) -> None:
    desk.configure(main=FILE, other=FILE.replace("hook", "./hook"))
    said = desk.run("new", "other")
    assert said.startswith("main, other: ")
    assert "tradewind subscribe main\n" in said
    assert "tradewind subscribe other\n" in said
    assert desk.run("retire", "other", desk.live()[0]).startswith("main, other: ")


@pytest.mark.parametrize("arguments", [("retire", WINTER, "0"), ("list", "main", WINTER)])
def test_an_unknown_account_is_not_repeated_as_it_may_be_a_secret(desk: Desk, arguments: tuple[str, ...]) -> None:
    assert desk.refusal(*arguments) == "no such account is configured; there are: main"


def test_a_file_that_cannot_be_written_is_a_sentence(desk: Desk) -> None:
    # Not even root may write the id of the boot, which has the shape of a secret.
    desk.configure(main='{ file = "/proc/sys/kernel/random/boot_id" }')
    assert desk.refusal("new", "main") == "/proc/sys/kernel/random/boot_id: cannot be written: Permission denied"


def test_a_configuration_without_the_secret_file_is_a_sentence(desk: Desk) -> None:
    desk.configure(main=FILE, other='{ file = "nothing" }')
    assert "accounts.other.hook_secret: secret file nothing cannot be read" in desk.refusal("new", "main")


def test_a_secret_knows_its_file_and_is_equal_to_the_same_one_from_elsewhere(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOK", WINTER)
    desk.configure(main=FILE, other=VARIABLE)
    accounts = read_settings(desk.folder / "tradewind.toml").accounts
    from_file, from_variable = accounts["main"].hook_secret, accounts["other"].hook_secret
    assert (from_file.file, from_variable.file) == (desk.file, None)
    assert from_file == from_variable
    assert hash(from_file) == hash(from_variable)
