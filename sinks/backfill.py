"""Backfill: reads lists of entities, page by page, into the mirror, beside a live one and again after any end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from schemas.errors import ApiError, ApiUnreachable, LoginUnavailable
from servicetrade.account import Account, Page, Param
from sinks.backfill_plan import Wanted, listed
from sinks.backfill_store import BackfillStore, Progress

FIRST_PAUSE_S = 0.5
"""At least, between two attempts; the client's own pauses, which are longer, come on top."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a backfill tells while it goes on."""

    progress: Progress
    last_pass: bool = False
    """What was updated since it began is being read."""
    trouble: str | None = None
    """ServiceTrade fails, and is tried again."""


class Backfill:
    """One account's backfills.

    Args:
        account: to be read.
        store: where it goes, and how far it is.
        tell: called with every step.
        patience_s: how long ServiceTrade may fail.
    """

    def __init__(
        self, account: Account, store: BackfillStore, tell: Callable[[Told], None], *, patience_s: float
    ) -> None:
        self._account = account
        self._store = store
        self._tell = tell
        self._patience_s = patience_s

    async def run(self, wanted: Wanted, *, restart: bool = False) -> list[Progress]:
        """Go on with this backfill, or begin it; may be cancelled, or killed, and called again at any time.

        Returns:
            How far each type is: finished.

        Raises:
            ServiceTradeError: ServiceTrade will not give the list out, or fails for longer than the patience.
            StoreError: the store fails.
            TakenOver: the same backfill was started elsewhere.
        """
        done = []
        for progress in await self._store.begin(wanted, restart=restart):
            finished = progress if progress.finished_at is not None else await self._one(progress)
            self._tell(Told(progress=finished))
            done.append(finished)
        return done

    async def _one(self, progress: Progress) -> Progress:
        self._tell(Told(progress=progress))
        # The last page once more: what was deleted since then has moved the next ones towards it.
        first = max(1, progress.pages_read)
        async for page in self._pages(progress, since=progress.since_at, first=first):
            progress = await self._add(progress, page, pages_read=page.number, pages=page.total)
            self._tell(Told(progress=progress))
        # What was updated while the pages were read may have moved from one that was not read yet to one that was.
        async for page in self._pages(progress, since=progress.began_at, first=1, last_pass=True):
            progress = await self._add(progress, page, items_read=progress.items_read)
            self._tell(Told(progress=progress, last_pass=True))
        return await self._store.finish(progress)

    async def _add(self, progress: Progress, page: Page, **columns: int) -> Progress:
        rows = listed(progress.account, progress.entity_type, page.items)
        return await self._store.add(progress, rows, **columns)

    async def _pages(
        self, progress: Progress, *, since: int, first: int, last_pass: bool = False
    ) -> AsyncIterator[Page]:
        """The pages from `first` on, each as often as it takes."""
        params: dict[str, Param] = {} if progress.page_limit is None else {"limit": progress.page_limit}
        number, failing_since = first, None
        while True:
            try:
                pages = self._account.pages(progress.entity_type, params, updated_since=since, first=number)
                async for page in pages:
                    failing_since = None
                    number = page.number + 1
                    yield page
            except (ApiUnreachable, LoginUnavailable, ApiError) as error:
                pause_s = _pause_of(error)
                now = time.monotonic()
                failing_since = now if failing_since is None else failing_since
                if pause_s is None or now + pause_s - failing_since > self._patience_s:
                    raise
                self._tell(Told(progress=progress, last_pass=last_pass, trouble=str(error)))
                await asyncio.sleep(pause_s)
            else:
                return


def _pause_of(error: ApiUnreachable | LoginUnavailable | ApiError) -> float | None:
    """Seconds until another attempt makes sense; None: never."""
    if isinstance(error, ApiError) and error.is_final:
        return None
    asked_s = None if isinstance(error, ApiUnreachable) else error.retry_after_s
    return max(FIRST_PAUSE_S, asked_s or 0.0)
