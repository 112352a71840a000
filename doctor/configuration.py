"""Reads the configuration, and looks at the files and keys that it names."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from cryptography.fernet import Fernet

from doctor.checks_secrets import file_findings, hook_findings
from doctor.finding import CONFIGURATION, Finding, many
from runtime.settings import Settings, read_settings
from runtime.toml_reader import Secret
from schemas.errors import SettingsError


def read(config: Path) -> tuple[Settings | None, list[Finding]]:
    """The settings, or None and why they cannot be read."""
    try:
        settings = read_settings(config)
    except SettingsError as error:
        do = "put it right; tradewind.example.toml explains every key"
        if not config.exists():
            do = "copy tradewind.example.toml to tradewind.toml and fill it in, or name the file with --config"
        return None, [CONFIGURATION.failed(str(config), str(error), do)]
    what = f"read, and valid: {many(len(settings.accounts), 'account')}"
    return settings, [CONFIGURATION.ok(str(config), what), *_secrets(settings), store_key(settings)]


def _secrets(settings: Settings) -> list[Finding]:
    files = files_of(settings)
    hooks = {name: account.live_secrets for name, account in settings.accounts.items()}
    passwords = {name: account.password.reveal() for name, account in settings.accounts.items()}
    open_to_others = [one for file, keys in files.items() for one in _looked_at(file, keys)]
    guessable = list(hook_findings(hooks, passwords))
    if not open_to_others:
        told = f"{many(len(files), 'file')}, each readable by its owner alone" if files else "none is in a file"
        if any(map(is_mounted, files)):
            told += ", or mounted read-only"
        open_to_others = [CONFIGURATION.ok("secrets", told)]
    if not guessable:
        told = f"{many(sum(map(len, hooks.values())), 'hook secret')}, long and distinct"
        guessable = [CONFIGURATION.ok("hook secrets", told)]
    return [*open_to_others, *guessable]


def _looked_at(file: Path, keys: list[str]) -> Iterator[Finding]:
    try:
        whole = file.resolve()
        mode, folders = whole.stat().st_mode, [folder.stat().st_mode for folder in whole.parents]
        mounted = is_mounted(whole)
    except OSError as error:  # it was read a moment ago
        yield CONFIGURATION.warning(str(file), f"cannot be looked at: {error.strerror}", "look at it by hand")
    else:
        yield from file_findings(str(file), keys, mode, folders, mounted=mounted)


def is_mounted(file: Path) -> bool:
    """Whether it is on a mount that can only be read.

    Raises:
        OSError: it cannot be looked at.
    """
    return bool(os.statvfs(file).f_flag & os.ST_RDONLY)


def store_key(settings: Settings) -> Finding:
    """Whether store.key is a key; whether it is the right one is known from the store."""
    keys = settings.store.key.reveal().split()
    try:
        for key in keys:
            Fernet(key)
    except ValueError:
        keys = []
    if not keys:
        what = "no Fernet key (32 bytes in URL-safe base64): no session can be stored"
        return CONFIGURATION.failed("store.key", what, "`tradewind key` prints a new one, for the file or variable")
    return CONFIGURATION.ok("store.key", many(len(keys), "valid Fernet key"))


def files_of(settings: Settings) -> dict[Path, list[str]]:
    """The files that hold a secret, each with the keys of the configuration that name it."""
    files: dict[Path, list[str]] = {}
    for key, secret in _named(settings, ""):
        if secret.file is not None:
            files.setdefault(secret.file, []).append(key)
    tls = settings.kafka.tls
    private = tls.key_file or tls.cert_file  # a certificate's key may be in its own file
    if private is not None:
        files.setdefault(private, []).append("kafka.tls.key_file" if tls.key_file else "kafka.tls.cert_file")
    return files


def _named(value: Any, key: str) -> Iterator[tuple[str, Secret]]:
    """Every secret in there, with its key."""
    inside: Mapping[str, Any] = {}
    if isinstance(value, Secret):
        yield key, value
    elif isinstance(value, Mapping):
        inside = value
    elif is_dataclass(value):
        inside = {item.name: getattr(value, item.name) for item in fields(value)}
    for name, one in inside.items():
        yield from _named(one, f"{key}.{name}" if key else name)
