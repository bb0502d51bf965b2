"""A server on a free port, in a thread of the tests."""

import io
import socket
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

httpx = pytest.importorskip("httpx", reason="needs the extra [serve] and httpx")
pytest.importorskip("fastapi", reason="needs the extra [serve]")

from fashioncnn.cli.serve import load_predictor  # noqa: E402
from fashioncnn.serving.app import Server  # noqa: E402
from fashioncnn.serving.options import ServerOptions  # noqa: E402
from fashioncnn.serving.run import listen, url_of  # noqa: E402
from fashioncnn.serving.server import GracefulServer  # noqa: E402

TIMEOUT = 120
"""Seconds after which a test fails; no answer takes as long, also on a busy machine."""
HEADERS = {
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


class Running:
    """A server that runs in a thread."""

    def __init__(self, predictor, options):
        self.server = Server(predictor, "photo", options)
        self.uvicorn = GracefulServer(self.server, options)
        self.listening = listen("127.0.0.1", 0)
        self.url = url_of(self.listening)
        self.address = self.listening.getsockname()
        self.thread = threading.Thread(target=self.uvicorn.run, args=([self.listening],))

    def client(self, **arguments):
        return httpx.Client(base_url=self.url, timeout=TIMEOUT, **arguments)

    def connect(self) -> socket.socket:
        return socket.create_connection(self.address, timeout=TIMEOUT)


def wait_until(condition) -> None:
    """Wait until a condition holds; fail after `TIMEOUT`."""
    limit = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.01)


@contextmanager
def running(predictor, **options):
    """Run a server with one decoder until the block ends."""
    defaults = {"decoders": 1, "grace": 0.0, "max_wait": 1000.0}  # whatever else the machine does
    server = Running(predictor, ServerOptions(**{**defaults, **options}))
    server.thread.start()
    try:
        wait_until(lambda: server.server.lifecycle.ready or not server.thread.is_alive())
        yield server
    finally:
        server.uvicorn.should_exit = True
        server.thread.join(TIMEOUT)
        assert not server.thread.is_alive()


@pytest.fixture(scope="session")
def predictor():
    return load_predictor(Path("photo"), "auto", 1)


@pytest.fixture(scope="session")
def server(predictor):
    """A server with the default options, but one decoder."""
    with running(predictor) as server:
        yield server


@pytest.fixture
def client(server):
    with server.client() as client:
        yield client


def encode(image: Image.Image, image_format: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, image_format, **options)
    return file.getvalue()


def shirt(side: int = 28, mode: str = "L") -> Image.Image:
    """A light shape on black, as in Fashion-MNIST."""
    pixels = np.zeros((side, side), np.uint8)
    pixels[side // 6 : -side // 6, side // 3 : -side // 3] = 200
    pixels[side // 6 : side // 3, side // 8 : -side // 8] = 180
    return Image.fromarray(pixels).convert(mode)


@pytest.fixture(scope="session")
def png() -> bytes:
    return encode(shirt())


@pytest.fixture(scope="session")
def jpeg() -> bytes:
    return encode(shirt(300, "RGB"), "JPEG")


def check_problem(response, status: int) -> str:
    """Check the problem details of a response; return the detail."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["status"] == status
    assert problem["type"] == "about:blank"
    assert problem["title"]
    assert problem["request_id"] == response.headers["x-request-id"]
    assert "\n" not in problem["detail"]
    check_headers(response)
    return problem["detail"]


def check_headers(response) -> None:
    """Check the headers that every response has."""
    for name, value in HEADERS.items():
        assert response.headers[name] == value
    policy = response.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert "access-control-allow-origin" not in response.headers
    assert "server" not in response.headers
