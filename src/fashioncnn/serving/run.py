"""Runs the service in this process."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
from collections.abc import Callable

from fashioncnn.errors import UsageError
from fashioncnn.inference.predictor import Predictor
from fashioncnn.serving.app import Server
from fashioncnn.serving.logs import start_logging
from fashioncnn.serving.options import ServerOptions
from fashioncnn.serving.server import BACKLOG, GracefulServer


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens; connections wait until the server is ready.

    Args:
        host: name or address of an interface.
        port: 0 for any that is free.

    Raises:
        UsageError: there is no such interface, or the port cannot be used.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError) as error:
        raise UsageError(f"--host {host}: no such address ({_reason(error)})") from None
    # asyncio switches Nagle's algorithm off only where the protocol is named; with it, an answer of
    # two parts waits 40 ms for the client's delayed acknowledgment.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise _bind_error(error, host, port) from None
    listening.setblocking(False)
    return listening


def url_of(listening: socket.socket) -> str:
    """Return the address of a socket as a URL."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def is_loopback(listening: socket.socket) -> bool:
    """Return whether only this machine reaches a socket."""
    return ipaddress.ip_address(listening.getsockname()[0]).is_loopback


def serve(
    load: Callable[[], Predictor], name: str, options: ServerOptions, listening: socket.socket
) -> None:
    """Serve a model until SIGTERM or SIGINT.

    Args:
        load: returns the predictor.
        name: of the model.
        options: of the service.
        listening: a socket that listens.
    """
    server = Server(load(), name, options)
    listener = start_logging()
    try:
        GracefulServer(server, options).run([listening])
    finally:
        listener.stop()


def _bind_error(error: OSError, host: str, port: int) -> UsageError:
    if error.errno == errno.EADDRINUSE:
        return UsageError(f"--port {port}: in use by another program; choose another port")
    if error.errno == errno.EACCES:
        return UsageError(f"--port {port}: not permitted; choose one from 1024")
    if error.errno == errno.EADDRNOTAVAIL:
        return UsageError(f"--host {host}: not an address of this machine")
    return UsageError(f"--host {host} --port {port}: {_reason(error)}")


def _reason(error: Exception) -> str:
    number = getattr(error, "errno", None)
    return getattr(error, "strerror", None) or (os.strerror(number) if number else str(error))
