"""Finds the addresses of a subscriber's host that requests may go to, so that nobody else's resolver decides it."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import ip_address

from schemas.errors import RetryLater
from sinks.addresses import why_not_public

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Host and port to addresses; raises OSError."""

KEPT_S = 30.0
"""How long addresses that were found and checked are good for."""


async def resolve_name(host: str, port: int) -> list[str]:
    """All addresses that the operating system knows, in its order of preference.

    Raises:
        OSError: it knows none.
    """
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class Host:
    """One subscriber's host.

    Args:
        name: as it stands in the URL; an address is one too.
        port: of the service.
        allow_private: addresses that are not public may be used as well.
        setting: what a refusal tells the reader to change.
        resolve: finds addresses.
    """

    def __init__(
        self, name: str, port: int, *, allow_private: bool, setting: str, resolve: Resolve = resolve_name
    ) -> None:
        self.name = name
        self._port = port
        self._allow_private = allow_private
        self._setting = setting
        self._resolve = resolve
        self._lock = asyncio.Lock()
        self._found: tuple[str, ...] = ()
        self._found_at: float | None = None
        self._worked: str | None = None

    async def addresses(self) -> tuple[str, ...]:
        """At least one; the one that worked last comes first, if it is still among them.

        Raises:
            RetryLater: there is none, or none that may be used; a resolver may say otherwise later.
        """
        async with self._lock:
            if self._found_at is None or time.monotonic() - self._found_at >= KEPT_S:
                self._found = self._checked(await self._all())
                self._found_at = time.monotonic()
            return tuple(sorted(self._found, key=lambda address: address != self._worked))

    def worked(self, address: str) -> None:
        """A connection was made."""
        self._worked = address

    def forget(self) -> None:
        """No connection can be made: resolve again before the next request."""
        self._found_at = None

    async def _all(self) -> Sequence[str]:
        try:
            return await self._resolve(self.name, self._port)
        except (OSError, UnicodeError) as error:  # UnicodeError: no resolver would know such a name
            raise RetryLater(f"{self.name} cannot be resolved: {error}", scope="sink") from error

    def _checked(self, addresses: Sequence[str]) -> tuple[str, ...]:
        if self._allow_private:
            allowed, refused = list(addresses), []
        else:
            kinds = {address: why_not_public(ip_address(address)) for address in addresses}
            allowed = [address for address, kind in kinds.items() if kind is None]
            refused = [f"{address} is {kind}" for address, kind in kinds.items() if kind is not None]
        if not allowed:
            reason = f"{', '.join(refused)}; {self._setting} = true would allow it" if refused else "no address"
            raise RetryLater(f"{self.name} is refused: {reason}", scope="sink")
        return tuple(allowed)
