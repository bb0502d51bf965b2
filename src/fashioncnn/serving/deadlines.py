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
from uvicorn.protocols.http.h11_impl import H11Protocol

from fashioncnn.serving.middleware import REQUEST_ID_HEADER
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


class DeadlineProtocol(H11Protocol):
    """A connection with deadlines.

    Args:
        options: with the limits.
        on_reject: called with the status code of each connection that is closed before its request
            was complete.
        arguments: of the class of uvicorn.
    """

    def __init__(
        self, *, options: ServerOptions, on_reject: Callable[[int], None], **arguments: Any
    ) -> None:
        super().__init__(**arguments)
        self._options, self._deadlines, self._on_reject = options, options.deadlines, on_reject
        self._waiting_for: type[h11._util.Sentinel] | None = None
        self._since = 0.0
        self._received = 0
        self._is_rejected = False
        self._read_timer: asyncio.TimerHandle | None = None
        self._abort_timer: asyncio.TimerHandle | None = None

    # Events of the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the deadline of the header; close another connection if there are too many."""
        super().connection_made(cast(asyncio.Transport, transport))
        self._watch()
        if len(self.connections) > self._options.max_connections:
            self._make_room()

    def data_received(self, data: bytes) -> None:
        """Continue with the deadline of what is missing."""
        if self._waiting_for is h11.IDLE and not self._received:
            self._since = self.loop.time()  # the first bytes of a header
        self._received += len(data)
        if not self._is_rejected:
            super().data_received(data)
            self._watch(len(data))
        if self._received > MAX_DISCARDED_BYTES and (self._is_rejected or self._is_answered()):
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
        """Answer a request that is not HTTP."""
        self._reject(400, f"malformed request: {msg[:1].lower()}{msg[1:].rstrip('.')}")

    def is_idle(self) -> bool:
        """Whether no request is in progress."""
        return self._waiting_for is h11.IDLE or self._is_rejected

    # Deadlines

    def _watch(self, received: int = 0) -> None:
        """Restart the deadline if something else is missing than before.

        Args:
            received: bytes that have just arrived, the first of what is missing among them.
        """
        if self._is_rejected:
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
        self._on_reject(status)
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            for event in _problem_events(status, detail):
                self.transport.write(self.conn.send(event) or b"")
        # Closing at once would reset the connection, and a client that still sends would not get to
        # read the answer.
        self._is_rejected = True
        if self._read_timer is not None:
            self._read_timer.cancel()
        self.transport.write_eof()
        self.flow.resume_reading()
        self.loop.call_later(LINGER_SECONDS, self.transport.abort)


def _problem_events(status: int, detail: str) -> list[h11.Event]:
    request_id = uuid.uuid4().hex
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
    return [response, h11.Data(data=body), h11.EndOfMessage()]
