"""One request of a connection and its answer, and the answers as bytes."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def _answers(last: bytes) -> dict[int, bytes]:
    # A 204 has no body, and so no length.
    return {
        status.value: f"HTTP/1.1 {status} {status.phrase}\r\n".encode()
        + (b"" if status == HTTPStatus.NO_CONTENT else b"content-length: 0\r\n")
        + last
        for status in HTTPStatus
        if status >= HTTPStatus.OK
    }


GOING_ON = _answers(b"\r\n")
"""By status; the connection stays open."""
CLOSING = _answers(b"connection: close\r\n\r\n")
"""By status; it is the last of its connection."""


class Exchange:
    """A request and its answer.

    Args:
        answered: called once, when the answer is known.
        began: when its first byte came, by the event loop's clock.
    """

    __slots__ = ("account", "answered", "began", "body", "expects", "keep_alive", "path", "size", "status")

    def __init__(self, answered: Callable[[], None], began: float) -> None:
        self.answered = answered
        self.began = began
        self.account: str | None = None
        self.path = ""
        self.body: list[bytes] = []
        self.size = 0
        self.keep_alive = True
        self.expects = False
        """The sender waits for a 100 before it sends the body."""
        self.status: int | None = None

    def answer(self, status: int) -> bool:
        """Say it as soon as the requests before it are answered; False if it has an answer already."""
        if self.status is not None:
            return False
        self.status = status
        self.answered()
        return True
