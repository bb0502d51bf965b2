import numpy as np
import pytest
from PIL import Image

from fashioncnn.data import image_files
from fashioncnn.data.image_files import UnreadableImagesError
from fashioncnn.data.load import load_data, load_dataset
from fashioncnn.errors import DataError


def fill(folder, classes, n=6):
    """Write `n` images into a folder per class."""
    for level, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for i in range(n):
            Image.new("L", (20, 10), 10 + 40 * level + i).save(folder / name / f"{i}.png")


def test_folders_without_train_hold_out_a_sixth_as_test_split(tmp_path):
    fill(tmp_path, ["cat", "ant", "bee"])
    data = load_dataset(str(tmp_path), image_size=16)
    assert data.class_names == ("ant", "bee", "cat")
    assert data.train.images.shape == (15, 16, 16)
    assert np.bincount(data.test.labels).tolist() == [1, 1, 1]
    assert load_dataset(str(tmp_path), image_size=16).hashes == data.hashes


def test_indices_count_the_images_of_each_split(tmp_path):
    fill(tmp_path, ["ant", "bee"])
    data = load_dataset(str(tmp_path), image_size=16)
    assert data.train.indices.tolist() == list(range(10))
    assert data.test.indices.tolist() == [0, 1]


def test_test_folder_uses_the_labels_of_the_training_classes(tmp_path):
    fill(tmp_path / "train", ["ant", "bee", "cat"])
    fill(tmp_path / "test", ["cat"], n=2)
    assert load_dataset(str(tmp_path), image_size=28).test.labels.tolist() == [2, 2]


def test_train_folder_without_test_folder_has_no_test_split(tmp_path):
    fill(tmp_path / "train", ["ant", "bee"])
    assert load_dataset(str(tmp_path), image_size=28).test is None


def test_hidden_files_and_folders_are_ignored(tmp_path):
    fill(tmp_path, ["ant", "bee"])
    (tmp_path / "ant" / ".notes.txt").write_text("x")
    (tmp_path / ".git").mkdir()
    (tmp_path / "__MACOSX").mkdir()
    assert len(load_dataset(str(tmp_path)).train) == 10


def test_class_folder_without_images_is_rejected(tmp_path):
    fill(tmp_path, ["ant", "bee"])
    (tmp_path / "cow").mkdir()
    with pytest.raises(DataError, match="cow: no images; add some, or remove the folder"):
        load_dataset(str(tmp_path), image_size=28)


def test_test_folder_without_class_folders_is_rejected(tmp_path):
    fill(tmp_path / "train", ["ant", "bee"])
    (tmp_path / "test").mkdir()
    with pytest.raises(DataError, match=r"test: no class folders; add .*test/ant"):
        load_dataset(str(tmp_path), image_size=28)


@pytest.mark.parametrize(
    "name", ["new\nline", "esc\x1b[31m", b"\xff\xfe".decode("utf-8", "surrogateescape")]
)
def test_unprintable_class_name_is_rejected(tmp_path, name):
    fill(tmp_path, ["ant", "bee", name])
    with pytest.raises(DataError, match="unprintable characters; rename the folder") as caught:
        load_dataset(str(tmp_path), image_size=28)
    assert str(caught.value).isprintable()


def test_file_that_is_not_an_image_is_rejected_by_name(tmp_path):
    fill(tmp_path, ["ant", "bee"])
    (tmp_path / "bee" / "bad.jpg").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"bad\.jpg: not a JPEG"):
        load_dataset(str(tmp_path), image_size=28)


def test_class_that_is_only_in_the_test_split_is_rejected(tmp_path):
    fill(tmp_path / "train", ["ant", "bee"])
    fill(tmp_path / "test", ["dog"])
    with pytest.raises(DataError, match="dog: class is not in the training split"):
        load_dataset(str(tmp_path), image_size=28)


@pytest.mark.parametrize(
    ("classes", "message"), [([], "neither IDX files"), (["ant"], "1 class folders, expected 2")]
)
def test_fewer_than_two_classes_are_rejected(tmp_path, classes, message):
    fill(tmp_path, classes)
    with pytest.raises(DataError, match=message):
        load_dataset(str(tmp_path), image_size=28)


