"""Pure: which webhook URLs are valid, and whose they are."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping

_NOBODY = (hashlib.sha256(b"").digest(),)


class Hooks:
    """Accounts by webhook path, `/webhooks/{account}/{secret}`; only hashes of the secrets are kept.

    Args:
        secrets: per account one live secret, or two during a rotation.
    """

    def __init__(self, secrets: Mapping[str, Iterable[str]]) -> None:
        self._hashes = {
            account: tuple(hashlib.sha256(secret.encode()).digest() for secret in live)
            for account, live in secrets.items()
        }

    def account_of(self, path: str) -> str | None:
        """The account that a request path belongs to, or None.

        ServiceTrade takes a redirect for "delivered", so a trailing slash is accepted rather than redirected.
        """
        match path.rstrip("/").split("/"):
            case ["", "webhooks", account, secret]:
                given = hashlib.sha256(secret.encode()).digest()
                # An unknown account costs the same time as a wrong secret, and every hash is compared.
                live = self._hashes.get(account, _NOBODY)
                matches = [hmac.compare_digest(given, known) for known in live]
                return account if any(matches) and account in self._hashes else None
            case _:
                return None
