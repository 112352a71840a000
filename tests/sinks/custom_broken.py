"""A module of a user's that cannot be imported."""

from __future__ import annotations

raise RuntimeError("no configuration\nfound")
