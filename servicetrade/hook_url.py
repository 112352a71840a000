"""Pure: the URLs of webhooks: how ours are made, how they are told from others', how others' are shown."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address
from typing import NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

_VISIBLE = re.compile(r"[!-~]+")
_HOST = re.compile(r"[A-Za-z0-9._-]+(:[0-9]+)?|\[[0-9A-Fa-f:.]+\](:[0-9]+)?")
_DEFAULT_PORTS = {"http": 80, "https": 443}


class _Place(NamedTuple):
    """What decides where a URL leads: the same place is equal, however it is written."""

    scheme: str
    host: str
    port: int
    path: str
    """Decoded, without the slashes at its end."""


@dataclass(frozen=True, slots=True)
class HookBase:
    """How ServiceTrade reaches the receiver, up to where /webhooks begins; made by `read_base`."""

    text: str
    """As it begins a hookUrl, without a slash at its end."""
    place: _Place

    def url(self, account: str, secret: str) -> str:
        """The hookUrl of this account."""
        return f"{self.text}/webhooks/{account}/{secret}"

    def secret_in(self, url: str, account: str) -> str | None:
        """The secret in a hookUrl that leads to this receiver and account; None: it leads elsewhere.

        A user, a query and a fragment do not change where it leads; nor does a slash at the end, for the receiver.
        """
        parts = _split(url)
        place = None if parts is None else _place(parts)
        if place is None or place[:3] != self.place[:3]:
            return None
        head = f"{self.place.path}/webhooks/{account}/"
        secret = place.path.removeprefix(head)
        return secret if place.path.startswith(head) and secret and "/" not in secret else None


def read_base(text: str) -> HookBase:
    """The base that `text` says.

    Raises:
        ValueError: it cannot be one; the reason shows nothing of it, for it might be a whole hookUrl.
    """
    parts = _split(text) if _VISIBLE.fullmatch(text) else None
    place = None if parts is None else _place(parts)
    if parts is None or place is None or place.port == 0:
        raise ValueError("must be like https://hooks.example.com, in ASCII (a host of other letters in its xn-- form)")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError("must hold no user, no query and no fragment")
    if place.scheme != "https" and not _is_loopback(place.host):
        raise ValueError("must begin with https://, for the URL is all that guards the receiver")
    return HookBase(f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}", place)


def without_path(url: str) -> str:
    """What can be shown of somebody else's URL: scheme and host, since its path may be a secret."""
    parts = _split(url)
    host = "" if parts is None else parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}/…" if parts is not None and _HOST.fullmatch(host) else "…"


def _split(url: str) -> SplitResult | None:
    try:
        return urlsplit(url)
    except ValueError:
        return None


def _place(parts: SplitResult) -> _Place | None:
    try:
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        return None
    port = _DEFAULT_PORTS[parts.scheme] if port is None else port
    return _Place(parts.scheme, parts.hostname, port, unquote(parts.path).rstrip("/"))


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
