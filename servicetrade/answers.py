"""Pure: reads what ServiceTrade answers: envelopes, messages, entities, tokens and pauses."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from schemas.encoding import decode

LONGEST_RETRY_AFTER_S = 3600.0

_TOKEN = re.compile(r"[!-:<-~]+")  # what may stand in a cookie: visible ASCII without the semicolon


def read_body(body: bytes) -> dict[str, Any]:
    """The envelope, or {} for an empty body (ServiceTrade sends none with 401 and 204).

    Raises:
        ValueError: not a JSON object.
    """
    if not body.strip():
        return {}
    envelope = decode(body)
    if not isinstance(envelope, dict):
        raise ValueError("the answer is not a JSON object")
    return envelope


def messages_of(body: bytes) -> tuple[str, ...]:
    """All texts of `messages.error` and `messages.validation`, each of which may be a text, an array or an object.

    The three shapes are in ServiceTrade's own SDKs. A body that is no envelope has no messages.
    """
    try:
        messages = read_body(body).get("messages")
    except ValueError:
        return ()
    if not isinstance(messages, dict):
        return ()
    return tuple(text for kind in ("error", "validation") for text in _texts(messages.get(kind)))


def _texts(value: Any) -> Iterable[str]:
    match value:
        case None | "":
            return
        case dict():
            for name, inner in value.items():
                yield from (f"{name}: {text}" for text in _texts(inner))
        case list():
            for inner in value:
                yield from _texts(inner)
        case _:
            yield str(value)


def entity_of(data: Any, entity_type: str) -> dict[str, Any] | None:
    """The entity in `data`, of which two shapes are live on different accounts, or None if it is neither.

    Flat: `data` is the entity, with references embedded. Compound: `data.job` is the entity with bare ids and what
    it refers to stands beside it in `data.locations`, `data.companies` and so on; those are left out.
    """
    if not isinstance(data, dict):
        return None
    if "id" in data:
        return data
    for key, value in data.items():
        if key.lower() == entity_type and isinstance(value, dict) and "id" in value:
            return value
    return None


def items_of(data: Any, list_key: str | None) -> list[dict[str, Any]] | None:
    """The items of one page, or None: under `list_key` (whatever its case), else in the only array that there is."""
    if not isinstance(data, dict):
        return None
    arrays = {key.lower(): value for key, value in data.items() if isinstance(value, list)}
    if list_key is not None and list_key.lower() in arrays:
        return arrays[list_key.lower()]
    return next(iter(arrays.values())) if len(arrays) == 1 else None


def total_pages(data: Any) -> int:
    """`data.totalPages`, a number or its digits; missing or invalid is 1, as ServiceTrade's SDKs have it."""
    value = str(data.get("totalPages")) if isinstance(data, dict) else ""
    return int(value) if re.fullmatch(r"[1-9][0-9]{0,8}", value) else 1


def says_authenticated(body: bytes) -> bool | None:
    """`data.authenticated` of an answer of GET /auth; None: it does not say."""
    try:
        data = read_body(body).get("data")
    except ValueError:
        return None
    value = data.get("authenticated") if isinstance(data, dict) else None
    return value if isinstance(value, bool) else None


def token_of(data: Any, set_cookies: Iterable[str]) -> str | None:
    """The session token of a login: `data.authToken`, else the cookie PHPSESSID, trimmed; None if there is none.

    A login sends several Set-Cookie headers, only one of which is the session (ServiceTrade's Node SDK, 93ad5b1).
    """
    candidates = [data.get("authToken")] if isinstance(data, dict) else []
    candidates += [
        cookie.removeprefix("PHPSESSID=").split(";", 1)[0] for cookie in set_cookies if cookie.startswith("PHPSESSID=")
    ]
    for candidate in candidates:
        if isinstance(candidate, str) and _TOKEN.fullmatch(candidate.strip()):
            return candidate.strip()
    return None


def retry_after_s(value: str | None, now: datetime) -> float | None:
    """Seconds that a Retry-After header (a number, or an HTTP date seen from `now`, aware) asks for; None: neither.

    An hour at most: nobody shall stand still for ever because of one header.
    """
    if value is None:
        return None
    if re.fullmatch(r"\s*\d{1,9}(\.\d{1,9})?\s*", value):
        return min(float(value), LONGEST_RETRY_AFTER_S)
    try:
        at = parsedate_to_datetime(value)
        if at.tzinfo is None:
            at = at.replace(tzinfo=UTC)
        return min(max(0.0, (at - now).total_seconds()), LONGEST_RETRY_AFTER_S)
    except (ValueError, OverflowError):
        return None
