"""Pure: whether files of secrets are private, and hook secrets hard to guess and each account's own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from doctor.finding import CONFIGURATION, Finding

_GROUP_READS, _OTHERS_READ = 0o040, 0o004
_GROUP_ENTERS, _OTHERS_ENTER = 0o010, 0o001
RANDOM_CHARACTERS = 22
"""So many of A-Z, a-z, 0-9, - and _ hold 128 random bits."""
DIFFERENT_CHARACTERS = 10
"""A random secret of 22 has fewer about once in 400 million."""


def readers_of(mode: int, folders: Iterable[int]) -> str:
    """Who besides its owner can read a file; empty: nobody.

    Args:
        mode: of the file.
        folders: modes of all folders above it: who may not enter one of them does not reach the file.
    """
    above = list(folders)
    if mode & _OTHERS_READ and all(folder & _OTHERS_ENTER for folder in above):
        return "everybody on this machine"
    # Somebody of the file's group may be one of the others to a folder above.
    if mode & _GROUP_READS and all(folder & (_GROUP_ENTERS | _OTHERS_ENTER) for folder in above):
        return "its group"
    return ""


def file_findings(
    file: str, keys: Sequence[str], mode: int, folders: Iterable[int], *, mounted: bool
) -> Iterator[Finding]:
    """Whether a file with secrets is its owner's alone.

    Args:
        file: its path.
        keys: of the configuration, that name it.
        mode: of the file.
        folders: see `readers_of`.
        mounted: read-only, as a container's secrets are: who sees the mount may read it, and a mode that locked the
            container's user out would be wrong.
    """
    if not mounted and (readers := readers_of(mode, folders)):
        what = f"holds {', '.join(keys)} and can be read by {readers} (mode {mode & 0o777:04o})"
        yield CONFIGURATION.warning(file, what, f"chmod 600 {file}")


def hook_findings(secrets: Mapping[str, Sequence[str]], passwords: Mapping[str, str]) -> Iterator[Finding]:
    """Whether the accounts' hook secrets, which are all that guards ingest, are worth something.

    Args:
        secrets: the live ones of each account.
        passwords: of each account on ServiceTrade.
    """
    owners: dict[str, list[str]] = {}
    for account, live in secrets.items():
        key = f"accounts.{account}.hook_secret"
        renew = f"`tradewind secret new {account}`, then what it says"
        for secret in live:
            owners.setdefault(secret, []).append(account)
        for weakness in sorted({weakness_of(secret) for secret in live} - {""}):
            yield CONFIGURATION.warning(key, f"may be guessed: {weakness}", renew)
        if passwords.get(account) in live:
            what = "is the account's password: it stands in URLs, which proxies log"
            yield CONFIGURATION.warning(key, what, renew)
    for accounts in sorted({tuple(accounts) for accounts in owners.values()}):
        if len(accounts) > 1:
            what = f"one secret for {', '.join(accounts)}: who knows the URL of one knows all of theirs"
            others = ", ".join(f"accounts.{account}.hook_secret" for account in accounts[1:])
            yield CONFIGURATION.warning(
                f"accounts.{accounts[0]}.hook_secret",
                what,
                f"a file of its own, `tradewind secret new --print`: {others}",
            )


def weakness_of(secret: str) -> str:
    """Why a hook secret may be guessed; empty: it looks random, which is all that can be seen."""
    if len(secret) < RANDOM_CHARACTERS:
        return f"{len(secret)} characters, and {RANDOM_CHARACTERS} random ones hold 128 bits"
    if (different := len(set(secret))) < DIFFERENT_CHARACTERS:
        return f"only {different} different characters"
    return ""
