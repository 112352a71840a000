"""Two `tradewind up` are never in each other's way."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fleet.lock import alone
from schemas.errors import SettingsError

PID = os.getpid()


def test_a_second_one_on_the_same_configuration_is_refused_with_the_pid_of_the_first(tmp_path: Path) -> None:
    config, link = tmp_path / "tradewind.toml", tmp_path / "link.toml"
    config.touch()
    link.symlink_to(config)
    with alone(config, tmp_path / "logs"):
        for name in (config, link):
            told = rf"tradewind\.toml is up already \(pid {PID}\): stop that one first"
            with pytest.raises(SettingsError, match=told), alone(name, tmp_path / "others"):
                pass
        config.unlink()  # as an editor does
        config.touch()
        with pytest.raises(SettingsError, match="is up already"), alone(config, tmp_path / "others"):
            pass
    with alone(config, tmp_path / "logs"):
        pass


def test_two_configurations_do_not_log_into_one_folder(tmp_path: Path) -> None:
    with alone(tmp_path / "a.toml", tmp_path / "logs"):
        told = rf"another `tradewind up` logs into {tmp_path}/logs \(pid {PID}\)"
        with pytest.raises(SettingsError, match=told), alone(tmp_path / "b.toml", tmp_path / "logs"):
            pass
        with alone(tmp_path / "b.toml", tmp_path / "others"):
            pass


def test_where_nothing_can_be_written_beside_the_configuration_the_logs_folder_has_to_do(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / ".tradewind").touch()  # no folder can be made there, whoever asks
    config = tmp_path / "etc" / "tradewind.toml"
    first, second = alone(config, tmp_path / "logs"), alone(config, tmp_path / "logs")
    with first, pytest.raises(SettingsError, match="logs into"), second:
        pass


def test_a_folder_for_logs_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(SettingsError, match=rf"--log-dir: {tmp_path}/file/logs cannot be written"),
        alone(tmp_path / "a.toml", tmp_path / "file" / "logs"),
    ):
        pass
