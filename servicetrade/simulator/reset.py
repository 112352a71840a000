"""Lets an answer be a reset of the connection: a message that ASGI lacks, and the wrapper that knows it."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Any

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_RESET = "simulator.reset"
_NO_LINGER = struct.pack("ii", 1, 0)  # on, 0 s: closing discards what is unsent and sends RST, not FIN


class ResetConnection(Response):
    """In place of an answer: the client's connection is reset."""

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Send the message that the wrapper below understands."""
        await send({"type": _RESET})


class Resettable:
    """ASGI application around another one whose answers may be a ResetConnection.

    It has to be the outermost: only the server's own `send` leads to the connection.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; every message but the reset goes through as it is."""

        async def send_or_reset(message: Message) -> None:
            if message["type"] != _RESET:
                await send(message)
                return
            _reset(_transport(send))
            # uvicorn answers 500 for an application that returns in silence, unless it knows that the client is gone.
            while (await receive())["type"] != "http.disconnect":
                pass

        await self._app(scope, receive, send_or_reset)


def _transport(send: Any) -> asyncio.Transport:
    """The connection under a request of uvicorn.

    ASGI has no way to break a connection off, so this reaches in: with both of uvicorn's HTTP protocols `send`
    is a method of the request's cycle, which holds the transport.
    """
    transport: asyncio.Transport = send.__self__.transport
    return transport


def _reset(transport: asyncio.Transport) -> None:
    if transport.is_closing():  # the client left first; its socket may be closed already
        return
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    transport.abort()
