"""The session store in memory: one row, every method one atomic step; test_model_store.py holds it to the real one."""

from __future__ import annotations

from dataclasses import replace

from runtime.toml_reader import Secret
from servicetrade.stored_session import StoredSession

SOME_TIME_S = 1.0
"""What is left of a lease or of a pause, as long as anything is: how long they last is up to the explorer."""


class RowStore:
    """`servicetrade.session_store.SessionStore` for one account: the same methods, without the account's name.

    Args:
        row: as the store would read it; None: the account has no row yet.
    """

    def __init__(self, row: StoredSession | None = None) -> None:
        self.row = row

    def read(self) -> StoredSession:
        return self.row or StoredSession()

    def purge(self, generation: int) -> int | None:
        row = self.row
        if row is None or row.generation != generation:
            return None
        self.row = replace(row, suspicions=row.suspicions + 1)
        return self.row.suspicions

    def try_lease(self, owner: str, generation: int) -> StoredSession | None:
        if generation == 0 and self.row is None:
            self.row = StoredSession()
        row = self.row
        if row is None or row.generation != generation or row.lease_left_s > 0:
            return None
        self.row = replace(row, lease_owner=owner, lease_left_s=SOME_TIME_S)
        return self.row

    def restore(self, owner: str, generation: int, suspicions: int) -> bool:
        if (row := self._held(owner, generation)) is None:
            return False
        self.row = _free(replace(row, cleared=suspicions, login_failures=0))
        return True

    def bury(self, owner: str, generation: int) -> bool:
        if (row := self._held(owner, generation)) is None:
            return False
        self.row = replace(row, token=None)
        return True

    def save(self, owner: str, generation: int, token: Secret, fingerprint: str, login_interval_s: float) -> int | None:
        if (row := self._held(owner, generation)) is None:
            return None
        self.row = StoredSession(
            generation=row.generation + 1,
            token=token,
            fingerprint=fingerprint,
            login_wait_s=_pause(login_interval_s),
            refused_fingerprints=row.refused_fingerprints,
            refused_reason=row.refused_reason,
        )
        return self.row.generation

    def record_failure(self, owner: str, pause_s: float) -> bool:
        if (row := self._held(owner)) is None:
            return False
        self.row = _free(replace(row, login_failures=row.login_failures + 1, login_wait_s=_pause(pause_s)))
        return True

    def record_refusal(self, owner: str, fingerprints: tuple[str, ...], reason: str, pause_s: float) -> bool:
        if (row := self._held(owner)) is None:
            return False
        refused = replace(row, refused_fingerprints=fingerprints[-8:], refused_reason=reason)
        self.row = _free(replace(refused, login_failures=row.login_failures + 1, login_wait_s=_pause(pause_s)))
        return True

    def release(self, owner: str, pause_s: float | None = None) -> bool:
        if (row := self._held(owner)) is None:
            return False
        self.row = _free(row if pause_s is None else replace(row, login_wait_s=_pause(pause_s)))
        return True

    def unlock(self) -> bool:
        if self.row is None:
            return False
        self.row = replace(self.row, refused_fingerprints=(), refused_reason=None, login_failures=0, login_wait_s=0.0)
        return True

    # What time does; no method of the real store.

    def lease_runs_out(self) -> None:
        if self.row is not None:
            self.row = replace(self.row, lease_left_s=0.0)

    def pause_ends(self) -> None:
        if self.row is not None:
            self.row = replace(self.row, login_wait_s=0.0)

    def _held(self, owner: str, generation: int | None = None) -> StoredSession | None:
        row = self.row
        if row is None or row.lease_owner != owner or generation not in (None, row.generation):
            return None
        return row


def _free(row: StoredSession) -> StoredSession:
    return replace(row, lease_owner=None, lease_left_s=0.0)


def _pause(seconds: float) -> float:
    return SOME_TIME_S if seconds > 0 else 0.0
