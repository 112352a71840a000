"""Pure: which offset of a partition may be committed while its records are finished in any order."""

from __future__ import annotations

from collections import deque


class Progress:
    """One partition's records from the first unfinished one on.

    Offsets come in ascending order, with gaps where the log has them (control batches, compaction).
    """

    __slots__ = ("_finished", "_open", "_times", "committed", "position")

    def __init__(self) -> None:
        self._open: deque[int] = deque()
        self._times: deque[int | None] = deque()
        self._finished: set[int] = set()
        self.position: int | None = None
        """What may be committed: every record read below this offset is finished. None: nothing was read yet."""
        self.committed: int | None = None
        """The last position that was committed from here; kept by whoever commits."""

    @property
    def held(self) -> int:
        """How many records were read that a commit cannot pass yet, finished or not."""
        return len(self._open)

    @property
    def oldest_ms(self) -> int | None:
        """Append time of the record at `position`; None: it was not read yet, or its time was not told."""
        return self._times[0] if self._times else None

    def read(self, offset: int, timestamp_ms: int | None = None) -> None:
        """A record was read.

        Args:
            offset: where it stands.
            timestamp_ms: when it was appended, Unix milliseconds; of no consequence but for `oldest_ms`.

        Raises:
            ValueError: the offset does not ascend.
        """
        if (self._open and offset <= self._open[-1]) or (self.position is not None and offset < self.position):
            raise ValueError(f"offset {offset} was read before")
        if not self._open:
            self.position = offset
        self._open.append(offset)
        self._times.append(timestamp_ms)

    def finish(self, offset: int) -> None:
        """A record that was read has its outcome.

        Raises:
            ValueError: it is not among the held ones.
        """
        if offset in self._finished or not self._open or not self._open[0] <= offset <= self._open[-1]:
            raise ValueError(f"offset {offset} is not in progress")
        self._finished.add(offset)
        last = self._open[-1]
        while self._open and self._open[0] in self._finished:
            self._finished.remove(self._open.popleft())
            self._times.popleft()
        self.position = self._open[0] if self._open else last + 1
