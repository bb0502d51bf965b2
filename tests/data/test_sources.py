import functools
import hashlib
import http.server
import threading

import numpy as np
import pytest
from fashioncnn.data.sources import OfficialFile, find_idx_files, read_idx_folder

from fashioncnn.data import sources
from fashioncnn.data.download import fetch_fashion_mnist
from fashioncnn.data.load import load_dataset
from fashioncnn.errors import DataError, UsageError
from fashioncnn.files import cache_folder

from ..idx import write_idx


def test_idx_folder_is_a_data_set_of_its_own(idx_folder, small):
    data = load_dataset(str(idx_folder))
    assert data.name == "own"
    assert data.class_names == tuple("0123456789")
    assert data.train.sha256 == small.train.sha256
    assert data.test.sha256 == small.test.sha256


def test_classes_file_names_the_classes(idx_folder):
    (idx_folder / "classes.txt").write_text("\n".join("abcdefghijkl"))
    assert load_dataset(str(idx_folder)).class_names == tuple("abcdefghijkl")


def test_gzipped_and_test_names_are_found(idx_folder):
    for kind in ("images-idx3", "labels-idx1"):
        (idx_folder / f"t10k-{kind}-ubyte").rename(idx_folder / f"test-{kind}-ubyte")
    assert set(find_idx_files(idx_folder)) == {
        "train-images",
        "train-labels",
        "t10k-images",
        "t10k-labels",
    }


def test_label_ten_is_refused(idx_folder, small):
    labels = small.train.labels.copy()
    labels[7] = 10
    write_idx(idx_folder / "train-labels-idx1-ubyte", labels)
    with pytest.raises(DataError, match=r"train-labels-idx1-ubyte: label 10 at position 7"):
        load_dataset(str(idx_folder))


def test_images_and_labels_that_disagree_are_refused(idx_folder, small):
    write_idx(idx_folder / "t10k-labels-idx1-ubyte", small.test.labels[:-1])
    with pytest.raises(DataError, match="100 images but 99 labels"):
        load_dataset(str(idx_folder))


def test_missing_part_is_named(idx_folder):
    (idx_folder / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match="no t10k-labels"):
        load_dataset(str(idx_folder))


def test_a_folder_without_a_test_part_has_none(idx_folder):
    for kind in ("images-idx3", "labels-idx1"):
        (idx_folder / f"t10k-{kind}-ubyte").unlink()
    assert load_dataset(str(idx_folder)).test is None


def test_images_that_are_not_square_are_refused(idx_folder, small):
    write_idx(idx_folder / "train-images-idx3-ubyte", small.train.images[:, :20])
    with pytest.raises(DataError, match="20×28"):
        load_dataset(str(idx_folder))


@pytest.fixture
def official(idx_folder, monkeypatch):
    """A folder whose files count as the official ones."""
    files = [
        OfficialFile(path.name, 0, "", hashlib.sha256(path.read_bytes()).hexdigest())
        for path in idx_folder.iterdir()
    ]
    monkeypatch.setattr(sources, "OFFICIAL", tuple(files))
    return idx_folder


def test_official_files_are_fashion_mnist(official):
    data = load_dataset(str(official))
    assert data.name == "fashion-mnist"
    assert data.class_names[0] == "T-shirt/top"


def test_one_wrong_file_among_official_ones_is_refused(official, small):
    write_idx(official / "t10k-images-idx3-ubyte", 255 - small.test.images)
    with pytest.raises(DataError, match=r"t10k-images-idx3-ubyte: not the official file"):
        load_dataset(str(official))


def test_a_web_page_among_official_files_is_called_one(official):
    (official / "t10k-images-idx3-ubyte").write_bytes(b"<html>login</html>")
    with pytest.raises(DataError, match=r"t10k-images-idx3-ubyte: a web page"):
        load_dataset(str(official))


def test_training_files_in_the_test_part_s_place_are_refused(official):
    for kind in ("images-idx3", "labels-idx1"):
        content = (official / f"train-{kind}-ubyte").read_bytes()
        (official / f"t10k-{kind}-ubyte").write_bytes(content)
    with pytest.raises(DataError, match=r"t10k-.*: not the official file"):
        load_dataset(str(official))


def test_a_cache_must_be_official(idx_folder):
    with pytest.raises(DataError, match="not the official file"):
        read_idx_folder(idx_folder, must_be_official=True)


@pytest.mark.parametrize("name", ["fashion-mnist", "sketches"])
def test_a_folder_s_name_makes_it_no_built_in_data(idx_folder, name):
    folder = idx_folder.rename(idx_folder.parent / name)
    data = load_dataset(str(folder))
    assert data.name == f"own {name}"


