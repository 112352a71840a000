"""What ends everything while it is brought up: a configuration that a process, or the broker, refuses."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from fleet.plan import Plan, Worker
from fleet.run import Order, run_up
from fleet.voice import Voice
from runtime.settings import KafkaSettings, Settings, read_settings
from schemas.errors import SettingsError
from tests.fleet.running import Site


def run(site: Site, *workers: Worker, settings: Settings | None = None) -> None:
    order = Order(
        settings=settings or read_settings(site.config),
        config=site.config,
        plan=Plan(broker=False, workers=workers, left_out=()),
        broker=None,
        log_dir=site.folder / "logs",
        host="here",
    )
    voice = Voice(order.plan.names, coloured=False, json_logs=False, log_dir="logs")
    try:
        asyncio.run(run_up(order, voice))
    finally:
        voice.close()


def test_a_process_that_refuses_it_ends_everything_with_its_own_sentence(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    site = Site(tmp_path)
    command = ("sink", "forward", "nobody")
    port = site.port["forward"]
    worker = Worker(name="forward-1", family="forward", command=command, ops_port=port, ops_key="", does="")
    sentence = r"forward-1 refuses its configuration: .*tradewind\.toml: there is no \[sinks\.forward\.nobody\]"
    with pytest.raises(SettingsError, match=sentence):
        run(site, worker)
    assert "forward-1 died (exit code 2)" in capfd.readouterr().out


def test_a_broker_that_refuses_it_ends_everything_before_anything_is_started(
    broker: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    site = Site(tmp_path)
    tls = replace(read_settings(site.config), kafka=KafkaSettings(bootstrap_servers=broker, security="ssl"))
    with pytest.raises(SettingsError, match=f"Kafka at {broker}"):
        run(site, settings=tls)
    assert "not started" not in capfd.readouterr().out
