"""The load generator of `benchmarks/serving.py`: clients that keep their connection, on asyncio.

A client of ``httpx`` needs as much processor time per request as the server, which runs on the same
cores, so that requests are prepared bytes here, and of an answer only the status and the length are
read.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

TIMEOUT = 60.0
BOUNDARY = "limit"
MAX_PAUSE = 5.0
"""Limit on the pause that an answer asks for, in seconds."""


@dataclass
class Measurement:
    """Answers of one measurement.

    Attributes:
        seconds: from the first request to the last answer.
        statuses: number of answers by status; 0 is a connection that ended without an answer.
        latencies: seconds of the answers with status 200.
    """

    seconds: float = 0.0
    statuses: Counter[int] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)

    def summary(self) -> dict[str, object]:
        """Return rate, median and 99th percentile, in JSON types."""
        times = np.array(self.latencies) if self.latencies else np.array([np.nan])
        return {
            "seconds": round(self.seconds, 2),
            "statuses": {str(status): n for status, n in sorted(self.statuses.items())},
            "per_second": round(len(self.latencies) / self.seconds, 2),
            "p50_ms": _milliseconds(np.percentile(times, 50)),
            "p99_ms": _milliseconds(np.percentile(times, 99)),
        }


@dataclass(frozen=True)
class Answer:
    """Status, seconds to wait before the next request, and body."""

    status: int
    retry_after: float
    body: bytes


class Client:
    """One connection, opened again whenever the server has closed it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, request: bytes) -> Answer:
        """Return the answer to a request; raises `OSError` or `EOFError` if there is none."""
        async with asyncio.timeout(TIMEOUT):
            if self._streams is None or self._streams[0].at_eof():
                self._streams = await asyncio.open_connection("127.0.0.1", self._port)
            reader, writer = self._streams
            try:
                writer.write(request)
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
                status, *lines = head.split("\r\n")
                headers = dict(line.split(": ", 1) for line in lines if line)
                body = await reader.readexactly(int(headers["content-length"]))
            except (OSError, EOFError):
                self.close()
                raise
        if headers.get("connection") == "close":
            self.close()
        return Answer(int(status.split()[1]), float(headers.get("retry-after", 0)), body)

    def close(self) -> None:
        """Close the connection."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


def form_request(content: bytes) -> bytes:
    """Return a request that predicts one image, sent as a form."""
    head = 'Content-Disposition: form-data; name="images"; filename="image"'
    part = f"--{BOUNDARY}\r\n{head}\r\nContent-Type: image/jpeg\r\n\r\n".encode()
    body = part + content + f"\r\n--{BOUNDARY}--\r\n".encode()
    lines = (
        "POST /v1/predict HTTP/1.1",
        "Host: 127.0.0.1",
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}",
        f"Content-Length: {len(body)}",
    )
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def closed_loop(
    port: int, requests: Sequence[bytes], clients: int, seconds: float
) -> Measurement:
    """Send with a number of clients, each waiting for its answer before the next request."""
    measurement = Measurement()
    started = time.perf_counter()

    async def run(number: int) -> None:
        client = Client(port)
        position = number
        while time.perf_counter() - started < seconds:
            answer = await timed(client, requests[position % len(requests)], measurement)
            position += clients
            await asyncio.sleep(min(answer.retry_after, MAX_PAUSE) if answer else 0.1)
        client.close()

    await asyncio.gather(*map(run, range(clients)))
    measurement.seconds = time.perf_counter() - started
    return measurement


async def open_loop(
    port: int, requests: Sequence[bytes], per_second: float, seconds: float, max_clients: int
) -> Measurement:
    """Send at a rate that does not depend on the answers; more clients than a limit are dropped."""
    measurement = Measurement()
    started = time.perf_counter()
    idle = [Client(port) for _ in range(max_clients)]
    tasks: set[asyncio.Task[None]] = set()

    async def run(client: Client, request: bytes) -> None:
        await timed(client, request, measurement)
        idle.append(client)

    for number in range(round(per_second * seconds)):
        pause = started + number / per_second - time.perf_counter()
        await asyncio.sleep(max(0.0, pause))
        if idle:
            task = asyncio.create_task(run(idle.pop(), requests[number % len(requests)]))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        else:
            measurement.statuses[-1] += 1
    await asyncio.gather(*tasks)
    for client in idle:
        client.close()
    measurement.seconds = time.perf_counter() - started
    return measurement


async def timed(client: Client, request: bytes, measurement: Measurement) -> Answer | None:
    """Send a request and record its answer; None if there was none."""
    started = time.perf_counter()
    try:
        answer = await client.send(request)
    except (OSError, EOFError, TimeoutError):
        measurement.statuses[0] += 1
        return None
    measurement.statuses[answer.status] += 1
    if answer.status == 200:
        measurement.latencies.append(time.perf_counter() - started)
    return answer


async def slow_clients(port: int, count: int, until: Callable[[], Awaitable[object]]) -> int:
    """Keep clients that send one byte per second while something runs; return the connections.

    A client whose connection was closed opens another one.
    """
    opened = 0

    async def run() -> None:
        nonlocal opened
        while True:
            with contextlib.suppress(OSError, EOFError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                opened += 1
                for byte in b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 3600:
                    writer.write(bytes([byte]))
                    await writer.drain()
                    await asyncio.sleep(1)
            await asyncio.sleep(0.1)

    tasks = [asyncio.create_task(run()) for _ in range(count)]
    await asyncio.sleep(2)
    await until()
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    return opened


def _milliseconds(seconds: float) -> float | None:
    return None if np.isnan(seconds) else round(1000 * float(seconds), 2)
