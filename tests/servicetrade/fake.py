"""A small ServiceTrade for the client's tests: real HTTP, sessions that can be killed, answers that can be set."""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.servicetrade.waiting import until

NO_SESSION = {"messages": {"error": ["No active session found for given auth token"]}, "data": {"authenticated": False}}


class FakeServiceTrade:
    """Counts what it is asked; tests set its fields."""

    def __init__(self) -> None:
        self.password = "right"
        self.sessions: set[str] = set()
        self.asked: Counter[str] = Counter()
        self.cookies: list[str] = []
        self.login_cookies: list[str] = []
        self.bodies: list[tuple[str, str, bytes]] = []
        self.queries: list[dict[str, str]] = []
        self.login_answers: deque[Response] = deque()
        self.auth_answers: deque[Response] = deque()
        self.answers: deque[Response] = deque()
        self.always_401: set[str] = set()
        self.token_in_body = True
        self.logout_status = 204
        self.login_may_finish = asyncio.Event()
        self.login_may_finish.set()
        self.url = ""
        self._tokens = itertools.count(1)

    @property
    def logins(self) -> int:
        return self.asked["POST /api/auth"]

    def kill_sessions(self) -> None:
        self.sessions.clear()

    def new_session(self) -> str:
        token = f"token{next(self._tokens):021}"
        self.sessions.add(token)
        return token

    async def auth(self, request: Request) -> Response:
        token = request.cookies.get("PHPSESSID", "")
        self.asked[f"{request.method} /api/auth"] += 1
        if request.method == "POST":
            self.login_cookies.append(request.headers.get("Cookie", ""))
            return await self._login(await request.json())
        if request.method == "DELETE":
            self.sessions.discard(token)
            return Response(status_code=self.logout_status)
        if self.auth_answers:
            return self.auth_answers.popleft()
        if token in self.sessions:
            return JSONResponse({"data": {"authenticated": True, "authToken": token}})
        return JSONResponse(NO_SESSION, status_code=404)

    async def _login(self, body: dict[str, Any]) -> Response:
        await self.login_may_finish.wait()
        if self.login_answers:
            return self.login_answers.popleft()
        if body["password"] != self.password:
            return JSONResponse({"messages": {"error": ["Invalid credentials provided"]}}, status_code=403)
        token = self.new_session()
        answer = JSONResponse(
            {"data": {"authenticated": True, "authToken": f"{token}\n" if self.token_in_body else None}}
        )
        answer.headers.append("Set-Cookie", "AWSALB=balancer; Path=/")
        answer.headers.append("Set-Cookie", f"PHPSESSID={token}; path=/; secure; HttpOnly")
        answer.headers.append("Set-Cookie", "XPHPSESSID=decoy; path=/")
        return answer

    async def resource(self, request: Request) -> Response:
        token = request.cookies.get("PHPSESSID", "")
        self.asked[f"{request.method} {request.url.path}"] += 1
        self.cookies.append(request.headers.get("Cookie", ""))
        self.bodies.append((request.method, request.url.path, await request.body()))
        self.queries.append(dict(request.query_params))
        if token not in self.sessions or request.url.path in self.always_401:
            return Response(status_code=401, headers={"Set-Cookie": "PHPSESSID=poison; path=/"})
        if self.answers:
            return self.answers.popleft()
        return JSONResponse({"data": {"id": int(request.path_params["rest"].split("/")[-1])}})


@asynccontextmanager
async def running_fake() -> AsyncIterator[FakeServiceTrade]:
    fake = FakeServiceTrade()
    app = Starlette(
        routes=[
            Route("/api/auth", fake.auth, methods=["GET", "POST", "DELETE"]),
            Route("/api/{rest:path}", fake.resource, methods=["GET", "POST", "PUT", "DELETE"]),
        ]
    )
    config = uvicorn.Config(app, log_config=None, lifespan="off", ws="none", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        fake.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        serving = asyncio.create_task(server.serve([listener]))
        try:
            await until(lambda: server.started)
            yield fake
        finally:
            fake.login_may_finish.set()
            server.should_exit = True
            await serving
