"""Connections: deadlines for slow clients, and a limit on their number.

uvicorn has a deadline only for the pause between two requests. Middleware would be too late, as it
runs after the header has arrived. Rejections are problem details, like every other error.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, cast

import h11
from starlette.types import Scope
from uvicorn.protocols.http.h11_impl import H11Protocol

from fashioncnn.serving.middleware import REJECTED, REQUEST_ID_HEADER, request_id_of
from fashioncnn.serving.options import ServerOptions
from fashioncnn.serving.problems import MEDIA_TYPE, problem_body
from fashioncnn.serving.security import HEADERS

MAX_DISCARDED_BYTES = 64 << 20
"""Rest of a body that is read and discarded after its request was rejected, so that the client gets
to see the answer; beyond that the connection is closed."""
LINGER_SECONDS = 2.0
"""Time for a client that was rejected to read the answer, and to close the connection."""
WAITING = (h11.IDLE, h11.SEND_BODY)
"""States of a client that has to send something: a header, or a body."""
BYTES = ": bytearray("
"""Before the bytes of the client in a message of h11."""
TOO_LARGE = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
MAX_HEADER_BYTES = 16 << 10
"""Limit on the header of a request, request line included."""
LENGTH, CHUNKS = b"content-length", b"transfer-encoding"
"""Headers with the end of a body."""


class _Connection(h11.Connection):
    """Keeps the error in a request, of which uvicorn reports nothing."""

    error: h11.RemoteProtocolError | None = None

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        try:
            event = super().next_event()
            if isinstance(event, h11.Request):
                _check_request(event)
        except h11.RemoteProtocolError as error:
            self.error = error
            raise
        return event


def _check_request(request: h11.Request) -> None:
    """Raise an error for a header that h11 accepts.

    Its own limit on the size is that of a header which arrives in several parts.
    """
    first_line = len(request.method) + len(request.target) + len("  HTTP/1.1\r\n")
    lines = (len(name) + len(value) + len(": \r\n") for name, value in request.headers)
    if first_line + sum(lines) + len("\r\n") > MAX_HEADER_BYTES:
        raise h11.RemoteProtocolError("header too large", error_status_hint=TOO_LARGE)
    # A proxy may take the other one for the end, and the rest for a request of someone else
    # (RFC 9112, 6.1).
    names = {name for name, _ in request.headers}
    if {LENGTH, CHUNKS} <= names:
        raise h11.RemoteProtocolError("both Content-Length and Transfer-Encoding")


class _Transport:
    """The transport of a connection, whose end waits for a client that still sends a body.

    Closing it would reset the connection, and the client would not get to read the answer.

    Args:
        transport: of asyncio.
        close: called instead of `transport.close`.
    """

    def __init__(self, transport: asyncio.Transport, close: Callable[[], None]) -> None:
        self._transport, self.close = transport, close

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class DeadlineProtocol(H11Protocol):
    """A connection with deadlines.

    Args:
        options: with the limits.
        on_reject: called with status code and request id of each connection that is closed before
            its request was complete.
        arguments: of the class of uvicorn.
    """

    conn: _Connection

    def __init__(
        self, *, options: ServerOptions, on_reject: Callable[[int, str], None], **arguments: Any
    ) -> None:
        super().__init__(**arguments)
        self.conn = _Connection(h11.SERVER, MAX_HEADER_BYTES)
        self._options, self._deadlines, self._on_reject = options, options.deadlines, on_reject
        self._waiting_for: type[h11._util.Sentinel] | None = None
        self._since = 0.0
        self._received = 0
        self._discards = False
        self._read_timer: asyncio.TimerHandle | None = None
        self._abort_timer: asyncio.TimerHandle | None = None

    # Events of the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the deadline of the header; close another connection if there are too many."""
        real = cast(asyncio.Transport, transport)
        super().connection_made(cast(asyncio.Transport, _Transport(real, self._close)))
        self._watch()
        if len(self.connections) > self._options.max_connections:
            self._make_room()

    def data_received(self, data: bytes) -> None:
        """Continue with the deadline of what is missing."""
        if self._waiting_for is h11.IDLE and not self._received:
            self._since = self.loop.time()  # the first bytes of a header
        self._received += len(data)
        if not self._discards:
            super().data_received(data)
            self._watch(len(data))
        if self._received > MAX_DISCARDED_BYTES and (self._discards or self._is_answered()):
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop all deadlines."""
        super().connection_lost(exc)
        for timer in (self._read_timer, self._abort_timer):
            if timer is not None:
                timer.cancel()

    def pause_writing(self) -> None:
        """Start the deadline of a client that does not read."""
        super().pause_writing()
        self._abort_later()

    def resume_writing(self) -> None:
        """End that deadline."""
        super().resume_writing()
        if self._abort_timer is not None:
            self._abort_timer.cancel()

    # Events of requests

    def on_response_complete(self) -> None:
        """Start the deadline of the next header, or that of the last bytes of a response."""
        if self._discards:
            self.server_state.total_requests += 1
            return
        super().on_response_complete()
        if self.transport.is_closing():
            self._abort_later()
        else:
            self._watch()

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection without a request."""
        super().timeout_keep_alive_handler()
        self._abort_later()

    def send_400_response(self, msg: str) -> None:
        """Answer a request that is not HTTP, or whose header is too large."""
        error = self.conn.error
        if error is not None and error.error_status_hint == TOO_LARGE:
            limit = MAX_HEADER_BYTES >> 10
            self._reject(TOO_LARGE, f"header of more than {limit} KiB; send fewer cookies")
            return
        reason = msg if error is None else str(error).partition(BYTES)[0]
        self._reject(400, f"malformed request: {reason[:1].lower()}{reason[1:].rstrip('.')}")

    def is_idle(self) -> bool:
        """Whether no request is in progress."""
        return self._waiting_for is h11.IDLE or self._discards

    # Deadlines

    def _watch(self, received: int = 0) -> None:
        """Restart the deadline if something else is missing than before.

        Args:
            received: bytes that have just arrived, the first of what is missing among them.
        """
        if self._discards:
            return
        state = self.conn.their_state
        waiting_for = state if state in WAITING else None
        if waiting_for is self._waiting_for and self._read_timer is not None:
            return
        self._waiting_for, self._since = waiting_for, self.loop.time()
        self._received = received
        if self._read_timer is not None:
            self._read_timer.cancel()
            self._read_timer = None
        if waiting_for is not None:
            self._read_timer = self.loop.call_at(self._deadline(), self._expire)

    def _deadline(self) -> float:
        if self._waiting_for is h11.IDLE:
            is_first = self.cycle is None
            pause = 0 if is_first or self._received else self._deadlines.keep_alive
            return self._since + pause + self._deadlines.header
        return self._since + self._deadlines.body + self._received / self._deadlines.body_rate

    def _expire(self) -> None:
        deadline = self._deadline()
        if self.loop.time() < deadline:  # bytes have arrived meanwhile
            self._read_timer = self.loop.call_at(deadline, self._expire)
            return
        if self._is_answered() or (self._waiting_for is h11.IDLE and not self._received):
            self.transport.abort()
            return
        what = "header" if self._waiting_for is h11.IDLE else "body"
        self._reject(408, f"the {what} of the request did not arrive in time")

    def _is_answered(self) -> bool:
        return self.cycle is not None and self.cycle.response_complete

    def _abort_later(self) -> None:
        if self._abort_timer is not None:
            self._abort_timer.cancel()
        self._abort_timer = self.loop.call_later(self._deadlines.write, self.transport.abort)

    def _make_room(self) -> None:
        """Close the connection that has waited longest for a request, or else this one."""
        idle = [
            connection
            for connection in self.connections
            if isinstance(connection, DeadlineProtocol)
            and connection is not self
            and connection.is_idle()
        ]
        if idle:
            min(idle, key=lambda connection: connection._since).transport.abort()
        else:
            self._reject(503, "too many connections; try again later")

    def _reject(self, status: int, detail: str) -> None:
        """Answer with problem details if nothing was answered yet, and close the connection."""
        is_open = self.cycle is not None and not self.cycle.response_complete
        request_id = request_id_of(cast("Scope", self.scope)) if is_open else uuid.uuid4().hex
        self._on_reject(status, request_id)
        if is_open:
            self.scope["state"][REJECTED] = status
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            has_body = not (is_open and self.scope["method"] == "HEAD")
            for event in _problem_events(status, detail, request_id, has_body=has_body):
                self.transport.write(self.conn.send(event) or b"")
        if self._read_timer is not None:
            self._read_timer.cancel()
        self._discard()
        self.loop.call_later(LINGER_SECONDS, self.transport.abort)

    def _close(self) -> None:
        """Close the connection; while a body arrives, only when the client has, or its deadline."""
        transport = self.transport._transport  # type: ignore[attr-defined]  # of `_Transport`
        if self.conn.their_state is h11.SEND_BODY and not transport.is_closing():
            self._discard()
        else:
            transport.close()

    def _discard(self) -> None:
        """Send no more than was written, and discard what arrives.

        Closing at once would reset the connection, and a client that still sends would not get to
        read the answer.
        """
        self._discards = True
        self.transport.write_eof()
        self.flow.resume_reading()


def _problem_events(
    status: int, detail: str, request_id: str, *, has_body: bool
) -> list[h11.Event]:
    body = problem_body(status, detail, request_id)
    headers = {
        **HEADERS,
        REQUEST_ID_HEADER: request_id,
        "Content-Type": MEDIA_TYPE,
        "Content-Length": str(len(body)),
        "Connection": "close",
        **({"Retry-After": "1"} if status == HTTPStatus.SERVICE_UNAVAILABLE else {}),
    }
    response = h11.Response(
        status_code=status, headers=list(headers.items()), reason=HTTPStatus(status).phrase
    )
    return [response, *([h11.Data(data=body)] if has_body else []), h11.EndOfMessage()]
