"""What the store holds about an account's session, and what may be done with it."""

from __future__ import annotations

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
    updated_ms: int = 0

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
