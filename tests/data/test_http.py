"""A server that truncates, stalls, drips, redirects or lies: each is given up for the reason."""

import hashlib
import socket
import threading
from contextlib import closing

import pytest

from fashioncnn.data.download import OfficialFile, fetch_fashion_mnist
from fashioncnn.data.http import DownloadError, Limits, receive
from fashioncnn.errors import DataError, TerminatedRun
from fashioncnn.files import cache_folder

from .faulty_server import CONTENT, faulty_server

PATIENT = Limits()
"""Used where a limit on time must not be the reason."""


@pytest.fixture(scope="module")
def address():
    with faulty_server() as address:
        yield address


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
