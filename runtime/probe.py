"""Ask a process whether it is ready."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

Ready = str | Callable[[], Awaitable[bool]] | None
"""An http URL that answers 2xx once the process is ready, an async function that says so, or None: it always is."""


async def is_ready(ready: Ready, *, timeout_s: float = 1.0) -> bool:
    """Ask once; no answer, or none within `timeout_s` seconds, is a no."""
    if ready is None:
        return True
    try:
        async with asyncio.timeout(timeout_s):
            return await (_answers_2xx(ready) if isinstance(ready, str) else ready())
    except (TimeoutError, OSError):
        return False


async def _answers_2xx(url: str) -> bool:
    """GET a URL of a local process in plain HTTP/1.0: all that a readiness probe needs, without a client library."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port or 80)
    try:
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        writer.write(f"GET {path} HTTP/1.0\r\nHost: {parts.netloc}\r\n\r\n".encode())
        words = (await reader.readline()).split()
        return len(words) > 1 and words[1].startswith(b"2")
    finally:
        writer.close()
