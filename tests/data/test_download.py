import functools
import hashlib
import http.server
import socket
import threading

import numpy as np
import pytest

from fashioncnn.data import dataset, download
from fashioncnn.data.dataset import Split
from fashioncnn.data.download import OfficialFile, fetch_fashion_mnist
from fashioncnn.data.load import load_dataset
from fashioncnn.errors import DataError
from fashioncnn.files import cache_folder

from ..idx import write_idx


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A local HTTP server with the mirrors ``good/`` and ``bad/``: its address and the files."""
    folder = tmp_path_factory.mktemp("server")
    files = []
    for mirror in ("good", "bad"):
        (folder / mirror).mkdir()
        for official in download.OFFICIAL_FILES:
            shape = (2, 28, 28) if "images" in official.name else (2,)
            level = 0 if official.name.startswith("train-images") else 1
            path = folder / mirror / f"{official.name}.gz"
            write_idx(path, np.full(shape, level, np.uint8))
            content = path.read_bytes()
            sha256 = hashlib.sha256(content).hexdigest()
            if mirror == "good":
                files.append(OfficialFile(official.name, len(content), sha256, ""))
    (folder / "bad" / "train-labels-idx1-ubyte.gz").write_bytes(b"<html>login</html>")
    handler = functools.partial(QuietHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as http_server:
        thread = threading.Thread(target=http_server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{http_server.server_port}/", tuple(files)
        http_server.shutdown()
        thread.join()


@pytest.fixture
def mirrors(server, monkeypatch):
    """The address of the server, whose good files count as the official ones."""
    address, files = server
    monkeypatch.setattr(download, "OFFICIAL_FILES", files)
    monkeypatch.setattr(
        dataset,
        "OFFICIAL_SPLITS",
        {
            name: Split(np.full((2, 28, 28), level, np.uint8), np.ones(2, np.uint8)).sha256
            for level, name in enumerate(("train", "test"))
        },
    )
    return address


@pytest.fixture
def unreachable():
    """The address of a port that refuses connections."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{unused.getsockname()[1]}/"


def test_download_falls_back_to_the_next_mirror(mirrors, unreachable):
    messages = []
    folder = fetch_fashion_mnist(
        mirrors=(unreachable, f"{mirrors}missing/", f"{mirrors}good/"), notify=messages.append
    )
    names = [f"{file.name}.gz" for file in download.OFFICIAL_FILES]
    assert sorted(path.name for path in folder.iterdir()) == sorted(names)
    assert [message.split()[0] for message in messages] == [n for n in names for _ in range(3)]
    assert load_dataset(None, offline=True).name == "fashion-mnist"


def test_download_shows_a_progress_bar(mirrors, capsys):
    fetch_fashion_mnist(mirrors=(f"{mirrors}good/",), progress=True)
    assert "bytes" in capsys.readouterr().err


def test_download_with_wrong_content_leaves_no_file(mirrors):
    with pytest.raises(DataError, match=r"train-labels.*could not be downloaded.*--data sketches"):
        fetch_fashion_mnist(mirrors=(f"{mirrors}bad/",))
    cached = (cache_folder() / "fashion-mnist").iterdir()
    assert [path.name for path in cached] == ["train-images-idx3-ubyte.gz"]


def test_failed_download_is_reported_in_one_line(unreachable):
    with pytest.raises(
        DataError, match=r"127\.0\.0\.1:\d+: connection refused.*--data sketches"
    ) as caught:
        fetch_fashion_mnist(mirrors=(unreachable,))
    assert "\n" not in str(caught.value)


def test_refresh_replaces_a_damaged_file(mirrors):
    folder = fetch_fashion_mnist(mirrors=(f"{mirrors}good/",))
    (folder / "t10k-images-idx3-ubyte.gz").write_bytes(b"damaged")
    with pytest.raises(DataError, match=r"not the official file.*fashioncnn data --refresh"):
        load_dataset(None)
    with pytest.raises(DataError, match=r"t10k-images-idx3-ubyte\.gz is damaged, and --offline"):
        fetch_fashion_mnist(refresh=True, offline=True)
    fetch_fashion_mnist(mirrors=(f"{mirrors}good/",), refresh=True)
    assert load_dataset(None).name == "fashion-mnist"
