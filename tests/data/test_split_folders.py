import shutil

import numpy as np
import pytest
from PIL import Image

from fashioncnn.data.load import load_dataset
from fashioncnn.data.split_folders import split_role
from fashioncnn.errors import DataError


def fill(folder, classes=("ant", "bee"), n=3):
    """Write `n` images into a folder per class."""
    for level, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for i in range(n):
            Image.new("L", (20, 10), 10 + 40 * level + i).save(folder / name / f"{i}.png")


def load(folder, **options):
    """Return the dataset and the messages."""
    messages = []
    return load_dataset(str(folder), notify=messages.append, **options), messages


@pytest.mark.parametrize(
    ("role", "names"),
    [
        ("train", ["train", "Train", "TRAIN", "training", "training_set", "train-set", "trainset"]),
        ("train", ["TrainSet", "trainData", "seg_train", "train_images", "01 train", "train2017"]),
        ("validation", ["val", "Val", "valid", "validation", "dev", "validation_set", "devset"]),
        ("test", ["test", "testing", "test_set", "Test-Images", "eval", "evaluation", "seg_test"]),
        (
            None,
            ["trainers", "toy_bus", "testament", "valley", "train_test", "ant", "", "develop-1x"],
        ),
    ],
)
def test_names_of_splits_are_recognized(role, names):
    assert [split_role(name) for name in names] == [role] * len(names)


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (("training_set", "test_set"), ["train", "test"]),
        (("Train", "Test"), ["train", "test"]),
        (("training", "testing"), ["train", "test"]),
        (("train", "val"), ["train", "validation"]),
        (("train", "valid", "test"), ["train", "validation", "test"]),
        (("TRAIN", "validation"), ["train", "validation"]),
        (("val", "test"), ["validation", "test"]),
        (("test",), ["test"]),
        (("train",), ["train"]),
    ],
)
def test_splits_are_read_under_their_usual_names(tmp_path, names, splits):
    for i, name in enumerate(names):
        fill(tmp_path / name, n=2 + i)
    data, messages = load(tmp_path)
    assert list(data.splits) == splits
    assert [len(split) for split in data.splits.values()] == [4 + 2 * i for i in range(len(names))]
    assert data.class_names == ("ant", "bee")
    assert messages == []


def test_train_can_be_a_class(tmp_path):
    fill(tmp_path, ["car", "plane", "train"], n=6)
    data, messages = load(tmp_path)
    assert data.class_names == ("car", "plane", "train")
    assert (len(data.train), len(data.test)) == (15, 3)
    assert messages == []


def test_train_with_subfolders_can_be_a_class(tmp_path):
    fill(tmp_path, ["car", "plane"])
    fill(tmp_path / "train", ["red", "blue"])
    data, messages = load(tmp_path)
    assert data.class_names == ("car", "plane", "train")
    assert messages == [f"{tmp_path}: read as classes, not as splits: train"]


def test_folders_named_as_splits_without_folders_are_classes(tmp_path):
    fill(tmp_path, ["train", "test"])
    data, messages = load(tmp_path)
    assert data.class_names == ("test", "train")
    assert messages == [f"{tmp_path}: read as classes, not as splits: test, train"]


@pytest.mark.parametrize("names", [("train", "Training"), ("train", "test", "test_set")])
def test_two_folders_of_the_same_split_are_rejected(tmp_path, names):
    for name in names:
        fill(tmp_path / name)
    with pytest.raises(DataError, match=r"are both the (train|test) split; keep one of them"):
        load(tmp_path)


def test_split_without_class_folders_beside_one_with_them_is_rejected(tmp_path):
    fill(tmp_path / "train")
    fill(tmp_path, ["test"])
    with pytest.raises(DataError, match=r"test: no class folders; add .*/test/ant, or remove it"):
        load(tmp_path)


def test_split_beside_class_folders_is_rejected(tmp_path):
    fill(tmp_path)
    fill(tmp_path / "test")
    with pytest.raises(DataError, match="test: a test split beside class folders; move the class"):
        load(tmp_path)


@pytest.mark.parametrize("beside", ["seg_pred", "unlabeled", "images"])
def test_other_folder_beside_splits_is_rejected(tmp_path, beside):
    """The splits are not two classes."""
    fill(tmp_path / "seg_train")
    fill(tmp_path / "seg_test")
    fill(tmp_path, [beside])
    message = rf"{beside}: beside the splits seg_test and seg_train; move it elsewhere, or rename"
    with pytest.raises(DataError, match=message):
        load(tmp_path)


@pytest.mark.parametrize("name", ["val", "test"])
def test_class_that_the_training_split_lacks_is_rejected(tmp_path, name):
    fill(tmp_path / "train")
    fill(tmp_path / name, ["ant", "cow"])
    with pytest.raises(DataError, match="cow: class is not in the training split; add training"):
        load(tmp_path)


def test_other_splits_may_lack_classes(tmp_path):
    fill(tmp_path / "train", [str(i) for i in range(12)], n=1)
    fill(tmp_path / "test", ["2", "10"], n=1)
    fill(tmp_path / "val", ["11"], n=2)
    data, _ = load(tmp_path)
    assert data.class_names == tuple(str(i) for i in range(12))
    assert data.test.labels.tolist() == [2, 10]
    assert data.validation.labels.tolist() == [11, 11]


def test_all_images_are_evaluated_without_named_splits(tmp_path):
    fill(tmp_path, n=15)
    data, _ = load(tmp_path, for_evaluation=True)
    assert list(data.splits) == ["test"]
    assert np.bincount(data.test.labels).tolist() == [15, 15]


def test_a_single_class_can_be_evaluated_but_not_trained_on(tmp_path):
    fill(tmp_path, ["ant"])
    assert load(tmp_path, for_evaluation=True)[0].class_names == ("ant",)
    with pytest.raises(DataError, match="1 class folders, expected 2 to 256"):
        load(tmp_path)


def test_dataset_that_was_unpacked_one_folder_deeper_is_suggested(tmp_path):
    fill(tmp_path / "dataset" / "train")
    with pytest.raises(DataError, match=r"1 class folders, .*did you mean .*/dataset\?"):
        load(tmp_path)


def test_order_of_the_classes_of_a_model_is_kept(tmp_path):
    fill(tmp_path, ["2", "10"])
    assert load(tmp_path)[0].class_names == ("2", "10")
    ordered, _ = load(tmp_path, class_names=("10", "2"))
    assert ordered.class_names == ("10", "2")
    assert load(tmp_path, class_names=("10", "2", "3"))[0].class_names == ("2", "10")


def test_skipped_files_are_reported(tmp_path):
    fill(tmp_path / "train")
    (tmp_path / "README.md").write_text("x")
    shutil.copy(tmp_path / "train" / "ant" / "0.png", tmp_path / "train" / "loose.png")
    for i in range(4):
        (tmp_path / "train" / "bee" / f"notes{i}.txt").write_text("x")
    data, messages = load(tmp_path)
    assert len(data.train) == 6
    assert messages == [
        f"skipped 2 files outside the class folders: {tmp_path}/README.md, "
        f"{tmp_path}/train/loose.png",
        f"skipped 4 files that are not images: {tmp_path}/train/bee/notes0.txt, "
        f"{tmp_path}/train/bee/notes1.txt, {tmp_path}/train/bee/notes2.txt, …",
    ]


def test_images_without_class_folders_are_rejected(tmp_path):
    fill(tmp_path, ["ant"])
    with pytest.raises(DataError, match="ant: 3 images, but no subfolder of images per class"):
        load_dataset(str(tmp_path / "ant"), notify=lambda _: None)
