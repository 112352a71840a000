"""The folder of a run: tradewind.toml for all accounts and subscribers, and the secrets beside it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.fernet import Fernet

from runtime.settings import StoreSettings
from runtime.toml_reader import Secret
from tests.sinks_chaos.subscribers import Subscriber

HOOK_SECRET = "hook-0123456789-of-no-use"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How patient everything is; seconds."""

    kill_after_s: float
    """From a sink's readiness to its SIGKILL."""
    unsettled_s: float
    """How long the sinks may need for what is left when the load and the kills have ended."""
    session_kill_every_s: float
    sinks: Mapping[str, float]
    """Keys of [sinks.mirror] and of each subscriber."""
    login: Mapping[str, float]
    """Keys of [servicetrade.login]."""


FULL = Pace(
    kill_after_s=10.0,
    unsettled_s=600.0,
    session_kill_every_s=5.0,
    sinks={"longest_pause_s": 20.0, "park_entity_after_s": 15.0, "park_after_s": 5.0},
    login={},
)
QUICK = Pace(
    kill_after_s=3.0,
    unsettled_s=180.0,
    session_kill_every_s=2.0,
    sinks={"longest_pause_s": 3.0, "park_entity_after_s": 2.0, "park_after_s": 1.0},
    login={"interval_s": 0.5, "longest_pause_s": 3.0},
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A folder with the configuration; `secrets` are the texts that no log may show."""

    folder: Path
    store: StoreSettings
    secrets: Sequence[str]

    @property
    def config(self) -> Path:
        """The configuration."""
        return self.folder / "tradewind.toml"


def build_site(
    folder: Path,
    *,
    servers: str,
    store_url: str,
    api_url: str,
    passwords: Mapping[str, str],
    subscribers: Sequence[Subscriber],
    pace: Pace,
) -> Site:
    """Write everything that the product's processes read."""
    secrets = folder / "secrets"
    secrets.mkdir()
    key = Fernet.generate_key().decode()
    _write(secrets / "store_key", key)
    _write(secrets / "hook", HOOK_SECRET)
    lines = [
        f"[kafka]\nbootstrap_servers = {_text(servers)}",
        f'[store]\nurl = {_text(store_url)}\nkey = {{ file = "secrets/store_key" }}',
        f"[servicetrade]\nbase_url = {_text(api_url)}",
        *_table("servicetrade.login", pace.login),
        *_table("sinks.mirror", pace.sinks),
    ]
    for one in subscribers:
        name = one.habit.name
        _write(secrets / f"to_{name}", one.secret)
        lines += [*_table(f"sinks.forward.{name}", pace.sinks), f"url = {_text(one.url)}"]
        lines += [f'secret = {{ file = "secrets/to_{name}" }}', "allow_private = true"]
        lines += [f"types = {json.dumps(list(one.habit.types))}"] if one.habit.types else []
    for account, password in passwords.items():
        _write(secrets / f"{account}_password", password)
        lines += [f"[accounts.{account}]", f'username = "{account}-api"', 'hook_secret = { file = "secrets/hook" }']
        lines += [f'password = {{ file = "secrets/{account}_password" }}']
    (folder / "tradewind.toml").write_text("\n".join(lines) + "\n", "utf-8")
    told = [key, *passwords.values(), *(secret for one in subscribers for secret in one.secrets)]
    return Site(folder=folder, store=StoreSettings(url=store_url, key=Secret(key)), secrets=told)


def _table(name: str, values: Mapping[str, float]) -> list[str]:
    return [f"[{name}]", *(f"{key} = {value}" for key, value in values.items())]


def _text(value: str) -> str:
    return json.dumps(value)


def _write(path: Path, secret: str) -> None:
    path.touch(mode=0o600)
    path.write_text(secret + os.linesep, "utf-8")