def test_pixel_limit_admits_photographs_of_phones(tmp_path, monkeypatch):
    assert image_files.MAX_PIXELS > 8160 * 6144  # 50 megapixels
    fill(tmp_path, ["ant", "bee"])
    monkeypatch.setattr(image_files, "MAX_PIXELS", 199)
    with pytest.raises(DataError, match=r"20×10 pixels, over the limit of 0\.000199 megapixels"):
        load_dataset(str(tmp_path), image_size=28)


def break_files(folder, names):
    for name in names:
        (folder / name).write_bytes(b"no image")


def test_all_unreadable_files_of_all_splits_are_listed_at_once(tmp_path):
    fill(tmp_path / "train", ["ant", "bee"])
    fill(tmp_path / "test", ["bee"])
    broken = ["train/ant/1.png", "train/bee/5.png", "test/bee/0.png"]
    break_files(tmp_path, broken)
    with pytest.raises(UnreadableImagesError) as caught:
        load_dataset(str(tmp_path))
    assert caught.value.count == 3
    assert all(any(name in line for line in caught.value.listed) for name in broken)
    assert str(caught.value).startswith("3 image files cannot be read; repair or remove them, or")
    assert "\n" not in str(caught.value)


def test_broken_files_can_be_skipped(tmp_path):
    fill(tmp_path / "train", ["ant", "bee"])
    fill(tmp_path / "val", ["ant", "bee"], n=2)
    expected = load_dataset(str(tmp_path))
    break_files(tmp_path, ["train/ant/0.png", "val/bee/1.png"])
    messages = []
    data = load_dataset(str(tmp_path), skip_broken=True, notify=messages.append)
    np.testing.assert_array_equal(data.train.images, expected.train.images[1:])
    np.testing.assert_array_equal(data.train.labels, expected.train.labels[1:])
    np.testing.assert_array_equal(data.validation.images, expected.validation.images[:3])
    np.testing.assert_array_equal(data.validation.labels, expected.validation.labels[:3])
    assert [message.split(":")[0] for message in messages] == [
        f"skipped {tmp_path}/train/ant/0.png",
        f"skipped {tmp_path}/val/bee/1.png",
    ]


def test_long_list_of_unreadable_files_is_cut(tmp_path):
    fill(tmp_path, ["ant", "bee"], n=13)
    break_files(tmp_path, [f"{name}/{i}.png" for name in ("ant", "bee") for i in range(12)])
    with pytest.raises(UnreadableImagesError) as caught:
        load_dataset(str(tmp_path))
    assert len(caught.value.listed) == 21
    assert caught.value.listed[-1] == "and 4 more"


def test_class_without_a_readable_image_is_rejected(tmp_path):
    fill(tmp_path, ["ant", "bee"], n=2)
    break_files(tmp_path / "bee", ["0.png", "1.png"])
    with pytest.raises(DataError, match="bee: no readable images; add some, or remove the folder"):
        load_dataset(str(tmp_path), skip_broken=True, notify=lambda _: None)


def test_skipped_files_are_python_warnings_by_default(tmp_path):
    fill(tmp_path, ["ant", "bee"])
    break_files(tmp_path / "bee", ["0.png"])
    with pytest.warns(UserWarning, match=r"skipped .*bee/0\.png: not a"):
        load_data(tmp_path, skip_broken=True)


def test_images_have_the_names_of_their_files(tmp_path):
    fill(tmp_path / "train", ["ant", "bee"], n=2)
    fill(tmp_path / "test", ["bee"], n=2)
    (tmp_path / "train" / "ant" / "0.png").write_bytes(b"broken")
    data = load_dataset(str(tmp_path), image_size=16, skip_broken=True, notify=lambda _: None)
    assert data.train.names == ("ant/1.png", "bee/0.png", "bee/1.png")
    assert data.test.names == ("bee/0.png", "bee/1.png")
    assert data.train.subset(np.array([2, 0])).names == ("bee/1.png", "ant/1.png")


def test_held_out_images_keep_their_names(tmp_path):
    fill(tmp_path, ["ant", "bee"])
    data = load_dataset(str(tmp_path), image_size=16)
    names = [*data.train.names, *data.test.names]
    assert sorted(names) == sorted(f"{c}/{i}.png" for c in ("ant", "bee") for i in range(6))
    first = load_dataset(str(tmp_path), image_size=16, for_evaluation=True).test
    for split in (data.train, data.test):
        for name, image in zip(split.names, split.images, strict=True):
            assert (image == first.images[first.names.index(name)]).all()
