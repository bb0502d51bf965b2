"""Measure ``fashioncnn serve`` under load, and compare it with a plain FastAPI handler.

    python benchmarks/serving.py                      about 25 minutes
    python benchmarks/serving.py --seconds 5 --overload-seconds 10 --uploads 500 --signals 5
    python benchmarks/serving.py --only throughput --model photo.onnx
    python benchmarks/serving.py --table              the tables of docs/guide/deploy.md

The load generator runs on the same machine. Writes ``benchmarks/results/serving.json``; parts that
are not measured keep their results.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from common import BENCHMARKS, RESULTS, Result, make_parser, measurement_context, write_result
from serving_load import (
    Client,
    Measurement,
    closed_loop,
    form_request,
    open_loop,
    slow_clients,
    timed,
)
from serving_table import serving_tables

OUT = RESULTS / "serving.json"
CLIENTS = (1, 16, 64, 256)
IMAGES = 16
"""Different images of each kind."""
PORT_OF_PLAIN = 18734
OVERLOAD = 3
"""Times the capacity."""
SLOW_CLIENTS = 500


class ServerProcess:
    """A server under test."""

    def __init__(self, command: Sequence[str], port: int | None) -> None:
        self.process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        self.port = port or self._read_port()
        asyncio.run(self._wait_until_ready())

    def _read_port(self) -> int:
        line = self.process.stderr.readline() if self.process.stderr else ""
        match = re.search(r"http://\S+:(\d+)", line)
        if match is None:
            raise SystemExit(f"the server did not start: {line}")
        return int(match[1])

    async def _wait_until_ready(self) -> None:
        measurement = Measurement()
        request = b"GET /readyz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
        while not measurement.statuses[200]:
            await timed(Client(self.port), request, measurement)
            await asyncio.sleep(0.1)

    def memory_bytes(self) -> int:
        """Return the resident memory of the server and its processes, shared pages once (PSS)."""
        return sum(_pss(process) for process in _tree(self.process.pid))

    def processor_seconds(self) -> float:
        """Return the processor time that the server and its processes have used."""
        return sum(_processor_seconds(process) for process in _tree(self.process.pid))

    def end(self, seconds: float = 30) -> float:
        """Send SIGTERM; return the seconds until the process has ended."""
        started = time.perf_counter()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(seconds)
        return time.perf_counter() - started


@contextlib.contextmanager
def fashioncnn_serve(model: str) -> Iterator[ServerProcess]:
    """Run ``fashioncnn serve`` until the block ends."""
    command = [sys.executable, "-m", "fashioncnn", "serve", model, "--port", "0"]
    with _ended(ServerProcess(command, None)) as server:
        yield server


@contextlib.contextmanager
def plain_handler() -> Iterator[ServerProcess]:
    """Run the plain handler until the block ends."""
    command = [sys.executable, str(BENCHMARKS / "serving_plain.py"), str(PORT_OF_PLAIN)]
    with _ended(ServerProcess(command, PORT_OF_PLAIN)) as server:
        yield server


@contextlib.contextmanager
def _ended(server: ServerProcess) -> Iterator[ServerProcess]:
    try:
        yield server
    finally:
        if server.process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):  # the plain handler has no limit
                server.end()
        server.process.kill()


def measure_throughput(model: str, seconds: float) -> Result:
    """Return rates and latencies by kind of image, server and number of clients."""
    result: Result = {}
    for kind, contents in image_kinds().items():
        requests = [form_request(content) for content in contents]
        servers = {"fashioncnn serve": fashioncnn_serve(model), "plain handler": plain_handler()}
        for name, starting in servers.items():
            with starting as server:
                asyncio.run(closed_loop(server.port, requests, 4, min(seconds, 5)))  # warm-up
                for clients in CLIENTS:
                    before = server.processor_seconds()
                    measured = asyncio.run(closed_loop(server.port, requests, clients, seconds))
                    used = server.processor_seconds() - before
                    row = {
                        **measured.summary(),
                        "processor_ms": round(1000 * used / max(1, len(measured.latencies)), 2),
                    }
                    result.setdefault(kind, {}).setdefault(name, {})[str(clients)] = row
                    print(kind, name, clients, row, flush=True)
    return result


def measure_overload(model: str, seconds: float, calibration_seconds: float) -> Result:
    """Return the answers at three times the capacity, and the seconds until it is over."""
    requests = [form_request(content) for content in image_kinds()["JPEG, 1 megapixel"]]
    with fashioncnn_serve(model) as server:
        capacity = asyncio.run(closed_loop(server.port, requests, 16, calibration_seconds))
        alone = asyncio.run(closed_loop(server.port, requests, 1, calibration_seconds))
        per_second = OVERLOAD * len(capacity.latencies) / capacity.seconds
        measured = asyncio.run(open_loop(server.port, requests, per_second, seconds, 900))
        recovery = asyncio.run(_recovery(server.port, requests, 2 * np.median(alone.latencies)))
    return {**measured.summary(), "sent_per_second": per_second, "recovery_seconds": recovery}


async def _recovery(port: int, requests: Sequence[bytes], usual: float) -> float:
    """Return the seconds until a request is answered as fast as on an idle server."""
    started = time.perf_counter()
    while time.perf_counter() - started < 60:
        measurement = Measurement()
        await timed(Client(port), requests[0], measurement)
        if measurement.latencies and measurement.latencies[0] < usual:
            break
        await asyncio.sleep(0.1)
    return round(time.perf_counter() - started, 2)


def measure_uploads(model: str, uploads: int) -> Result:
    """Return statuses and memory for valid and damaged images, and whether answers change."""
    contents = [c for kind in image_kinds(side=300).values() for c in kind]
    generator = random.Random(0)
    with fashioncnn_serve(model) as server:
        before = asyncio.run(_answers(server.port, contents))
        _send_mixed(server.port, contents, generator, max(200, uploads // 10))
        memory = server.memory_bytes()
        statuses = _send_mixed(server.port, contents, generator, uploads)
        growth = server.memory_bytes() - memory
        after = asyncio.run(_answers(server.port, contents))
    difference = float(np.abs(np.array(before) - np.array(after)).max())
    return {
        "uploads": uploads,
        "statuses": {str(status): n for status, n in sorted(statuses.items())},
        "memory_bytes": memory,
        "memory_growth_bytes": growth,
        "largest_change_of_a_probability": difference,
    }


async def _answers(port: int, contents: Sequence[bytes]) -> list[float]:
    client = Client(port)
    documents = [json.loads((await client.send(form_request(c))).body) for c in contents]
    client.close()
    return [document["predictions"][0]["top"][0]["probability"] for document in documents]


def _send_mixed(
    port: int, contents: Sequence[bytes], generator: random.Random, count: int
) -> Counter[int]:
    """Send images, every second one damaged, with 16 clients."""
    requests = [
        form_request(content if number % 2 else _damaged(content, generator))
        for number, content in enumerate(generator.choices(contents, k=count))
    ]
    measurement = Measurement()

    async def run() -> None:
        remaining = iter(requests)

        async def send() -> None:
            client = Client(port)
            for request in remaining:
                await timed(client, request, measurement)
            client.close()

        await asyncio.gather(*(send() for _ in range(16)))

    asyncio.run(run())
    return measurement.statuses


def _damaged(content: bytes, generator: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(generator.randrange(1, 30)):
        changed[generator.randrange(len(changed))] = generator.randrange(256)
    return bytes(
        changed[: generator.randrange(len(changed))] if generator.random() < 0.3 else changed
    )


def measure_signals(model: str, signals: int) -> Result:
    """Return how many requests had no answer when the server ended under load."""
    requests = [form_request(content) for content in image_kinds()["PNG, 28×28"]]
    total: Counter[str] = Counter()
    slowest = 0.0
    for _ in range(signals):
        with fashioncnn_serve(model) as server:
            counts: Counter[str] = Counter()
            load = threading.Thread(
                target=_load_until_refused, args=(server.port, requests, counts)
            )
            load.start()
            time.sleep(0.5 + random.random())
            slowest = max(slowest, server.end())
            load.join()
            total += counts
            total["exit code 0"] += server.process.returncode == 0
    return {"signals": signals, "slowest_end_seconds": round(slowest, 2), **total}


def _load_until_refused(port: int, requests: Sequence[bytes], counts: Counter[str]) -> None:
    asyncio.run(_send_until_refused(port, requests, counts))


async def _send_until_refused(port: int, requests: Sequence[bytes], counts: Counter[str]) -> None:
    async def run() -> None:
        client = Client(port)
        while True:
            try:
                answer = await client.send(random.choice(requests))
                counts[f"answers {answer.status}"] += 1
            except ConnectionRefusedError:  # not accepted
                counts["refused"] += 1
                return
            except (OSError, EOFError, TimeoutError):
                counts["lost"] += 1
                return

    await asyncio.gather(*(run() for _ in range(16)))


def measure_slow_clients(model: str, seconds: float) -> Result:
    """Return the answers to 16 clients without and with 500 clients that send 1 byte/s."""
    requests = [form_request(content) for content in image_kinds()["PNG, 28×28"]]
    result: Result = {}
    with fashioncnn_serve(model) as server:
        alone = asyncio.run(closed_loop(server.port, requests, 16, seconds))
        result["alone"] = alone.summary()

        async def both() -> int:
            async def others() -> None:
                measured = await closed_loop(server.port, requests, 16, seconds)
                result["with_slow_clients"] = measured.summary()

            return await slow_clients(server.port, SLOW_CLIENTS, others)

        result["slow_connections"] = asyncio.run(both())
    return result


def image_kinds(side: int | None = None) -> dict[str, list[bytes]]:
    """Return encoded images by kind: drawings on a textured background.

    Args:
        side: pixels of the JPEGs instead of 1,150 × 870.
    """
    from fashioncnn.data.sketches import draw_sketches

    drawings = draw_sketches().train.images[:IMAGES]
    size = (side, side) if side else (1150, 870)
    return {
        "PNG, 28×28": [_encode(Image.fromarray(drawing), "PNG") for drawing in drawings],
        "JPEG, 1 megapixel": [_encode(_photograph(drawing, size), "JPEG") for drawing in drawings],
    }


def _photograph(drawing: np.ndarray, size: tuple[int, int]) -> Image.Image:
    """Return a colored garment on a light background with noise."""
    mask = np.asarray(Image.fromarray(drawing).resize(size), np.float64)[..., None] / 255
    generator = np.random.default_rng(int(drawing.sum()))
    noise = generator.normal(0, 6, (size[1], size[0], 3))
    color = generator.integers(20, 160, 3)
    pixels = mask * color + (1 - mask) * 215 + noise
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def _encode(image: Image.Image, image_format: str) -> bytes:
    file = BytesIO()
    image.save(file, image_format)
    return file.getvalue()


def _tree(process: int) -> list[int]:
    """Return a process and all that it started, directly or not."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
    found = [process]
    for each in found:
        found += [child for child, parent in parents.items() if parent == each]
    return found


