"""The stores and the fake that ServiceTrade's client is tested on."""

from __future__ import annotations

from tests.servicetrade.conftest import api, open_store, simulator, sqlite_settings, store_settings

__all__ = ["api", "open_store", "simulator", "sqlite_settings", "store_settings"]
