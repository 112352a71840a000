"""The demo's folder: its accounts, secrets, ports and configuration file, made anew for every run."""

from __future__ import annotations

import fcntl
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from cryptography.fernet import Fernet

from demo.stage import DemoAccount, Stage
from runtime.broker_config import free_port
from runtime.settings import read_settings
from schemas.errors import SettingsError

MARKER = ".tradewind-demo"
RULES = Path(__file__).with_name("rules.toml")
PROCESSORS = 2
MIRROR = "mirror-1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Site(Stage):
    """Where everything is."""

    folder: Path
    lock: IO[str]
    """Held for as long as the demo runs: a second one in the same folder would empty it under the first."""
    config: Path
    simulator_port: int
    ops_ports: dict[str, int]


def make_site(folder: Path) -> Site:
    """Empty the folder and set the demo up in it.

    Raises:
        SettingsError: the folder holds something that no demo made, or another demo runs in it.
    """
    folder = folder.absolute()
    lock = _take(folder)
    (folder / "secrets").mkdir()
    accounts = tuple(
        DemoAccount(
            name=name,
            username=f"api@{name}.example",
            password=secrets.token_urlsafe(12),
            user_id=900_001 + number,
            hook_secret=secrets.token_urlsafe(24),
        )
        for number, name in enumerate(("acme", "birch", "cedar"))
    )
    ports: list[int] = []
    names = ["broker", "simulator", "ingest", "ingest-ops", MIRROR, *_processor_names()]
    for _ in names:
        ports.append(free_port(ports))
    port = dict(zip(names, ports, strict=True))
    for account in accounts:
        _secret(folder, f"{account.name}-password", account.password)
        _secret(folder, f"{account.name}-hook", account.hook_secret)
    _secret(folder, "store-key", Fernet.generate_key().decode())
    config = folder / "tradewind.toml"
    config.write_text(_toml(folder, accounts, port))
    return Site(
        folder=folder,
        lock=lock,
        config=config,
        settings=read_settings(config),
        accounts=accounts,
        simulator_url=f"http://127.0.0.1:{port['simulator']}",
        ingest_url=f"http://127.0.0.1:{port['ingest']}",
        simulator_port=port["simulator"],
        ops_ports={"ingest": port["ingest-ops"], **{name: port[name] for name in (MIRROR, *_processor_names())}},
    )


def _take(folder: Path) -> IO[str]:
    """Lock the folder and empty it."""
    if folder.exists() and any(folder.iterdir()) and not (folder / MARKER).exists():
        raise SettingsError(f"{folder} is not empty and was not made by the demo: choose another --folder")
    folder.mkdir(parents=True, exist_ok=True)
    lock = (folder / MARKER).open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.close()
        raise SettingsError(f"a demo is running in {folder}: stop it first, or choose another --folder") from error
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != MARKER:
            path.unlink()
    return lock


def _processor_names() -> list[str]:
    return [f"processors-{number}" for number in range(1, PROCESSORS + 1)]


def _secret(folder: Path, name: str, value: str) -> None:
    path = folder / "secrets" / name
    path.touch(mode=0o600)
    path.write_text(value + "\n")


def _toml(folder: Path, accounts: tuple[DemoAccount, ...], port: dict[str, int]) -> str:
    lines = [
        "# Written by the demo; a configuration for real use looks the same (see tradewind.example.toml).",
        "[kafka]",
        f'bootstrap_servers = "127.0.0.1:{port["broker"]}"',
        "[broker]",
        'data_dir = "kafka"',
        f"port = {port['broker']}",
        "[servicetrade]",
        f'base_url = "http://127.0.0.1:{port["simulator"]}"',
        "[store]",
        f'url = "sqlite+aiosqlite:///{folder / "store.db"}"',
        'key = { file = "secrets/store-key" }',
        "[ingest]",
        f"port = {port['ingest']}",
        f"ops_port = {port['ingest-ops']}",
        'spool = { folder = "spool" }',
        "[processors]",
        # Of the first; the others' are told by flag.
        f"ops_port = {port[_processor_names()[0]]}",
        "[sinks.mirror]",
        f"ops_port = {port[MIRROR]}",
    ]
    for account in accounts:
        lines += [
            f"[accounts.{account.name}]",
            f'username = "{account.username}"',
            f'password = {{ file = "secrets/{account.name}-password" }}',
            f'hook_secret = {{ file = "secrets/{account.name}-hook" }}',
        ]
    return "\n".join(lines) + "\n"
