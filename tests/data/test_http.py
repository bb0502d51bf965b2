"""A server that truncates, stalls, drips, redirects or lies: each is given up for the reason."""

import hashlib
import http.server
import socket
import threading
from contextlib import closing

import pytest

from fashioncnn.data.download import OfficialFile, fetch_fashion_mnist
from fashioncnn.data.http import DownloadError, Limits, receive
from fashioncnn.errors import DataError, TerminatedRun
from fashioncnn.files import cache_folder

CONTENT = bytes(range(256)) * 1000
PATIENT = Limits()
"""Used where a limit on time must not be the reason."""


class Faults(http.server.BaseHTTPRequestHandler):
    """Sends `CONTENT` with the fault that the path names."""

    def log_message(self, *_):
        pass

    def do_GET(self):
        getattr(self, self.path.strip("/").split("/")[0])()

    def start(self, length=None, status=200, **headers):
        self.send_response(status)
        if length is not None:
            self.send_header("Content-Length", str(length))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def until_closed(self, send, pause=0.0):
        """Call `send` until the client closes the connection or the test is over."""
        while not self.server.finished.wait(pause):
            try:
                send()
            except OSError:
                return

    def good(self):
        self.start(len(CONTENT))
        self.wfile.write(CONTENT)

    def unknown_length(self):
        self.start()
        self.wfile.write(CONTENT)

    def truncated(self):
        self.start(len(CONTENT))
        self.wfile.write(CONTENT[:1000])

    def truncated_unknown_length(self):
        self.start()
        self.wfile.write(CONTENT[:1000])

    def empty(self):
        self.start(len(CONTENT))

    def smaller(self):
        self.start(18)
        self.wfile.write(b"<html>login</html>")

    def larger(self):
        self.start(758_000_000)
        self.until_closed(lambda: self.wfile.write(CONTENT))

    def endless(self):
        self.start()
        self.until_closed(lambda: self.wfile.write(CONTENT))

    def stalled(self):
        self.start(len(CONTENT))
        self.wfile.write(CONTENT[:1000])
        self.server.finished.wait()

    def silent(self):
        self.server.finished.wait()

    def drip(self):
        self.start(len(CONTENT))
        self.until_closed(lambda: self.wfile.write(b"x"), 0.01)

    def drip_headers(self):
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Endless: ")
        self.until_closed(lambda: self.wfile.write(b"x"), 0.01)

    def slow(self):
        self.start()
        self.until_closed(lambda: self.wfile.write(b"x" * 100), 0.01)

    def redirects(self):
        self.start(0, 302, Location="/redirects/")

    def redirect_to_good(self):
        self.start(0, 302, Location="/good/")

    def redirect_to_file(self):
        self.start(0, 302, Location="file:///etc/passwd")

    def missing(self):
        self.send_error(404)

    def failing(self):
        self.send_error(503)

    def not_http(self):
        self.wfile.write(b"\0\0\0\0 nonsense\r\n\r\n")

    def encoded(self):
        self.start(len(CONTENT), **{"Content-Encoding": "gzip"})
        self.wfile.write(CONTENT)


@pytest.fixture(scope="module")
def address():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Faults) as server:
        server.finished = threading.Event()
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.finished.set()
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("name", ["good", "unknown_length", "redirect_to_good", "encoded"])
def test_file_is_received_as_it_was_sent(address, name):
    assert b"".join(receive(f"{address}{name}/", len(CONTENT), PATIENT)) == CONTENT


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("truncated", "connection closed (early|after 1,000 of 256,000 bytes)"),
        ("truncated_unknown_length", "connection closed after 1,000 of 256,000 bytes"),
        ("empty", "connection closed (early|after 0 of 256,000 bytes)"),
        ("smaller", "wrong size: 18 bytes, expected 256,000"),
        ("larger", "wrong size: 758,000,000 bytes, expected 256,000"),
        ("endless", "wrong size: more than 256,000 bytes"),
        ("redirects", "more than 5 redirects"),
        ("redirect_to_file", "redirect to an address that is not HTTP"),
        ("missing", r"HTTP 404 \(Not Found\)"),
        ("failing", r"HTTP 503 \(Service Unavailable\)"),
        ("not_http", "connection closed early"),
    ],
)
def test_fault_is_reported_in_plain_words(address, name, reason):
    with pytest.raises(DownloadError, match=f"^{reason}$"):
        list(receive(f"{address}{name}/", len(CONTENT), PATIENT))


