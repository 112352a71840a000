"""A file of secrets that is changed in place while others read it, write it, or leave it no room."""

from __future__ import annotations

import concurrent.futures
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from runtime.hook_secrets import fingerprint_of, live_in
from runtime.secret_file import add_secret, new_secret, retire_secret
from runtime.settings import HOOK_SECRET
from schemas.errors import SettingsError

FIRST = "4c" * 24  # as long as `openssl rand -hex 24` makes them
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
ROUNDS = 150


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "hook"
    path.write_text(FIRST + "\n")
    return path


def live(file: Path) -> tuple[str, ...]:
    return live_in(file.read_text())


class Reader:
    """Reads the file over and over, and notes what it should not have found."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.due = (0, FIRST)
        """The number of the change that is under way, and the secret that stays through it."""
        self.stopped = False
        self.reads = 0
        self.faults: list[str] = []

    def run(self) -> None:
        while not self.stopped:
            before = self.due
            found = self.file.read_text().split()
            self.reads += 1
            if len(found) not in (1, 2) or not all(HOOK_SECRET.fullmatch(word) for word in found):
                self.faults.append(f"change {before[0]}: malformed, words of {[len(word) for word in found]}")
            elif self.due == before and before[1] not in found:
                self.faults.append(f"change {before[0]}: the secret that stays is missing")


@contextmanager
def reading(file: Path) -> Iterator[Reader]:
    reader = Reader(file)
    thread = threading.Thread(target=reader.run)
    thread.start()
    try:
        yield reader
    finally:
        reader.stopped = True
        thread.join()


def test_who_reads_while_secrets_come_and_go_always_finds_the_one_that_stays(file: Path) -> None:
    inode = file.stat().st_ino
    with reading(file) as reader:
        for number in range(ROUNDS):
            (present,) = live(file)
            reader.due = (2 * number, present)
            old, new = add_secret(file)
            # Every third time the new one goes again.
            gone, stays = (new, old) if number % 3 == 2 else (old, new)
            (staying,) = [secret for secret in live(file) if fingerprint_of(secret) == stays]
            reader.due = (2 * number + 1, staying)
            assert retire_secret(file, gone) == stays
            assert live(file) == (staying,)
    assert reader.reads > ROUNDS
    assert reader.faults == []
    assert (file.stat().st_ino, file.stat().st_size < 200) == (inode, True)


def test_a_new_secret_is_the_newest_and_the_file_stays_the_same_one_with_its_mode(file: Path) -> None:
    file.chmod(0o640)
    before = file.stat()
    old, new = add_secret(file)
    after = file.stat()
    assert [fingerprint_of(secret) for secret in live(file)] == [old, new]
    assert live(file)[0] == FIRST
    assert (after.st_ino, after.st_mode, after.st_uid) == (before.st_ino, before.st_mode, before.st_uid)


@pytest.mark.parametrize("text", ["{0}", "{0}\n", "\n {0}  \n\n", "{0}\r\n", "{0}\n{0}\n"])
def test_a_secret_is_added_to_a_file_however_it_is_laid_out(file: Path, text: str) -> None:
    file.write_bytes(text.format(FIRST).encode())
    add_secret(file)
    assert (len(live(file)), live(file)[0]) == (2, FIRST)


def test_a_third_secret_is_refused_with_the_fingerprints_of_the_two(file: Path) -> None:
    old, new = add_secret(file)
    held = file.read_bytes()
    with pytest.raises(SettingsError, match=rf"two .* live already, {old} \(old\) and {new} \(newest\): retire one"):
        add_secret(file)
    assert file.read_bytes() == held


def test_the_last_secret_is_not_removed_though_the_file_holds_it_twice(file: Path) -> None:
    old, new = add_secret(file)
    retire_secret(file, old)
    held = file.read_bytes()
    assert held.count(live(file)[0].encode()) == 2
    with pytest.raises(SettingsError, match=f"{new} is the last secret: add a new one first"):
        retire_secret(file, new)
    assert file.read_bytes() == held


def test_nothing_of_a_retired_secret_is_left_in_the_file(file: Path) -> None:
    retire_secret(file, add_secret(file)[0].upper())
    assert b"4c4c" not in file.read_bytes()


def test_an_unknown_fingerprint_is_not_repeated_as_it_may_be_the_secret(file: Path) -> None:
    old, new = add_secret(file)
    with pytest.raises(SettingsError) as caught:
        retire_secret(file, FIRST)
    assert str(caught.value) == f"{file}: no secret has this fingerprint; live: {old} (old) and {new} (newest)"


@pytest.mark.parametrize("text", ["", "short", f"{FIRST} with/a/slash/0123456789", "one two three"])
def test_a_file_that_holds_something_else_is_left_alone(file: Path, text: str) -> None:
    file.write_text(text)
    with pytest.raises(SettingsError, match="holds something else than one or two hook secrets") as caught:
        add_secret(file)
    assert file.read_text() == text
    assert FIRST not in str(caught.value)


@pytest.mark.parametrize("path", [BOOT_ID, Path("/proc/none/such")])
def test_a_file_that_cannot_be_written_is_a_sentence(path: Path) -> None:
    # Not even root may write the id of the boot.
    with pytest.raises(SettingsError, match=rf"{path}: cannot be written: (Permission denied|No such file)"):
        add_secret(path)


def test_half_a_secret_that_the_disk_had_room_for_is_taken_back(file: Path) -> None:
    held = file.read_bytes()
    code = """if True:
        import pathlib, resource, sys
        from runtime.secret_file import add_secret
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
        add_secret(pathlib.Path(sys.argv[1]))
    """
    arguments = [sys.executable, "-c", code, str(file), str(len(held) + 10)]
    ended = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False)
    assert f"SettingsError: {file}: cannot be written: File too large" in ended.stderr
    assert file.read_bytes() == held


def test_of_many_commands_at_once_one_adds_and_the_others_are_refused(file: Path) -> None:
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        commands = [pool.submit(add_secret, file) for _ in range(8)]
    errors = [command.exception() for command in commands]
    assert [type(error) for error in errors].count(SettingsError) == 7
    assert errors.count(None) == 1
    assert len(live(file)) == 2


def test_a_link_to_the_file_stays_a_link(file: Path) -> None:
    link = file.with_name("link")
    link.symlink_to(file)
    add_secret(link)
    assert link.is_symlink()
    assert len(live(file)) == 2


def test_no_descriptor_is_left_open(file: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    retire_secret(file, add_secret(file)[0])
    with pytest.raises(SettingsError):
        retire_secret(file, "00000000")
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_new_secret_is_one_that_the_configuration_takes() -> None:
    assert HOOK_SECRET.fullmatch(new_secret())
    assert new_secret() != new_secret()
