import hashlib
import shutil

import numpy as np
import pytest

from fashioncnn.data import dataset, download
from fashioncnn.data.download import OfficialFile
from fashioncnn.data.idx_folders import find_idx_files, find_idx_folder, read_idx_folder
from fashioncnn.data.load import load_dataset
from fashioncnn.errors import DataError

from ..idx import write_idx


def test_unofficial_files_are_a_dataset_named_after_the_folder(idx_folder, small):
    data = read_idx_folder(idx_folder)
    assert data.name == "own"
    assert data.views == "plain"
    assert data.class_names == tuple("0123456789")
    assert data.hashes == small.hashes


def test_classes_file_defines_the_class_names(idx_folder):
    (idx_folder / "classes.txt").write_text("\n".join("abcdefghijkl"))
    assert read_idx_folder(idx_folder).class_names == tuple("abcdefghijkl")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfe", "cannot be read as UTF-8"),
        (b"", "0 names"),
        (b"a\na\n", "2 names, 1 of them unique"),
    ],
)
def test_malformed_classes_file_is_rejected(idx_folder, content, message):
    (idx_folder / "classes.txt").write_bytes(content)
    with pytest.raises(DataError, match=rf"classes\.txt: {message}"):
        read_idx_folder(idx_folder)


def test_files_named_test_are_the_test_split(idx_folder):
    for kind in ("images-idx3", "labels-idx1"):
        (idx_folder / f"t10k-{kind}-ubyte").rename(idx_folder / f"test-{kind}-ubyte")
    assert set(find_idx_files(idx_folder)) == {
        "train-images",
        "train-labels",
        "t10k-images",
        "t10k-labels",
    }


def test_hidden_files_and_copies_have_no_precedence(idx_folder):
    original = find_idx_files(idx_folder)
    for path in list(idx_folder.iterdir()):
        path.with_name(f"._{path.name}").write_bytes(b"macOS metadata")
        path.with_name(f"backup-{path.name}").write_bytes(b"a copy")
        path.with_name(f"{path.name}.gz").write_bytes(b"gzipped")
    assert find_idx_files(idx_folder) == original


def test_label_out_of_range_is_rejected(idx_folder, small):
    labels = small.train.labels.copy()
    labels[7] = 10
    write_idx(idx_folder / "train-labels-idx1-ubyte", labels)
    with pytest.raises(DataError, match=r"train-labels-idx1-ubyte: label 10 at position 7"):
        read_idx_folder(idx_folder)


def test_different_numbers_of_images_and_labels_are_rejected(idx_folder, small):
    write_idx(idx_folder / "t10k-labels-idx1-ubyte", small.test.labels[:-1])
    with pytest.raises(DataError, match="100 images but 99 labels"):
        read_idx_folder(idx_folder)


def test_missing_file_is_named(idx_folder):
    (idx_folder / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match="own: missing t10k-labels-idx1-ubyte; add"):
        read_idx_folder(idx_folder)


def test_folder_without_test_files_has_no_test_split(idx_folder):
    for kind in ("images-idx3", "labels-idx1"):
        (idx_folder / f"t10k-{kind}-ubyte").unlink()
    assert read_idx_folder(idx_folder).test is None


def test_images_that_are_not_square_are_rejected(idx_folder, small):
    write_idx(idx_folder / "train-images-idx3-ubyte", small.train.images[:, :20])
    with pytest.raises(DataError, match="images of 20×28 pixels; only square"):
        read_idx_folder(idx_folder)


def test_different_sizes_of_training_and_test_images_are_rejected(idx_folder, small):
    write_idx(idx_folder / "t10k-images-idx3-ubyte", small.test.images[:, :20, :20])
    with pytest.raises(DataError, match="training images are 28×28 but test images 20×20"):
        read_idx_folder(idx_folder)


@pytest.fixture
def official_folder(idx_folder, small, monkeypatch):
    """A folder whose files count as the official ones."""
    monkeypatch.setattr(dataset, "OFFICIAL_SPLITS", small.hashes)
    files = [
        OfficialFile(path.name, 0, "", hashlib.sha256(path.read_bytes()).hexdigest())
        for path in idx_folder.iterdir()
    ]
    monkeypatch.setattr(download, "OFFICIAL_FILES", tuple(files))
    return idx_folder


def test_official_files_are_fashion_mnist(official_folder):
    data = read_idx_folder(official_folder)
    assert data.name == "fashion-mnist"
    assert data.views == "fashion"
    assert data.class_names[0] == "T-shirt/top"


def test_official_test_split_is_kept_beside_other_training_images(official_folder, small):
    messages = []
    write_idx(official_folder / "train-images-idx3-ubyte", 255 - small.train.images)
    data = read_idx_folder(official_folder, notify=messages.append)
    assert (data.name, data.name_of("test"), data.views) == ("own", "fashion-mnist", "fashion")
    assert data.class_names[0] == "T-shirt/top"
    assert messages == [
        f"{official_folder}: not the official Fashion-MNIST files: train-images-idx3-ubyte; loaded "
        "as 'own' with the official test split"
    ]