@pytest.mark.parametrize(
    ("name", "limits", "reason"),
    [
        ("silent", Limits(silence=0.1), "no data for 0.1 s"),
        ("stalled", Limits(silence=0.1), "no data for 0.1 s"),
        ("stalled", Limits(window=0.1), "too slow: .* bytes/s over 0.1 s"),
        ("drip", Limits(window=0.1), "too slow: .* bytes/s over 0.1 s"),
        ("drip_headers", Limits(window=0.1), "too slow: 0 bytes/s over 0.1 s"),
        ("slow", Limits(total=0.1, rate=0), "not complete after 0.1 s"),
    ],
)
def test_slow_server_is_given_up(address, name, limits, reason):
    with pytest.raises(DownloadError, match=f"^{reason}$"):
        list(receive(f"{address}{name}/", len(CONTENT), limits))


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (socket.gaierror(-2, "Name or service not known"), "no such host, or no network"),
        (OSError(101, "Network is unreachable"), "network not reachable"),
    ],
)
def test_missing_network_is_reported(monkeypatch, error, reason):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr("socket.getaddrinfo", fail)
    with pytest.raises(DownloadError, match=f"^{reason}$"):
        list(receive("http://mirror.invalid/", 1, PATIENT))


@pytest.mark.parametrize("name", ["endless", "drip"])
def test_receiving_thread_ends_with_the_iterator(address, name):
    before = set(threading.enumerate())
    size = 1 << 40 if name == "endless" else len(CONTENT)
    with closing(receive(f"{address}{name}/", size, PATIENT)) as chunks:
        next(chunks)
        (receiver,) = (t for t in set(threading.enumerate()) - before if "_receive" in t.name)
    receiver.join(30)
    assert not receiver.is_alive()


FILES = (OfficialFile("train-images-idx3-ubyte", len(CONTENT), "0" * 64, ""),)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("good", r"wrong content \(its SHA-256 differs\)"),
        ("truncated", "connection closed"),
        ("endless", "wrong size"),
    ],
)
def test_faulty_download_leaves_no_file(address, monkeypatch, name, reason):
    monkeypatch.setattr("fashioncnn.data.download.OFFICIAL_FILES", FILES)
    with pytest.raises(DataError, match=rf"127\.0\.0\.1:\d+: {reason}.*--data sketches"):
        fetch_fashion_mnist(mirrors=(f"{address}{name}/",))
    assert not list((cache_folder() / "fashion-mnist").iterdir())


def test_terminated_download_leaves_no_file(address, monkeypatch):
    """SIGTERM is an exception at any moment: here, while a chunk is processed."""

    def terminate(*_, **__):
        raise TerminatedRun("terminated")

    monkeypatch.setattr("fashioncnn.data.download.OFFICIAL_FILES", FILES)
    monkeypatch.setattr("rich.progress.Progress.update", terminate)
    with pytest.raises(TerminatedRun):
        fetch_fashion_mnist(mirrors=(f"{address}good/",), progress=True)
    assert not list((cache_folder() / "fashion-mnist").iterdir())


def test_nothing_else_is_fetched_when_a_mirror_is_good(address, monkeypatch):
    digest = hashlib.sha256(CONTENT).hexdigest()
    files = (OfficialFile("train-images-idx3-ubyte", len(CONTENT), digest, ""),)
    monkeypatch.setattr("fashioncnn.data.download.OFFICIAL_FILES", files)
    messages = []
    folder = fetch_fashion_mnist(
        mirrors=(f"{address}stalled/", f"{address}good/", f"{address}missing/"),
        limits=Limits(silence=0.1),
        notify=messages.append,
    )
    assert (folder / "train-images-idx3-ubyte.gz").read_bytes() == CONTENT
    assert len(messages) == 2
