"""The fake ServiceTrade and the stores that the doctor examines."""

from __future__ import annotations

from tests.servicetrade.conftest import open_store, simulator, sqlite_settings

__all__ = ["open_store", "simulator", "sqlite_settings"]
