"""Reads the webhook secrets again whenever their files change, so that a rotation needs no restart."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

from ingest.hooks import Hooks
from runtime.hook_secrets import fingerprint_of
from runtime.logs import log_event
from runtime.settings import Settings, read_settings
from schemas.errors import SettingsError

INTERVAL_S = 2.0

Stamp = tuple[int, int, int, int]
Fingerprints = dict[str, tuple[str, ...]]

_log = logging.getLogger(__name__)


def live_secrets(settings: Settings) -> dict[str, tuple[str, ...]]:
    """The live secrets of every account."""
    return {name: account.live_secrets for name, account in settings.accounts.items()}


async def watch_secrets(config: Path, settings: Settings, hooks: Hooks, *, interval_s: float = INTERVAL_S) -> None:
    """Keep `hooks` at what the files say, until it is cancelled.

    A configuration that cannot be read is logged and read again after every interval; what was in force stays so.

    Args:
        config: the configuration file; relative if it was so to the same working directory.
        settings: what was read from it when `hooks` was made.
        hooks: gets the secrets of every account that the files then name.
        interval_s: between two looks at the files, seconds.
    """
    known = _fingerprints(settings)
    seen: dict[Path, Stamp | None] = {}
    settled = False
    told = None
    while True:
        stamps = await asyncio.to_thread(_stamps, _files(config, settings))
        if stamps != seen or not settled:
            # After a change they are read once more: a clock's tick can hold two changes, of which one was read.
            settled, seen = stamps == seen, stamps
            try:
                settings = await asyncio.to_thread(read_settings, config)
            except (SettingsError, OSError) as error:
                settled = False
                if str(error) != told:
                    told = str(error)
                    log_event(_log, "ingest.secrets_unreadable", level=logging.WARNING, reason=told)
            else:
                hooks.replace(live_secrets(settings))
                changes = _changes(known, _fingerprints(settings))
                known = _fingerprints(settings)
                if changes or told is not None:
                    log_event(_log, "ingest.secrets_changed", accounts=changes)
                told = None
        await asyncio.sleep(interval_s)


def _fingerprints(settings: Settings) -> Fingerprints:
    return {name: tuple(map(fingerprint_of, live)) for name, live in live_secrets(settings).items()}


def _files(config: Path, settings: Settings) -> set[Path]:
    secrets = (account.hook_secret.file for account in settings.accounts.values())
    return {config, *(file for file in secrets if file is not None)}


def _stamps(files: Iterable[Path]) -> dict[Path, Stamp | None]:
    """What tells that a file is another or was changed; None for one that cannot be looked at."""
    return {file: _stamp(file) for file in files}


def _stamp(file: Path) -> Stamp | None:
    try:
        found = file.stat()
    except OSError:
        return None
    # Its change time too: it moves with the mode, and with a modification time that is set back.
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino


def _changes(old: Mapping[str, tuple[str, ...]], new: Mapping[str, tuple[str, ...]]) -> dict[str, dict[str, list[str]]]:
    """Per account whose secrets are not the same ones, the fingerprints that came and those that went."""
    changes: dict[str, dict[str, list[str]]] = {}
    for account in sorted(old.keys() | new.keys()):
        before, after = old.get(account, ()), new.get(account, ())
        came = [one for one in after if one not in before]
        went = [one for one in before if one not in after]
        if came or went:
            changes[account] = {"came": came, "went": went}
    return changes
