"""A folder for the spool: a plain one, or a small file system of its own, which only root may mount."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path


@asynccontextmanager
async def small_disk(folder: Path, *, size_mb: int) -> AsyncIterator[bool]:
    """Mount a tmpfs on the folder for the length of a block; yields False where that is not permitted."""
    mounted = await _ran("mount", "-t", "tmpfs", "-o", f"size={size_mb}m", "tmpfs", str(folder))
    try:
        yield mounted
    finally:
        # Lazily if need be: a file that is still open must not leave the mount behind.
        if mounted and not await _ran("umount", str(folder)):
            await _ran("umount", "-l", str(folder))


async def _ran(*command: str) -> bool:
    """Run a command quietly; tells whether it succeeded."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
    except FileNotFoundError:
        return False
    return await process.wait() == 0
