"""Receive a file of known size over HTTP within limits on time, rate, size and redirects."""

from __future__ import annotations

import http.client
import queue
import socket
import threading
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from http import HTTPStatus

CHUNK_BYTES = 1 << 16
QUEUE_LENGTH = 16
"""Chunks that are received before the first is written."""
POLL_SECONDS = 0.2
"""Longest time until the receiving thread notices that its chunks are no longer needed."""


@dataclass(frozen=True)
class Limits:
    """When a server is given up.

    Attributes:
        silence: seconds until the connection is open, and without any data.
        window: seconds over which the rate is measured.
        rate: minimum rate in bytes per second, over each window.
        total: seconds for the whole file.
        redirects: maximum number of redirects.
    """

    silence: float = 20
    window: float = 30
    rate: float = 10_000
    total: float = 1800
    redirects: int = 5


class DownloadError(Exception):
    """A server did not provide the file; the message is the reason in plain words."""


def receive(url: str, size: int, limits: Limits) -> Generator[bytes]:
    """Yield the content of a file of exactly `size` bytes.

    Another thread receives it, so that the limits on time hold whatever the server does: a
    connection can stay busy forever in the name look-up, in its headers or byte by byte. Closing
    the iterator ends that thread.

    Raises:
        DownloadError: there is no such file, it has another size, or a limit was exceeded.
    """
    chunks: queue.Queue[bytes | DownloadError] = queue.Queue(QUEUE_LENGTH)
    stopped = threading.Event()
    arguments = (url, size, limits, chunks, stopped)
    threading.Thread(target=_receive, args=arguments, daemon=True).start()
    received = 0
    try:
        for chunk in _within_time(chunks, limits):
            received += len(chunk)
            if received > size:
                raise DownloadError(f"wrong size: more than {size:,} bytes")
            yield chunk
        if received < size:
            raise DownloadError(f"connection closed after {received:,} of {size:,} bytes")
    finally:
        stopped.set()


def _within_time(chunks: queue.Queue[bytes | DownloadError], limits: Limits) -> Iterator[bytes]:
    """Yield chunks up to the empty one at the end.

    Raises:
        DownloadError: the receiving thread failed, or time is up.
    """
    start = window_start = time.monotonic()
    in_window = 0
    while True:
        window_end = window_start + limits.window
        now = time.monotonic()
        if now >= start + limits.total:
            raise DownloadError(f"not complete after {limits.total:g} s")
        if now >= window_end:
            if in_window < limits.rate * limits.window:
                rate = in_window / limits.window
                raise DownloadError(f"too slow: {rate:,.0f} bytes/s over {limits.window:g} s")
            window_start, in_window = now, 0
            continue
        try:
            chunk = chunks.get(timeout=min(window_end, start + limits.total) - now)
        except queue.Empty:
            continue
        if isinstance(chunk, DownloadError):
            raise chunk
        if not chunk:
            return
        in_window += len(chunk)
        yield chunk


def _receive(
    url: str,
    size: int,
    limits: Limits,
    chunks: queue.Queue[bytes | DownloadError],
    stopped: threading.Event,
) -> None:
    """Put the chunks of a file into a queue, then an empty one or an error."""
    import requests
    import urllib3

    errors = requests.RequestException, urllib3.exceptions.HTTPError, http.client.HTTPException

    def put(chunk: bytes | DownloadError) -> None:
        while not stopped.is_set():
            try:
                chunks.put(chunk, timeout=POLL_SECONDS)
            except queue.Full:
                continue
            return

    try:
        for chunk in _request(url, size, limits):
            put(chunk)
            if stopped.is_set():
                return
        put(b"")
    except DownloadError as error:
        put(error)
    except (*errors, OSError, ValueError) as error:
        put(DownloadError(_describe(error, limits)))


def _request(url: str, size: int, limits: Limits) -> Iterator[bytes]:
    import requests

    with requests.Session() as session:
        session.max_redirects = limits.redirects
        headers = {"Accept-Encoding": "identity"}
        with session.get(
            url, stream=True, timeout=(limits.silence, limits.silence), headers=headers
        ) as response:
            if response.status_code != HTTPStatus.OK:
                raise DownloadError(f"HTTP {response.status_code} ({response.reason})")
            declared = response.headers.get("Content-Length", "")
            if declared.isdecimal() and int(declared) != size:
                raise DownloadError(f"wrong size: {int(declared):,} bytes, expected {size:,}")
            while chunk := response.raw.read1(CHUNK_BYTES, decode_content=False):
                yield chunk


def _describe(error: Exception, limits: Limits) -> str:
    """Return the reason of an error of requests or urllib3, which wrap others in several layers."""
    import requests
    import urllib3

    causes = list(_causes(error))

    def has(*kinds: type[BaseException]) -> bool:
        return any(isinstance(cause, kinds) for cause in causes)

    reasons = {
        f"more than {limits.redirects} redirects": (requests.TooManyRedirects,),
        "no such host, or no network": (socket.gaierror, urllib3.exceptions.NameResolutionError),
        "proxy not reachable": (requests.exceptions.ProxyError,),
        "certificate not accepted": (requests.exceptions.SSLError, urllib3.exceptions.SSLError),
        "connection refused": (ConnectionRefusedError,),
        # Before time-outs, of which this is a subclass in some versions of urllib3.
        "network not reachable": (urllib3.exceptions.NewConnectionError,),
        f"no data for {limits.silence:g} s": (
            TimeoutError,
            requests.Timeout,
            urllib3.exceptions.TimeoutError,
        ),
        "connection closed early": (
            ConnectionError,
            urllib3.exceptions.ProtocolError,
            requests.ConnectionError,
            requests.exceptions.ChunkedEncodingError,
        ),
        "redirect to an address that is not HTTP": (
            requests.exceptions.InvalidSchema,
            requests.exceptions.InvalidURL,
        ),
    }
    return next((text for text, kinds in reasons.items() if has(*kinds)), "invalid HTTP response")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, and the errors it was raised for or has as arguments."""
    pending: list[BaseException] = [error]
    found: set[int] = set()
    while pending:
        current = pending.pop(0)
        if id(current) in found:
            continue
        found.add(id(current))
        yield current
        linked = (*current.args, getattr(current, "reason", None), current.__cause__)
        pending += [e for e in (*linked, current.__context__) if isinstance(e, BaseException)]
