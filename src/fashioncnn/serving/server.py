"""uvicorn with an end that drops no request."""

from __future__ import annotations

import asyncio
import socket
from functools import partial
from types import FrameType

import uvicorn

from fashioncnn.serving.app import Server
from fashioncnn.serving.deadlines import DeadlineProtocol
from fashioncnn.serving.logs import log
from fashioncnn.serving.options import ServerOptions

BACKLOG = 2048
"""Connections that the system accepts ahead of the server."""
SETTLE_SECONDS = 0.2
"""Time for the requests of the last connections to arrive."""


class GracefulServer(uvicorn.Server):
    """Runs an application until SIGTERM or SIGINT, then answers what was accepted, and returns.

    Args:
        server: the application.
        options: of the service.
    """

    def __init__(self, server: Server, options: ServerOptions) -> None:
        protocol = partial(DeadlineProtocol, options=options, on_reject=self._count_rejection)
        super().__init__(
            uvicorn.Config(
                server.app,
                http=protocol,  # type: ignore[arg-type]  # is only called
                ws="none",
                loop="asyncio",
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                backlog=BACKLOG,
                timeout_keep_alive=options.deadlines.keep_alive,
                timeout_graceful_shutdown=options.drain_seconds,
            )
        )
        self._server, self._grace = server, options.grace

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Begin to end. uvicorn would raise the signal again when it has ended."""
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer accepted requests, for a short time also those that still arrive."""
        self._server.lifecycle.draining = True
        log("draining", connections=len(self.server_state.connections))
        await asyncio.sleep(self._grace)  # a load balancer notices, and clients that were answered
        await self._close_listening(sockets or [])
        await asyncio.sleep(SETTLE_SECONDS)
        await super().shutdown(sockets)
        log("ended")

    async def _close_listening(self, sockets: list[socket.socket]) -> None:
        """Close the sockets, and serve what the system has accepted, which would be reset."""
        loop = asyncio.get_running_loop()
        for listening in sockets:
            loop.remove_reader(listening)  # asyncio accepts no more
        await asyncio.sleep(0)  # what it has accepted becomes a connection of its open server
        waiting = [connection for listening in sockets for connection in _accept_all(listening)]
        for server in self.servers:
            server.close()
        for connection in waiting:
            await loop.connect_accepted_socket(self._create_protocol, connection)

    def _create_protocol(self) -> asyncio.Protocol:
        return self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
        )

    def _count_rejection(self, status: int, request_id: str) -> None:
        self._server.metrics.rejected.labels(str(status)).inc()
        log("rejected", request_id=request_id, status=status)


def _accept_all(listening: socket.socket) -> list[socket.socket]:
    """Return the connections that wait in the backlog of a socket."""
    connections: list[socket.socket] = []
    while True:
        try:
            connection, _ = listening.accept()
        except OSError:  # none is left
            return connections
        connection.setblocking(False)
        connections.append(connection)