@pytest.mark.parametrize("content", [b"\xff\xfe", b"", b"a\na\n"])
def test_class_names_that_are_none_are_refused(idx_folder, content):
    (idx_folder / "classes.txt").write_bytes(content)
    with pytest.raises(DataError, match=r"classes\.txt"):
        load_dataset(str(idx_folder))


@pytest.mark.parametrize("size", [-5, 0, 7, 100_000])
def test_image_sizes_have_limits(size, tmp_path):
    with pytest.raises(UsageError, match=f"image_size = {size}"):
        load_dataset(str(tmp_path), image_size=size)


def test_sizes_that_idx_files_have_need_not_be_those_that_images_are_brought_to(tmp_path):
    for part, n in (("train", 6), ("t10k", 2)):
        write_idx(tmp_path / f"{part}-images-idx3-ubyte", np.zeros((n, 6, 6), np.uint8))
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte", np.arange(n, dtype=np.uint8) % 2)
    assert load_dataset(str(tmp_path), image_size=6).train.images.shape == (6, 6, 6)


def test_no_such_folder():
    with pytest.raises(UsageError, match="no such folder"):
        load_dataset("nowhere")


def test_empty_folder(tmp_path):
    with pytest.raises(DataError, match="neither IDX files"):
        load_dataset(str(tmp_path))


def test_offline_without_data_offers_sketches():
    with pytest.raises(DataError, match=r"--offline is set.*--data sketches"):
        load_dataset(None, offline=True)


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """A mirror on this machine, with files of our own in the official files' place."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    files = []
    for official in sources.OFFICIAL:
        dimensions = 3 if "images" in official.name else 1
        path = folder / f"{official.name}.gz"
        write_idx(path, np.ones((2, 28, 28)[:dimensions], np.uint8))
        content = path.read_bytes()
        files.append(
            OfficialFile(official.name, len(content), hashlib.sha256(content).hexdigest(), "")
        )
    monkeypatch.setattr(sources, "OFFICIAL", tuple(files))
    handler = functools.partial(QuietHandler, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()
    thread.join()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


DEAD = "http://127.0.0.1:9/"


def test_download_falls_back_to_the_next_mirror(mirror):
    _, address = mirror
    said = []
    folder = fetch_fashion_mnist(mirrors=(DEAD, address), notify=said.append)
    assert sorted(p.name for p in folder.iterdir()) == sorted(
        f"{f.name}.gz" for f in sources.OFFICIAL
    )
    assert len(said) == 8  # each file asked of both
    assert load_dataset(None, offline=True).name == "fashion-mnist"


def test_download_with_a_bar(mirror, capsys):
    _, address = mirror
    fetch_fashion_mnist(mirrors=(address,), progress=True)
    assert "bytes" in capsys.readouterr().err


def test_wrong_download_is_never_used_and_leaves_nothing(mirror):
    folder, address = mirror
    (folder / "train-labels-idx1-ubyte.gz").write_bytes(b"<html>login</html>")
    with pytest.raises(DataError, match=r"train-labels.*could not be downloaded.*--data sketches"):
        fetch_fashion_mnist(mirrors=(address,))
    kept = (cache_folder() / "fashion-mnist").iterdir()
    assert [p.name for p in kept] == ["train-images-idx3-ubyte.gz"]


def test_no_network_ends_in_one_line():
    with pytest.raises(DataError, match="--data sketches") as caught:
        fetch_fashion_mnist(mirrors=(DEAD,))
    assert "\n" not in str(caught.value)


def test_refresh_mends_a_damaged_cache(mirror):
    _, address = mirror
    folder = fetch_fashion_mnist(mirrors=(address,))
    broken = folder / "t10k-images-idx3-ubyte.gz"
    broken.write_bytes(b"broken")
    with pytest.raises(DataError, match="not the official file"):
        load_dataset(None)
    fetch_fashion_mnist(mirrors=(address,), refresh=True)
    assert load_dataset(None).name == "fashion-mnist"


def test_hidden_files_and_copies_do_not_stand_for_the_data(idx_folder):
    for path in list(idx_folder.iterdir()):
        path.with_name(f"._{path.name}").write_bytes(b"of a Mac")
        path.with_name(f"backup-{path.name}").write_bytes(b"a copy")
    assert all(
        path.name.startswith(("train-", "t10k-")) for path in find_idx_files(idx_folder).values()
    )
    assert len(load_dataset(str(idx_folder)).train) == 300


def test_a_home_that_nobody_has_is_told():
    with pytest.raises(UsageError, match=r"data = ~nobody-here/x: there is no such home"):
        load_dataset("~nobody-here/x")
