"""Pure: what a fault of the API is, and which requests it is meant for.

fault_list.py says which of an account's faults strikes a request, striking.py carries it out, control_faults.py
places and clears them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Literal, get_args

On = Literal["login", "auth", "resource"]

_STATUSES = range(200, 600)
_WITHOUT_BODY = (204, 304)
_LONGEST_DELAY_S = 86_400
_METHODS: dict[str, tuple[str, ...]] = {
    "login": ("POST",),
    "auth": ("GET", "HEAD", "DELETE"),
    "resource": ("GET", "HEAD", "POST", "PUT", "DELETE"),
}
# The server frames the answer itself; another length would break the answer in a way nobody asked for.
_FRAMING = frozenset({"content-length", "transfer-encoding"})
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\x20-\x7e\xa0-\xff]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault.

    Without any effect it lets its requests through, past the faults after it: with `times` 2 in front of
    another fault it spares the first two requests.

    Args:
        on: "login" (POST /auth, right credentials or wrong), "auth" (GET and DELETE /auth) or "resource"
            (everything else under /api). Requests of unknown users and sessions belong to no account and
            meet no fault.
        method: only requests of this method, in capitals.
        path: only requests of this path below /api, without the query: an fnmatch pattern ("job", "job/13",
            "job/*"; a star matches slashes too).
        times: how many requests it strikes; None for no limit.
        ratio: share of the matching requests that it strikes; those it spares may meet the next fault.
        delay_s: seconds to wait before the answer.
        hold: wait until this fault is cleared, and only then `delay_s`.
        status: answer with this status instead.
        retry_after: Retry-After of that answer: seconds, or any text.
        headers: further headers of that answer.
        body: its body, as application/json unless `headers` say otherwise. None: the API's usual error
            from status 400 on, else an empty body.
        reset: reset the connection (TCP RST) instead of answering.
        malformed: answer 200 with a body that is not JSON instead.
        processed: do the request's work before the wait and before the answer is replaced, as when an
            answer is lost; otherwise the replacement comes instead of the work.
        kill_session: on "login" end the session that the login makes right after it is made, in silence;
            elsewhere end the request's session when the request arrives.

    Raises:
        ValueError: a field, or a combination of fields, makes no sense; the text says which.
    """

    on: On
    method: str | None = None
    path: str | None = None
    times: int | None = None
    ratio: float = 1.0
    delay_s: float = 0.0
    hold: bool = False
    status: int | None = None
    retry_after: float | str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str | None = None
    reset: bool = False
    malformed: bool = False
    processed: bool = False
    kill_session: bool = False

    def __post_init__(self) -> None:
        for name, (fits, expected) in _FIELDS.items():
            value = getattr(self, name)
            if not fits(value):
                raise ValueError(f"{name}: expected {expected}, got {value!r}")
        for broken, sentence in _RULES:
            if broken(self):
                raise ValueError(sentence)

    @property
    def replaces_the_answer(self) -> bool:
        """Whether the request's own answer is not sent."""
        return self.status is not None or self.reset or self.malformed

    def matches(self, on: On, method: str, path: str) -> bool:
        """Whether it is meant for such a request; `path` is the one below /api."""
        return self.on == on and self.method in {None, method} and (self.path is None or fnmatchcase(path, self.path))


def read(value: object) -> Fault:
    """The fault that decoded JSON describes; ValueError says in a sentence what is wrong with it."""
    if not isinstance(value, dict):
        raise ValueError(f"expected an object, got {value!r}")
    unknown = sorted(value.keys() - _FIELDS.keys())
    if unknown:
        raise ValueError(f"{', '.join(unknown)}: no such field; a fault has {', '.join(_FIELDS)}")
    if "on" not in value:
        raise ValueError(f"on: {_FIELDS['on'][1]} is required")
    return Fault(**value)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf")


def _is_bool(value: object) -> bool:
    return isinstance(value, bool)


def _is_text_or_none(value: object) -> bool:
    return value is None or isinstance(value, str)


def _is_path(value: object) -> bool:
    return value is None or (isinstance(value, str) and bool(value) and not value.startswith("/"))


def _is_header_value(value: object) -> bool:
    return isinstance(value, str) and _HEADER_VALUE.fullmatch(value) is not None


def _are_headers(value: object) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(name, str) and _HEADER_NAME.fullmatch(name) and _is_header_value(text)
        for name, text in value.items()
    )


_BOOL: tuple[Callable[[Any], bool], str] = (_is_bool, "true or false")

# What each field alone may be, and how to say so.
_FIELDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "on": (lambda value: value in get_args(On), f"one of {', '.join(get_args(On))}"),
    "method": (_is_text_or_none, "an HTTP method"),
    "path": (_is_path, "a path below /api without a leading slash, such as job/13"),
    "times": (lambda value: value is None or (type(value) is int and value > 0), "a count from 1, or null"),
    "ratio": (lambda value: _is_number(value) and value <= 1, "a number from 0 to 1"),
    "delay_s": (
        lambda value: _is_number(value) and value <= _LONGEST_DELAY_S,
        f"seconds from 0 to {_LONGEST_DELAY_S}",
    ),
    "hold": _BOOL,
    "status": (
        lambda value: value is None or (type(value) is int and value in _STATUSES),
        f"a status from {_STATUSES.start} to {_STATUSES.stop - 1}, or null",
    ),
    "retry_after": (
        lambda value: value is None or _is_number(value) or _is_header_value(value),
        "seconds, the text of a header, or null",
    ),
    "headers": (_are_headers, "an object of header names and texts"),
    "body": (_is_text_or_none, "text or null"),
    "reset": _BOOL,
    "malformed": _BOOL,
    "processed": _BOOL,
    "kill_session": _BOOL,
}

# What the fields must not be together.
_RULES: tuple[tuple[Callable[[Fault], bool], str], ...] = (
    (
        lambda fault: fault.method is not None and fault.method not in _METHODS[fault.on],
        "method: a login is a POST, auth is asked by GET, HEAD or DELETE, resources by those, POST and PUT",
    ),
    (
        lambda fault: fault.on != "resource" and not fnmatchcase("auth", fault.path or "auth"),
        "path: that of login and auth is always auth",
    ),
    (
        lambda fault: (fault.status is not None) + fault.reset + fault.malformed > 1,
        "status, reset, malformed: at most one of them",
    ),
    (
        lambda fault: (
            fault.status is None and (fault.retry_after is not None or bool(fault.headers) or fault.body is not None)
        ),
        "retry_after, headers, body: they need a status",
    ),
    (
        lambda fault: fault.status in _WITHOUT_BODY and bool(fault.body),
        "body: an answer of status 204 or 304 has none",
    ),
    (
        lambda fault: not _FRAMING.isdisjoint(name.lower() for name in fault.headers),
        "headers: content-length and transfer-encoding are the server's own",
    ),
    (
        lambda fault: fault.processed and not (fault.replaces_the_answer or fault.hold or fault.delay_s),
        "processed: it needs a wait, or what replaces the answer: status, reset or malformed",
    ),
    (
        lambda fault: fault.on == "login" and fault.kill_session and fault.replaces_the_answer and not fault.processed,
        "kill_session: a login that is answered without being processed makes no session",
    ),
)