def _processor_seconds(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _pss(process: int) -> int:
    text = Path(f"/proc/{process}/smaps_rollup").read_text()
    return next(int(x.split()[1]) for x in text.splitlines() if x.startswith("Pss:")) * 1024


def main() -> None:
    """Measure what was asked for, and write the results."""
    parser = make_parser(__doc__)
    parser.add_argument("--model", default="photo")
    parser.add_argument("--seconds", type=float, default=20, help="per row of the throughput")
    parser.add_argument("--overload-seconds", type=float, default=60)
    parser.add_argument("--uploads", type=int, default=10_000)
    parser.add_argument("--signals", type=int, default=50)
    parser.add_argument("--only", nargs="+", default=None, metavar="PART")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--table", action="store_true", help="print the stored results as Markdown")
    options = parser.parse_args()
    stored: Result = json.loads(options.out.read_text()) if options.out.exists() else {}
    if options.table:
        print(serving_tables(stored))
        return
    parts = {
        "throughput": lambda: measure_throughput(options.model, options.seconds),
        "overload": lambda: measure_overload(
            options.model, options.overload_seconds, options.seconds
        ),
        "uploads": lambda: measure_uploads(options.model, options.uploads),
        "signals": lambda: measure_signals(options.model, options.signals),
        "slow_clients": lambda: measure_slow_clients(options.model, options.seconds),
    }
    for name in options.only or parts:
        result = {**measurement_context(), **parts[name]()}
        print(name, json.dumps(result, indent=1), flush=True)
        stored = {**stored, name: result}
        stored.pop("schema", None)
        write_result(options.out, stored)


if __name__ == "__main__":
    main()
