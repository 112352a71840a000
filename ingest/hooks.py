"""Pure: which webhook URLs are valid, and whose they are."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping

from runtime.hook_secrets import fingerprint_of

_NOBODY = (hashlib.sha256(b"").digest(),)


class Hooks:
    """Accounts by webhook path, `/webhooks/{account}/{secret}`; only hashes of the secrets are kept.

    Args:
        secrets: per account one live secret, or two during a rotation.
    """

    def __init__(self, secrets: Mapping[str, Iterable[str]]) -> None:
        self._hashes = _hashes_of(secrets)

    def replace(self, secrets: Mapping[str, Iterable[str]]) -> None:
        """Let other accounts and secrets count from the next path on: all of them at once."""
        self._hashes = _hashes_of(secrets)

    def account_of(self, path: str) -> str | None:
        """The account that a request path belongs to, or None.

        ServiceTrade takes a redirect for "delivered", so a trailing slash is accepted rather than redirected.
        """
        match path.rstrip("/").split("/"):
            case ["", "webhooks", account, secret]:
                given = hashlib.sha256(secret.encode()).digest()
                hashes = self._hashes
                # An unknown account costs the same time as a wrong secret, and every hash is compared.
                live = hashes.get(account, _NOBODY)
                matches = [hmac.compare_digest(given, known) for known in live]
                return account if any(matches) and account in hashes else None
            case _:
                return None

    def suspect_of(self, path: str) -> tuple[str | None, str] | None:
        """What a log may tell about a path: its account and the fingerprint of its secret.

        Returns:
            None if the path has not the shape of a webhook URL. The account is None if it is not known: what stands in
            its place may be a secret.
        """
        match path.rstrip("/").split("/"):
            case ["", "webhooks", account, secret]:
                return account if account in self._hashes else None, fingerprint_of(secret)
            case _:
                return None


def _hashes_of(secrets: Mapping[str, Iterable[str]]) -> dict[str, tuple[bytes, ...]]:
    return {
        account: tuple(hashlib.sha256(secret.encode()).digest() for secret in live) for account, live in secrets.items()
    }
