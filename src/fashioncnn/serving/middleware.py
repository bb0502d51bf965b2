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
from fashioncnn.serving.problems import ProblemError, internal_error, problem_response, try_again
from fashioncnn.serving.security import HEADERS, host_check

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
"""Ids of clients and proxies that are kept; any other is replaced."""
REQUEST_ID_HEADER = "X-Request-ID"
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
    """A request and what is known of its response."""

    request_id: str
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
        exchange = _Exchange(_request_id(headers))
        # A response to HEAD has no body, which the server takes care of (RFC 9110, 9.3.2).
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        state = {**scope.get("state", {}), "request_id": exchange.request_id}
        inner = {**scope, "method": method, "state": state}

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.status = message["status"]
                self._add_headers(MutableHeaders(scope=message), exchange)
            await send(message)

        try:
            self._check_host(headers.get("host", ""))
            await self._app(inner, receive, send_with_headers)
        except (Exception, asyncio.CancelledError) as error:  # cancelled at the end of the server
            problem = _to_problem(error, exchange)
            if exchange.status is None:
                response = problem_response(problem, exchange.request_id)
                await response(inner, receive, send_with_headers)
        finally:
            self._record(inner, scope["method"], exchange)

    def _check_host(self, host: str) -> None:
        if not self._is_allowed(host):
            raise ProblemError(
                400,
                f"Host '{host[:MAX_PATH_LENGTH]}' is not served here; start the server with "
                "--allowed-host for each of its names",
            )

    def _add_headers(self, headers: MutableHeaders, exchange: _Exchange) -> None:
        headers.update(HEADERS)
        headers[REQUEST_ID_HEADER] = exchange.request_id
        if self._lifecycle.draining:
            headers["Connection"] = "close"

    def _record(self, scope: Scope, method: str, exchange: _Exchange) -> None:
        seconds = time.perf_counter() - exchange.started
        route = getattr(scope.get("route"), "path", None) or OTHER_ROUTE
        self._metrics.requests.labels(route, str(exchange.status or ABORTED)).inc()
        self._metrics.latency.labels(route).observe(seconds)
        client = scope.get("client")
        log(
            "request",
            request_id=exchange.request_id,
            client=client[0] if client else None,
            method=method,
            path=scope["path"][:MAX_PATH_LENGTH],
            status=exchange.status,
            ms=round(1000 * seconds, 2),
        )


def _request_id(headers: Headers) -> str:
    """Return the id that the client gave, or a new one."""
    given = headers.get(REQUEST_ID_HEADER, "")
    return given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex


def _to_problem(error: BaseException, exchange: _Exchange) -> ProblemError:
    if isinstance(error, ProblemError):
        return error
    if isinstance(error, asyncio.CancelledError):
        return try_again(503, "the server ended before it could answer", 1)
    log("error", logging.ERROR, request_id=exchange.request_id)
    return internal_error()
