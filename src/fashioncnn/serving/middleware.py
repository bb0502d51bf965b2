"""Around every request: its id, the Host check, headers, the log line, metrics, errors."""

from __future__ import annotations

import asyncio
import logging
import re
import time
import uuid
from dataclasses import dataclass, field

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fashioncnn.serving.logs import log
from fashioncnn.serving.metrics import Metrics
from fashioncnn.serving.options import ServerOptions
from fashioncnn.serving.problems import (
    DETAILS,
    ProblemError,
    internal_error,
    problem_response,
    try_again,
)
from fashioncnn.serving.security import HEADERS, host_check

VALID_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
"""Ids of clients and proxies that are kept; any other is replaced."""
REQUEST_ID_HEADER = "X-Request-ID"
REQUEST_ID, REJECTED = "request_id", "rejected"
"""Keys in the state of a request: its id, and the status code with which its connection was closed
before it was complete."""
SCHEMES = ("http", "https")
CONTINUE = "100-continue"
MAX_PATH_LENGTH = 200
"""Characters of a path in the log."""
OTHER_ROUTE = "other"
"""Route, in metrics, of the page's files and of paths that do not exist."""
ABORTED = "none"
"""Status, in metrics, of a request that was cancelled without an answer."""


@dataclass
class Lifecycle:
    """What the server is doing.

    Attributes:
        ready: whether the first image was predicted.
        draining: whether it ends: connections are closed after their response.
    """

    ready: bool = False
    draining: bool = False


@dataclass
class _Exchange:
    """A request and what is known of its response.

    Attributes:
        request_id: of the request.
        awaits_continue: whether the client sends its body only after ``100 Continue``, which it did
            not get yet.
        started: time of its header.
        status: of the response.
    """

    request_id: str
    awaits_continue: bool = False
    started: float = field(default_factory=time.perf_counter)
    status: int | None = None


class RequestMiddleware:
    """Wraps the whole application, so that also its errors get an id, headers and a log line.

    Args:
        app: to wrap.
        options: with the allowed hosts.
        metrics: that count requests.
        lifecycle: of the server.
    """

    def __init__(
        self, app: ASGIApp, options: ServerOptions, metrics: Metrics, lifecycle: Lifecycle
    ) -> None:
        self._app, self._metrics, self._lifecycle = app, metrics, lifecycle
        self._is_allowed = host_check(options.allowed_hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request (ASGI)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        exchange = _Exchange(request_id_of(scope), headers.get("expect", "").lower() == CONTINUE)
        # A response to HEAD has no body, which the server takes care of (RFC 9110, 9.3.2).
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        authority, path = _split_target(scope["path"])
        inner = {**scope, "method": method, "path": path}

        async def receive_body() -> Message:
            exchange.awaits_continue = False  # the server sends 100 Continue
            return await receive()

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.status = message["status"]
                self._add_headers(MutableHeaders(scope=message), exchange)
            await send(message)

        try:
            self._check_host(headers.get("host", "") if authority is None else authority)
            _check_path(path)
            await self._app(inner, receive_body, send_with_headers)
        except (Exception, asyncio.CancelledError) as error:  # cancelled at the end of the server
            problem = _to_problem(error, exchange)
            if exchange.status is None:
                response = problem_response(problem, exchange.request_id)
                await response(inner, receive, send_with_headers)
        finally:
            self._record(inner, scope["method"], exchange)

    def _check_host(self, host: str) -> None:
        if not host:
            raise ProblemError(400, "the request has no Host; send the name of the server")
        if not self._is_allowed(host):
            raise ProblemError(
                400,
                f"Host '{host[:MAX_PATH_LENGTH]}' is not served here; start the server with "
                "--allowed-host for each of its names",
            )

    def _add_headers(self, headers: MutableHeaders, exchange: _Exchange) -> None:
        headers.update(HEADERS)
        headers[REQUEST_ID_HEADER] = exchange.request_id
        # A client that got no 100 Continue may send its body or another request next.
        if self._lifecycle.draining or exchange.awaits_continue:
            headers["Connection"] = "close"

    def _record(self, scope: Scope, method: str, exchange: _Exchange) -> None:
        seconds = time.perf_counter() - exchange.started
        route = getattr(scope.get("route"), "path", None) or OTHER_ROUTE
        status = scope["state"].get(REJECTED, exchange.status)
        self._metrics.requests.labels(route, str(status or ABORTED)).inc()
        self._metrics.latency.labels(route).observe(seconds)
        client = scope.get("client")
        log(
            "request",
            request_id=exchange.request_id,
            client=client[0] if client else None,
            method=method,
            path=scope["path"][:MAX_PATH_LENGTH],
            status=status,
            ms=round(1000 * seconds, 2),
        )


def request_id_of(scope: Scope) -> str:
    """Return the id of a request: that of its client, or a new one. It is kept in the scope."""
    state = scope.setdefault("state", {})
    if REQUEST_ID not in state:
        given = Headers(scope=scope).get(REQUEST_ID_HEADER, "")
        state[REQUEST_ID] = given if VALID_ID.fullmatch(given) else uuid.uuid4().hex
    request_id: str = state[REQUEST_ID]
    return request_id


def _split_target(path: str) -> tuple[str | None, str]:
    """Return authority and path of a request target.

    The target may be a whole URL, whose authority then replaces ``Host`` (RFC 9112, 3.2.2).
    """
    scheme, separator, rest = path.partition("://")
    if separator and scheme.lower() in SCHEMES:
        authority, _, path = rest.partition("/")
        return authority, f"/{path}"
    return None, path


def _check_path(path: str) -> None:
    """Raise `ProblemError` for a path that ends with a line break, which a route would ignore.

    A proxy, which compares the whole path, would not apply its rule for that route.
    """
    if path.endswith("\n"):
        raise ProblemError(404, DETAILS[404])


def _to_problem(error: BaseException, exchange: _Exchange) -> ProblemError:
    if isinstance(error, ProblemError):
        return error
    if isinstance(error, asyncio.CancelledError):
        return try_again(503, "the server ended before it could answer", 1)
    log("error", logging.ERROR, request_id=exchange.request_id)
    return internal_error()
