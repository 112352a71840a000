"""What is known about an account's session: by the store, by a request that is sent with it, by one that doubts it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from runtime.toml_reader import Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSession:
    """An account's row, its times as seconds from now by the database's clock."""

    generation: int = 0
    token: Secret | None = None
    """None: never logged in, proven dead, or encrypted with a key that this process does not have."""
    undecryptable: bool = False
    """There is a token, but encrypted with another key."""
    fingerprint: str | None = None
    """Of the credentials that made the session."""
    made_ms: int = 0
    """When it was made, in milliseconds since the epoch; 0: there was none yet."""
    suspicions: int = 0
    cleared: int = 0
    lease_owner: str | None = None
    lease_left_s: float = 0.0
    login_wait_s: float = 0.0
    """So long nobody may log in."""
    login_failures: int = 0
    """Requests to /auth that failed, one after the other."""
    refused_fingerprints: tuple[str, ...] = ()
    refused_reason: str | None = None

    @property
    def live(self) -> bool:
        """There is a token, and nothing that speaks against it."""
        return self.token is not None and self.suspicions <= self.cleared

    @property
    def proof_paused(self) -> bool:
        """There is a token that somebody doubts, but /auth did not answer, and is left alone for a while."""
        return self.token is not None and not self.live and self.login_failures > 0 and self.login_wait_s > 0

    @property
    def usable(self) -> bool:
        """Requests that are not in doubt themselves may be sent with it."""
        return self.live or self.proof_paused

    def refuses(self, fingerprints: Collection[str]) -> bool:
        """ServiceTrade has refused a login with the credentials of these fingerprints."""
        return not set(fingerprints).isdisjoint(self.refused_fingerprints)

    def made_by_others(self, fingerprints: Collection[str]) -> bool:
        """Other credentials than those of these fingerprints made the session."""
        return self.fingerprint is not None and self.fingerprint not in fingerprints


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """What a request is sent with."""

    generation: int
    token: Secret
    doubted: bool = False
    """Other requests have been answered 401 with it since; who is not in doubt himself asks the store again."""
    found: bool = False
    """In answer to a doubt: it stood there already when the doubt was told, and nobody has asked whether it lives."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """What a request with a 401 knows: which session failed, and the number of its suspicion in the store.

    No number: the store held another session already when it was told.
    """

    generation: int
    suspicion: int | None

    def settled_by(self, row: StoredSession) -> bool:
        """Another session is there, or this one was proven alive after the 401."""
        if row.generation != self.generation:
            return row.usable
        return self.suspicion is not None and row.cleared >= self.suspicion