def test_corrupted_test_images_with_official_labels_have_the_official_classes(
    official_folder, small
):
    messages = []
    write_idx(official_folder / "t10k-images-idx3-ubyte", 255 - small.test.images)
    data = read_idx_folder(official_folder, notify=messages.append)
    assert (data.name, data.name_of("test")) == ("own", "own")
    assert data.class_names[0] == "T-shirt/top"
    assert messages[0].endswith("t10k-images-idx3-ubyte; loaded as 'own'")
    for kind in ("images-idx3", "labels-idx1"):
        (official_folder / f"train-{kind}-ubyte").unlink()
    alone = read_idx_folder(official_folder, notify=messages.append)
    assert list(alone.splits) == ["test"]
    assert alone.test.sha256 == data.test.sha256


def test_layout_of_torchvision_is_found(idx_folder, small, tmp_path):
    raw = tmp_path / "root" / "FashionMNIST" / "raw"
    raw.parent.mkdir(parents=True)
    idx_folder.rename(raw)
    for folder in (tmp_path / "root", raw.parent, raw):
        assert find_idx_folder(folder) == raw
    data = load_dataset(str(tmp_path / "root"))
    assert data.hashes == small.hashes
    assert data.name == "FashionMNIST"


def test_several_datasets_of_torchvision_are_not_confused(idx_folder, tmp_path):
    for name in ("MNIST", "FashionMNIST"):
        shutil.copytree(idx_folder, tmp_path / "root" / name / "raw")
    with pytest.raises(DataError, match=r"several datasets \(FashionMNIST, MNIST\); name one"):
        load_dataset(str(tmp_path / "root"))
    assert load_dataset(str(tmp_path / "root" / "MNIST")).name == "MNIST"


def test_web_page_among_official_files_is_reported_as_such(official_folder):
    (official_folder / "t10k-images-idx3-ubyte").write_bytes(b"<html>login</html>")
    with pytest.raises(DataError, match=r"t10k-images-idx3-ubyte: a web page"):
        read_idx_folder(official_folder)


def test_training_files_under_the_names_of_test_files_are_rejected(official_folder):
    for kind in ("images-idx3", "labels-idx1"):
        content = (official_folder / f"train-{kind}-ubyte").read_bytes()
        (official_folder / f"t10k-{kind}-ubyte").write_bytes(content)
    with pytest.raises(DataError, match="training and test files have the same content"):
        read_idx_folder(official_folder)


def test_unofficial_files_are_rejected_where_official_ones_are_required(tmp_path):
    write_idx(tmp_path / "train-images-idx3-ubyte", np.zeros((1, 4, 4), np.uint8))
    write_idx(tmp_path / "train-labels-idx1-ubyte", np.zeros(1, np.uint8))
    with pytest.raises(DataError, match="not the official file"):
        read_idx_folder(tmp_path, must_be_official=True)


@pytest.mark.parametrize("word", ["val", "valid", "validation"])
def test_validation_files_are_the_validation_split(idx_folder, small, word):
    write_idx(idx_folder / f"{word}-images-idx3-ubyte", small.train.images[:30])
    write_idx(idx_folder / f"{word}-labels-idx1-ubyte", small.train.labels[:30])
    data = load_dataset(str(idx_folder))
    assert {name: len(split) for name, split in data.splits.items()} == {
        "train": 300,
        "validation": 30,
        "test": 100,
    }
    np.testing.assert_array_equal(data.validation.images, small.train.images[:30])
    (idx_folder / f"{word}-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match="missing validation-labels-idx1-ubyte"):
        load_dataset(str(idx_folder))


def test_several_datasets_in_one_folder_are_not_confused(idx_folder):
    """As in the archive of EMNIST."""
    for path in list(idx_folder.iterdir()):
        for name in ("digits", "letters"):
            shutil.copy(path, idx_folder / f"emnist-{name}-{path.name}")
    assert len(load_dataset(str(idx_folder)).train) == 300  # names without a prefix come first
    for path in idx_folder.glob("t*"):
        path.unlink()
    with pytest.raises(
        DataError, match=r"several datasets \(emnist-digits, emnist-letters\); move"
    ):
        load_dataset(str(idx_folder))
    for path in idx_folder.glob("emnist-letters-*"):
        path.unlink()
    assert len(load_dataset(str(idx_folder)).train) == 300


def test_images_of_the_model_are_used_whatever_its_views(idx_folder, small):
    data = load_dataset(str(idx_folder), views="photo")
    assert data.views == "photo"
    np.testing.assert_array_equal(data.train.images, small.train.images)
