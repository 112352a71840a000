"""Pure: checks that several parts of the settings share."""

from __future__ import annotations

from urllib.parse import urlsplit


def positive(**values: float) -> None:
    """Refuse what is not above 0 with a ValueError that names it."""
    for name, value in values.items():
        if value <= 0:
            raise ValueError(f"{name} must be above 0, found {value}")


def usable_url(text: str) -> bool:
    """Whether it is an http or https URL with a host."""
    try:
        url = urlsplit(text)
        return url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:
        return False
