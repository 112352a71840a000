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


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (('{ file = "key" }', '{ file = "password" }'), r"store\.key: not a Fernet key"),
        (("noting:deliver", "absent:deliver"), r"sinks\.custom\.noting\.deliver: absent cannot be imported"),
    ],
)
def test_what_a_process_finds_wrong_only_at_its_work_ends_everything_too(
    kafka: KafkaSettings, tmp_path: Path, capfd: pytest.CaptureFixture[str], change: tuple[str, str], sentence: str
) -> None:
    site = Site(tmp_path)
    servers = f'bootstrap_servers = "127.0.0.1:{site.port["broker"]}"'
    where = f'bootstrap_servers = "{kafka.bootstrap_servers}"\ntopic_prefix = "{kafka.topic_prefix}"'
    site.config.write_text(site.config.read_text().replace(servers, where).replace(*change))
    command, port = ("sink", "custom", "noting"), site.port["custom"]
    worker = Worker(name="noting-1", family="noting", command=command, ops_port=port, ops_key="", does="")
    with pytest.raises(SettingsError, match=f"noting-1 refuses its configuration: {sentence}"):
        run(site, worker)
    printed = capfd.readouterr().out
    assert "noting-1 died (exit code 2)" in printed
    assert "Traceback" not in printed


def test_a_broker_that_refuses_it_ends_everything_before_anything_is_started(
    broker: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    site = Site(tmp_path)
    tls = replace(read_settings(site.config), kafka=KafkaSettings(bootstrap_servers=broker, security="ssl"))
    with pytest.raises(SettingsError, match=f"Kafka at {broker}"):
        run(site, settings=tls)
    assert "not started" not in capfd.readouterr().out
