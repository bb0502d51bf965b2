"""Datasets of CSV files, NumPy archives, frames and datasets of other libraries."""

import zipfile
from io import BytesIO

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from fashioncnn.data.load import load_data, load_dataset
from fashioncnn.data.pixels import to_images
from fashioncnn.errors import DataError, ImageError, UsageError
from fashioncnn.images.views import photo_views

rng = np.random.default_rng(0)
IMAGES = rng.integers(0, 256, (60, 28, 28), np.uint8)
LABELS = np.arange(60) % 10
PIXELS = [f"pixel{i}" for i in range(1, 785)]
ROWS = IMAGES.reshape(60, 784)


class Frame:
    """A data frame with the interface that pandas and polars share."""

    def __init__(self, columns):
        self.data = columns
        self.columns = list(columns)

    def __getitem__(self, key):
        return self.data[key] if isinstance(key, str) else Frame({k: self.data[k] for k in key})

    def to_numpy(self):
        return np.column_stack(list(self.data.values()))


class Column(np.ndarray):
    def to_numpy(self):
        return np.asarray(self)


def frame_of(**columns):
    return Frame({name: np.asarray(values).view(Column) for name, values in columns.items()})


def write_csv(path, header, rows, delimiter=","):
    lines = [delimiter.join(map(str, row)) for row in (header, *rows)]
    path.write_text("\n".join(lines) + "\n")
    return path


def kaggle(path, n=60, **options):
    rows = [[LABELS[i], *ROWS[i]] for i in range(n)]
    return write_csv(path, ["label", *PIXELS], rows, **options)


def all_of(data):
    """Return the images and labels of the training and test splits, in the original order."""
    return np.concatenate([data.train.images, data.test.images if data.test else IMAGES[:0]])


class TestCSV:
    def test_kaggle_has_the_label_first(self, tmp_path):
        data = load_dataset(str(kaggle(tmp_path / "fashion-mnist_train.csv")))
        assert data.class_names == tuple("0123456789")
        assert (data.name, len(data.train), len(data.test)) == ("fashion-mnist_train", 50, 10)
        whole = load_dataset(str(tmp_path / "fashion-mnist_train.csv"), for_evaluation=True)
        np.testing.assert_array_equal(whole.test.images, IMAGES)
        np.testing.assert_array_equal(whole.test.labels, LABELS)

    def test_openml_has_the_class_last(self, tmp_path):
        rows = [[*ROWS[i], f"'{LABELS[i]}'"] for i in range(60)]
        path = write_csv(tmp_path / "a.csv", [*PIXELS, "class"], rows)
        data = load_dataset(str(path), for_evaluation=True)
        np.testing.assert_array_equal(data.test.images, IMAGES)
        np.testing.assert_array_equal(data.test.labels, LABELS)

    def test_label_may_be_between_pixels(self, tmp_path):
        rows = [[*ROWS[i, :300], LABELS[i], *ROWS[i, 300:]] for i in range(60)]
        path = write_csv(tmp_path / "a.csv", [*PIXELS[:300], "class", *PIXELS[300:]], rows)
        data = load_dataset(str(path), for_evaluation=True)
        np.testing.assert_array_equal(data.test.images, IMAGES)
        np.testing.assert_array_equal(data.test.labels, LABELS)

    def test_fractions_of_white_are_not_truncated(self, tmp_path):
        rows = [[LABELS[i], *([0] * 784 if i == 0 else ROWS[i] / 255)] for i in range(60)]
        path = write_csv(tmp_path / "a.csv", ["label", *PIXELS], rows)
        data = load_dataset(str(path), for_evaluation=True)
        np.testing.assert_array_equal(data.test.images[1:], IMAGES[1:])

    @pytest.mark.parametrize("delimiter", [";", "\t"])
    def test_other_delimiters_are_recognized(self, tmp_path, delimiter):
        data = load_dataset(str(kaggle(tmp_path / "a.csv", delimiter=delimiter)))
        assert len(data.train) == 50

    def test_quoted_cells_are_read(self, tmp_path):
        rows = [
            [f'"{["bag, small", "shoe"][i % 2]}"', *(f'"{v}"' for v in ROWS[i])] for i in range(4)
        ]
        path = write_csv(tmp_path / "a.csv", [f'"{name}"' for name in ["label", *PIXELS]], rows)
        data = load_dataset(str(path), for_evaluation=True)
        np.testing.assert_array_equal(data.test.images, IMAGES[:4])
        assert data.class_names == ("bag, small", "shoe")
        assert data.test.labels.tolist() == [0, 1, 0, 1]

    def test_names_of_paths_and_labels_may_contain_the_delimiter_in_quotes(self, tmp_path):
        for i in range(2):
            Image.fromarray(IMAGES[i]).save(tmp_path / f"a,{i}.png")
        rows = [[f'"a,{i}.png"', f'"{["bag, small", "shoe"][i]}"'] for i in range(2)]
        path = write_csv(tmp_path / "a.csv", ["file_path", "label"], rows)
        data = load_dataset(str(path), for_evaluation=True)
        np.testing.assert_array_equal(data.test.images, IMAGES[:2])
        assert data.class_names == ("bag, small", "shoe")

    @pytest.mark.parametrize("form", ["{}.0", "{}.", "+{}"])
    def test_integers_as_pandas_writes_them_beside_missing_ones_are_integers(self, tmp_path, form):
        rows = [[form.format(LABELS[i]), *ROWS[i]] for i in range(60)]
        path = write_csv(tmp_path / "a.csv", ["label", *PIXELS], rows)
        assert load_dataset(str(path)).class_names == tuple("0123456789")

    def test_rows_and_columns_may_be_in_the_names(self, tmp_path):
        header = ["label", *(f"{r}x{c}" for r in range(1, 29) for c in range(1, 29))]
        path = write_csv(tmp_path / "a.csv", header, [[LABELS[i], *ROWS[i]] for i in range(60)])
        data = load_dataset(str(path), for_evaluation=True)
        np.testing.assert_array_equal(data.test.images, IMAGES)

    def test_byte_order_mark_and_windows_line_ends_are_accepted(self, tmp_path):
        text = kaggle(tmp_path / "a.csv").read_text()
        (tmp_path / "b.csv").write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
        assert load_dataset(str(tmp_path / "b.csv")).hashes == (
            load_dataset(str(tmp_path / "a.csv")).hashes
        )

    def test_folder_has_a_file_for_each_split(self, tmp_path):
        kaggle(tmp_path / "fashion-mnist_train.csv")
        kaggle(tmp_path / "fashion-mnist_test.csv", n=20)
        data = load_dataset(str(tmp_path))
        np.testing.assert_array_equal(data.train.images, IMAGES)
        np.testing.assert_array_equal(data.test.images, IMAGES[:20])

    def test_files_that_are_not_splits_are_not_guessed(self, tmp_path):
        kaggle(tmp_path / "a.csv")
        kaggle(tmp_path / "b.csv")
        with pytest.raises(DataError, match="2 CSV files that are not one for each split; name"):
            load_dataset(str(tmp_path))

    def test_paths_are_relative_to_the_file(self, tmp_path):
        (tmp_path / "img").mkdir()
        for i in range(12):
            Image.fromarray(IMAGES[i]).save(tmp_path / "img" / f"{i}.png")
        rows = [[f"img/{i}.png", ["bag", "shoe"][i % 2]] for i in range(12)]
        path = write_csv(tmp_path / "a.csv", ["path", "label"], rows)
        data = load_dataset(str(path), for_evaluation=True)
        np.testing.assert_array_equal(data.test.images, IMAGES[:12])
        assert data.class_names == ("bag", "shoe")
        assert data.test.labels.tolist() == [0, 1] * 6

    def test_columns_without_effect_are_reported(self, tmp_path):
        for i in range(2):
            Image.fromarray(IMAGES[i]).save(tmp_path / f"{i}.png")
        rows = [[f"{i}.png", i, 5] for i in range(2)]
        path = write_csv(tmp_path / "a.csv", ["path", "label", "price"], rows)
        messages = []
        load_dataset(str(path), notify=messages.append)
        assert messages == [f"{path}: columns without effect: price"]

    def test_broken_images_are_skipped_with_their_labels(self, tmp_path):
        for i in range(4):
            Image.fromarray(IMAGES[i]).save(tmp_path / f"{i}.png")
        (tmp_path / "1.png").write_bytes(b"broken")
        rows = [[str(i) + ".png", "ab"[i % 2]] for i in range(4)] + [["gone.png", "b"]]
        path = write_csv(tmp_path / "a.csv", ["filename", "class"], rows)
        with pytest.raises(DataError, match=r"2 image files .*1\.png.*gone\.png: no such file"):
            load_dataset(str(path))
        options = {"for_evaluation": True, "skip_broken": True, "notify": lambda _: None}
        data = load_dataset(str(path), **options)
        np.testing.assert_array_equal(data.test.images, IMAGES[[0, 2, 3]])
        assert data.test.labels.tolist() == [0, 0, 1]

    @pytest.mark.parametrize(
        ("header", "rows", "message"),
        [
            (["5", *["0"] * 784], [], "no column named label, .*name the column of labels 'label'"),
            (["label", "a"], [], "column 'a' is neither a label, a path nor a pixel; remove it"),
            (
                ["image_id", "label"],
                [],
                "or call it 'path' if it has paths of image files",
            ),
            (["|".join(["label", *PIXELS])], [], "label.pixel.*… ….; .* by commas, semicolons or"),
            (["id", "label", *PIXELS], [], "column 'id' is neither a label, a path nor a pixel"),
            (["label", *PIXELS[:700]], [], "700 columns of pixels, which is no square image"),
            (["label", "class", *PIXELS], [], "columns label and class mean the same; keep one"),
            (["label", *PIXELS], [[1, *[0] * 783]], "line 2 has 784 columns, expected 785"),
            (["label", *PIXELS], [[1, *["x"] * 784]], "a pixel is not a number"),
            (["label", *PIXELS], [[1, *[300] * 784], [0, *[1] * 784]], "in .1, 300.: should be"),
            (["label", *PIXELS], [["", *[9] * 784]], "line 2 has no label"),
            (["path", "label"], [], "no rows below the first line"),
            (["label", *PIXELS], [], "no rows below the first line"),
            (["path", "label", "split"], [["a", 1, "test"]], "column 'split' is not supported"),
            (["path", "label"], [["a"]], "line 2 has 1 column, expected 2; names that contain ','"),
            (["path", "label"], [["a", "T-shirt", " top"]], "line 2 has 3 columns, expected 2"),
            (["path", "label"], [["a", "b"], [" ", "b"]], "line 3 has no path; leave it out"),
            (["path", "label"], [["a", "b"], ["c", ""]], "line 3 has no label"),
            (["path", "label"], [["a", "1"], ["c", "nan"]], "line 3 has the label nan beside num"),
            (["label", *PIXELS], [["NA", *[9] * 784], ["2.0", *[9] * 784]], "line 2 has the label"),
            (["path", "label"], [["a", "b"], ["https://x.org/a.png", "c"]], "line 3 has a URL"),
            (["label", *PIXELS], [[1.5, *[9] * 784]], "labels: 1.5 at position 0; should be int"),
            (["label", *sorted(PIXELS)], [], "'pixel11' follows 'pixel109'; put the column"),
            (["label", *PIXELS[:783], PIXELS[782]], [], "'pixel783' follows 'pixel783'; put"),
            (["", "label", *PIXELS], [], "column 1 has no name, as the index of .*index=False"),
        ],
    )
    def test_other_tables_are_rejected_in_one_line(self, tmp_path, header, rows, message):
        path = write_csv(tmp_path / "a.csv", header, rows)
        with pytest.raises((DataError, UsageError), match=rf"a\.csv.*{message}") as caught:
            load_dataset(str(path))
        assert "\n" not in str(caught.value)

    def test_binary_file_is_rejected(self, tmp_path):
        (tmp_path / "a.csv").write_bytes(b"\xff\xfe\x00label")
        with pytest.raises(DataError, match=r"a\.csv: cannot be read as a CSV file in UTF-8"):
            load_dataset(str(tmp_path / "a.csv"))


class TestNPZ:
    @pytest.mark.parametrize(
        "names", [("images", "labels"), ("X", "y"), ("x", "y"), ("arr_0", "arr_1")]
    )
    def test_images_and_labels_are_found(self, tmp_path, names):
        np.savez(tmp_path / "a.npz", **dict(zip(names, (IMAGES, LABELS), strict=True)))
        data = load_dataset(str(tmp_path / "a.npz"), for_evaluation=True)
        np.testing.assert_array_equal(data.test.images, IMAGES)
        np.testing.assert_array_equal(data.test.labels, LABELS)
        assert len(load_dataset(str(tmp_path / "a.npz")).train) == 50

    @pytest.mark.parametrize("names", ["x_{0} y_{0}", "{0}_images {0}_labels", "X_{0} y_{0}"])
    def test_splits_are_found(self, tmp_path, names):
        arrays = {}
        for name, n in {"train": 60, "val": 20, "test": 30}.items():
            images, labels = names.format(name).split()
            arrays |= {images: IMAGES[:n], labels: LABELS[:n, None]}
        np.savez_compressed(tmp_path / "a.npz", **arrays)
        splits = load_dataset(str(tmp_path / "a.npz")).splits
        assert {k: len(v) for k, v in splits.items()} == {"train": 60, "validation": 20, "test": 30}

    @pytest.mark.parametrize("word", ["valid", "validation", "dev"])
    def test_validation_split_is_found_under_its_usual_names(self, tmp_path, word):
        train = {"x_train": IMAGES, "y_train": LABELS}
        np.savez(tmp_path / "a.npz", **train, **{f"x_{word}": IMAGES[:9], f"y_{word}": LABELS[:9]})
        data = load_dataset(str(tmp_path / "a.npz"))
        np.testing.assert_array_equal(data.validation.images, IMAGES[:9])

    def test_images_beside_a_named_test_split_are_those_of_training(self, tmp_path):
        test = {"test_images": IMAGES[:20], "test_labels": LABELS[:20]}
        np.savez(tmp_path / "a.npz", images=IMAGES, labels=LABELS, **test)
        data = load_dataset(str(tmp_path / "a.npz"))
        np.testing.assert_array_equal(data.train.images, IMAGES)
        np.testing.assert_array_equal(data.test.images, IMAGES[:20])

    def test_the_same_split_twice_is_rejected(self, tmp_path):
        val, dev = {"x_val": IMAGES, "y_val": LABELS}, {"x_dev": IMAGES, "y_dev": LABELS}
        np.savez(tmp_path / "a.npz", images=IMAGES, labels=LABELS, **val, **dev)
        with pytest.raises(DataError, match="x_val and x_dev are both the validation split; keep"):
            load_dataset(str(tmp_path / "a.npz"))

    def test_arrays_without_effect_are_reported(self, tmp_path):
        np.savez(tmp_path / "a.npz", images=IMAGES, labels=LABELS, x_holdout=IMAGES, ids=LABELS)
        messages = []
        load_dataset(str(tmp_path / "a.npz"), notify=messages.append)
        assert messages == [f"{tmp_path}/a.npz: arrays without effect: ids, x_holdout"]

    @pytest.mark.parametrize("kind", ["U", "S"])
    def test_class_names_may_be_stored(self, tmp_path, kind):
        names = [f"c{i}" for i in range(10)]
        stored = np.array(names, kind)
        np.savez(tmp_path / "a.npz", images=IMAGES, labels=LABELS, class_names=stored)
        assert load_dataset(str(tmp_path / "a.npz")).class_names == tuple(names)

    def test_other_archives_are_rejected(self, tmp_path):
        np.savez(tmp_path / "a.npz", foo=IMAGES)
        with pytest.raises(DataError, match=r"a\.npz: no images and labels among .* \(foo\); exp"):
            load_dataset(str(tmp_path / "a.npz"))
        np.savez(tmp_path / "b.npz", images=np.array([{}]), labels=LABELS)
        with pytest.raises(
            DataError, match=r"b\.npz: not a readable \.npz file \(array of type object"
        ):
            load_dataset(str(tmp_path / "b.npz"))
        content = (tmp_path / "a.npz").read_bytes()
        (tmp_path / "c.npz").write_bytes(content[: len(content) // 2])
        with pytest.raises(DataError, match=r"c\.npz: not a readable \.npz file"):
            load_dataset(str(tmp_path / "c.npz"))

    def test_header_that_declares_more_than_the_file_contains_is_rejected(self, tmp_path):
        np.savez(tmp_path / "a.npz", images=IMAGES, labels=LABELS)
        with zipfile.ZipFile(tmp_path / "a.npz") as archive:
            images, labels = archive.read("images.npy"), archive.read("labels.npy")
        changed = images.replace(b"(60, 28, 28)", b"(99, 99, 99)")
        assert changed != images
        with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:
            archive.writestr("images.npy", changed)
            archive.writestr("labels.npy", labels)
        with pytest.raises(DataError, match=r"b\.npz: .* bytes for an array of shape \(99, 99, 99"):
            load_dataset(str(tmp_path / "b.npz"))

    def test_fortran_order_is_read(self, tmp_path):
        np.savez(tmp_path / "a.npz", images=np.asfortranarray(IMAGES), labels=LABELS)
        data = load_dataset(str(tmp_path / "a.npz"), for_evaluation=True)
        np.testing.assert_array_equal(data.test.images, IMAGES)

    def test_lengths_must_agree(self, tmp_path):
        np.savez(tmp_path / "a.npz", images=IMAGES, labels=LABELS[:50])
        with pytest.raises(DataError, match=r"a\.npz: train: 60 images but 50 labels"):
            load_dataset(str(tmp_path / "a.npz"))


class TestObjects:
    def test_arrays_are_a_training_split(self):
        data = load_data((IMAGES / 255, LABELS + 1))
        assert (data.name, data.source, list(data.splits)) == (
            *("arrays", "arrays in memory"),
            ["train"],
        )
        assert data.class_names == tuple(str(i) for i in range(1, 11))
        np.testing.assert_array_equal(data.train.images, IMAGES)

    def test_training_and_test_arrays_as_of_keras(self):
        data = load_data(((IMAGES, LABELS), (IMAGES[:20], LABELS[:20])))
        assert {name: len(split) for name, split in data.splits.items()} == {
            "train": 60,
            "test": 20,
        }

    def test_frame_of_pixels(self):
        columns = {name: ROWS[:, i] for i, name in enumerate(PIXELS)}
        data = load_data(frame_of(label=LABELS, **columns))
        np.testing.assert_array_equal(data.train.images, IMAGES)
        np.testing.assert_array_equal(data.train.labels, LABELS)

    def test_frame_of_paths(self, tmp_path):
        for i in range(4):
            Image.fromarray(IMAGES[i]).save(tmp_path / f"{i}.png")
        paths = np.array([str(tmp_path / f"{i}.png") for i in range(4)], object)
        data = load_data(frame_of(path=paths, label=np.array(list("abab"), object)))
        np.testing.assert_array_equal(data.train.images, IMAGES[:4])
        assert data.class_names == ("a", "b")

    def test_pandas_frame(self):
        pandas = pytest.importorskip("pandas")
        frame = pandas.DataFrame(ROWS, columns=PIXELS)
        frame["class"] = pandas.Series(LABELS).astype(str).astype("category")
        data = load_data(frame)
        np.testing.assert_array_equal(data.train.images, IMAGES)
        np.testing.assert_array_equal(data.train.labels, LABELS)

    def test_dataset_of_tensors(self):
        tensors = torch.from_numpy(IMAGES)[:, None] / 255
        data = load_data(torch.utils.data.TensorDataset(tensors, torch.from_numpy(LABELS)))
        np.testing.assert_array_equal(data.train.images, IMAGES)
        np.testing.assert_array_equal(data.train.labels, LABELS)

    def test_dataset_of_pil_images_with_class_names(self):
        class Named(torch.utils.data.Dataset):
            classes = tuple(f"c{i}" for i in range(10))

            def __len__(self):
                return 60

            def __getitem__(self, i):
                return Image.fromarray(IMAGES[i]), int(LABELS[i])

        data = load_data(Named())
        np.testing.assert_array_equal(data.train.images, IMAGES)
        assert data.class_names == Named.classes
        subset = torch.utils.data.Subset(Named(), [3, 14])
        assert load_data(subset).train.images.tolist() == IMAGES[[3, 14]].tolist()
        assert load_data(Named(), image_size=14).train.images.shape == (60, 14, 14)

    def test_images_of_a_dataset_are_read_as_their_files(self, tmp_path):
        """A photograph is upright; unreadable ones are listed together."""
        pixels = np.random.default_rng(1).integers(0, 256, (60, 90), np.uint8)
        exif = Image.Exif()
        exif[0x112] = 6
        for i in range(2):
            Image.fromarray(pixels // (i + 1)).save(tmp_path / f"{i}.jpg", exif=exif)
        table = write_csv(tmp_path / "a.csv", ["path", "label"], [["0.jpg", 0], ["1.jpg", 1]])
        expected = load_dataset(str(table), for_evaluation=True).test.images

        class Photographs(torch.utils.data.Dataset):
            def __len__(self):
                return 2

            def __getitem__(self, i):
                return Image.open(BytesIO((tmp_path / f"{i}.jpg").read_bytes())), i

        np.testing.assert_array_equal(load_data(Photographs()).train.images, expected)
        for i in range(2):
            content = (tmp_path / f"{i}.jpg").read_bytes()
            (tmp_path / f"{i}.jpg").write_bytes(content[:-400])
        with pytest.raises(
            ImageError, match=r"2 image files .*: item 0: PIL image: .*: item 1: PIL"
        ):
            load_data(Photographs())

    def test_dataset_of_pil_images_and_arrays_is_rejected(self):
        items = [(Image.fromarray(IMAGES[0]), 0), (IMAGES[1], 1)]

        class Mixed:
            def __len__(self):
                return 2

            def __getitem__(self, i):
                return items[i]

        with pytest.raises(UsageError, match="item 1 has an image of type ndarray, others not"):
            load_data(Mixed())

    def test_dataset_of_dictionaries(self):
        class Items:
            def __len__(self):
                return 60

            def __getitem__(self, i):
                return {"image": Image.fromarray(IMAGES[i]), "label": int(LABELS[i])}

        np.testing.assert_array_equal(load_data(Items()).train.labels, LABELS)

    def test_dataset_and_source_by_name_are_accepted(self, small, idx_folder):
        assert load_data(small) is small
        assert load_data(idx_folder).hashes == small.hashes
        assert load_data(str(idx_folder)).hashes == small.hashes

    @pytest.mark.parametrize(
        "data",
        [
            5,
            b"abc",
            IMAGES,
            [IMAGES],
            {1, 2},
            iter([]),
            [IMAGES] * 3,
            [1, 2],
            ("a", "b"),
        ],
    )
    def test_other_types_are_rejected_by_name(self, data):
        with pytest.raises(UsageError, match=f"data of type {type(data).__name__}: should be"):
            load_data(data)

    @pytest.mark.parametrize(
        ("data", "message"),
        [
            ((IMAGES, LABELS[:5]), "60 images but 5 labels"),
            ((IMAGES, LABELS * 0), "1 distinct label,"),
            ((IMAGES[0], LABELS), "28 images but 60 labels"),
            ((np.ma.masked_equal(IMAGES, IMAGES[0, 0, 0]), LABELS), "masked values; replace them"),
            ((IMAGES, np.ma.masked_equal(LABELS, 3)), "labels: masked array with masked values"),
            ((torch.zeros(60, 28, 28).to_sparse(), LABELS), "images: tensor that cannot be conv"),
            (
                frame_of(path=np.array(["a", None], object), label=[0, 1]),
                "row 1 has no path; leave",
            ),
            (frame_of(path=np.array(["a", 5], object), label=[0, 1]), "row 1 has no path but int"),
            (torch.utils.data.TensorDataset(torch.zeros(2, 4)), "item 0 of type tuple; should be"),
            (
                torch.utils.data.TensorDataset(torch.zeros(2, 9, 9), torch.eye(2)),
                "item 0 has several",
            ),
            (torch.utils.data.TensorDataset(torch.zeros(0, 4)), "TensorDataset: no images"),
            (((IMAGES, LABELS % 5), (IMAGES, LABELS)), "test labels: label 5 at position 5"),
        ],
    )
    def test_invalid_content_is_rejected(self, data, message):
        with pytest.raises((DataError, UsageError), match=message):
            load_data(data)


def frame_of_pixels():
    return frame_of(label=LABELS, **{name: ROWS[:, i] for i, name in enumerate(PIXELS)})


def dataset_of_tensors():
    return torch.utils.data.TensorDataset(torch.from_numpy(IMAGES), torch.from_numpy(LABELS))


class PILImages:
    def __len__(self):
        return 60

    def __getitem__(self, i):
        return Image.fromarray(IMAGES[i]).convert("RGB"), int(LABELS[i])


@pytest.mark.parametrize("form", [frame_of_pixels, dataset_of_tensors, PILImages])
@pytest.mark.parametrize("views", ["fashion", "photo"])
def test_views_of_a_model_are_computed_from_every_form(form, views):
    """Images of the size of the model are used unchanged."""
    data = load_data(form(), views=views, image_size=28)
    assert data.views == views
    np.testing.assert_array_equal(data.train.images, IMAGES)


def test_views_are_those_of_image_files(tmp_path):
    pixels = np.full((4, 60, 40, 3), 255, np.uint8)
    pixels[:, 10:50, 10:30] = np.arange(4)[:, None, None, None] * 20
    for i in range(4):
        Image.fromarray(pixels[i]).save(tmp_path / f"{i}.png")
    rows = [[f"{i}.png", i % 2] for i in range(4)]
    path = write_csv(tmp_path / "a.csv", ["path", "label"], rows)
    np.savez(tmp_path / "a.npz", images=pixels, labels=np.arange(4) % 2)
    options = {"views": "photo", "image_size": 28}
    of_files = load_dataset(str(path), for_evaluation=True, **options)
    of_arrays = load_dataset(str(tmp_path / "a.npz"), for_evaluation=True, **options)
    expected = photo_views(Image.fromarray(pixels[1]), 28)
    assert len(expected) > 1
    for data in (of_files, of_arrays):
        assert data.views == "photo"
        np.testing.assert_array_equal(data.test.views[1], expected)


def test_class_without_a_readable_image_is_rejected(tmp_path):
    Image.fromarray(IMAGES[0]).save(tmp_path / "0.png")
    path = write_csv(tmp_path / "a.csv", ["path", "label"], [["0.png", "bag"], ["1.png", "shoe"]])
    with pytest.raises(DataError, match="no readable images of class 'shoe'; add some"):
        load_dataset(str(path), skip_broken=True, notify=lambda _: None)


def test_idx_file_is_rejected_with_its_folder(idx_folder):
    with pytest.raises(UsageError, match="a file, not a dataset; an IDX file; give its folder"):
        load_dataset(str(idx_folder / "train-images-idx3-ubyte"))


def test_colors_are_kept_with_three_channels(tmp_path):
    colors = np.repeat(IMAGES[..., None], 3, axis=3)
    colors[..., 0] //= 2
    np.savez(tmp_path / "a.npz", images=colors, labels=LABELS)
    for i in range(2):
        Image.fromarray(colors[i]).save(tmp_path / f"{i}.png")
    path = write_csv(tmp_path / "a.csv", ["path", "label"], [["0.png", 0], ["1.png", 1]])
    for source in (tmp_path / "a.npz", (colors, LABELS)):
        data = load_data(source, channels=3)
        assert data.channels == 3
        assert data.train.images[0].tolist() == colors[data.train.indices[0]].tolist()
        assert load_data(source).channels == 1
    assert load_dataset(str(path), channels=3, for_evaluation=True).test.images.tolist() == (
        colors[:2].tolist()
    )


def test_none_and_nan_are_classes_among_names(tmp_path):
    for i in range(2):
        Image.fromarray(IMAGES[i]).save(tmp_path / f"{i}.png")
    rows = [["0.png", "none"], ["1.png", "crack"]]
    path = write_csv(tmp_path / "a.csv", ["path", "label"], rows)
    assert load_dataset(str(path)).class_names == ("crack", "none")


def png(image):
    file = BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def test_paths_of_windows_are_found(tmp_path):
    (tmp_path / "img").mkdir()
    for i in range(2):
        Image.fromarray(IMAGES[i]).save(tmp_path / "img" / f"{i}.png")
    rows = [[f".\\img\\{i}.png", "ab"[i]] for i in range(2)]
    data = load_dataset(str(write_csv(tmp_path / "a.csv", ["path", "label"], rows)))
    np.testing.assert_array_equal(data.train.images, IMAGES[:2])


@pytest.mark.parametrize(
    "cells",
    [
        list(IMAGES[:4]),
        [Image.fromarray(image) for image in IMAGES[:4]],
        [png(image) for image in IMAGES[:4]],
        [{"bytes": png(image), "path": None} for image in IMAGES[:4]],
        [IMAGES[0], png(IMAGES[1]), Image.fromarray(IMAGES[2]), torch.from_numpy(IMAGES[3])],
    ],
    ids=["arrays", "pil", "bytes", "hugging face", "mixed"],
)
def test_cells_of_a_frame_may_be_images(cells):
    frame = pd.DataFrame({"image": pd.Series(cells, dtype=object), "label": list("abab")})
    data = load_data(frame)
    np.testing.assert_array_equal(data.train.images, IMAGES[:4])
    assert data.train.labels.tolist() == [0, 1, 0, 1]


def test_paths_of_hugging_face_are_read(tmp_path):
    for i in range(2):
        Image.fromarray(IMAGES[i]).save(tmp_path / f"{i}.png")
    cells = [{"bytes": None, "path": str(tmp_path / f"{i}.png")} for i in range(2)]
    data = load_data(pd.DataFrame({"image": cells, "label": ["a", "b"]}))
    np.testing.assert_array_equal(data.train.images, IMAGES[:2])


@pytest.mark.parametrize("cell", [None, float("nan"), pd.NA, {"bytes": None, "path": None}, 5])
def test_cells_without_an_image_are_rejected(cell):
    frame = pd.DataFrame({"image": pd.Series([IMAGES[0], cell], dtype=object), "label": [0, 1]})
    with pytest.raises(DataError, match=r"row 1 has no path( but int)?; leave it out"):
        load_data(frame)


@pytest.mark.parametrize("kind", ["Int64", "Float32", object])
def test_nullable_columns_are_pixels(kind):
    pixels = pd.DataFrame(IMAGES[:4].reshape(4, -1)).add_prefix("pixel").astype(kind)
    for data in (pixels.assign(label=list("abab")), (pixels, pd.Series(list("abab")))):
        np.testing.assert_array_equal(load_data(data).train.images, IMAGES[:4])
    if kind == "Int64":
        pixels.iloc[1, 5] = pd.NA
        with pytest.raises(DataError, match=r"images have missing values; fill them, as with"):
            load_data((pixels, list("abab")))


def test_series_of_paths_are_images(tmp_path):
    for i in range(2):
        Image.fromarray(IMAGES[i]).save(tmp_path / f"{i}.png")
    paths = pd.Series([str(tmp_path / f"{i}.png") for i in range(2)])
    for images in (paths, paths.to_frame("path")):
        data = load_data((images, pd.Series(["a", "b"])))
        np.testing.assert_array_equal(data.train.images, IMAGES[:2])


class Items:
    """A dataset as of PyTorch."""

    def __init__(self, images, labels):
        self.items = list(zip(images, labels, strict=True))

    def __len__(self):
        return len(self.items)

    def __getitem__(self, position):
        return self.items[position]


def test_arrays_of_several_sizes_are_resized():
    images = [IMAGES[0], IMAGES[1][:20, :20], torch.from_numpy(IMAGES[2])[:14]]
    expected = [to_images([Image.fromarray(np.asarray(one))], 28)[0] for one in images]
    for data in ((images, [0, 1, 0]), Items(images, [0, 1, 0])):
        np.testing.assert_array_equal(load_data(data, image_size=28).train.images, expected)
        with pytest.raises(DataError, match="make them equal, or set image_size"):
            load_data(data)


def test_contents_that_cannot_be_read_are_skipped():
    images = [png(IMAGES[0]), b"broken", IMAGES[2], Image.fromarray(IMAGES[3])]
    with pytest.raises(ImageError, match="or set skip_broken: image 1: not a JPEG"):
        load_data((images, [0, 1, 0, 1]))
    messages = []
    data = load_data((images, [0, 1, 0, 1]), skip_broken=True, notify=messages.append)
    np.testing.assert_array_equal(data.train.images, IMAGES[[0, 2, 3]])
    assert data.train.labels.tolist() == [0, 0, 1]
    assert messages == [messages[0]]
    assert messages[0].startswith("skipped image 1: not a JPEG")


@pytest.mark.parametrize(
    ("image", "label"), [("image", "label"), ("img", "target"), ("pixel_values", "labels")]
)
def test_items_may_be_dictionaries(image, label):
    items = [{image: IMAGES[i], label: i % 2} for i in range(4)]
    data = load_data(torch.utils.data.Subset(items, range(4)))
    np.testing.assert_array_equal(data.train.images, IMAGES[:4])
    assert data.train.labels.tolist() == [0, 1, 0, 1]


def test_dictionaries_with_other_keys_are_rejected():
    items = torch.utils.data.Subset([{"x": IMAGES[0], "y": 1}], range(1))
    with pytest.raises(DataError, match="item 0 has the keys x, y; should have 'image' and"):
        load_data(items)


def test_splits_have_names():
    """As the `DatasetDict` of Hugging Face, a dictionary."""
    train, test = Items(IMAGES[:40], LABELS[:40]), Items(IMAGES[40:], LABELS[40:])
    data = load_data({"test": test, "train": train, "val": (IMAGES[:10], LABELS[:10])})
    assert list(data.splits) == ["train", "validation", "test"]
    np.testing.assert_array_equal(data.train.images, IMAGES[:40])
    np.testing.assert_array_equal(data.validation.images, IMAGES[:10])
    np.testing.assert_array_equal(data.test.labels, LABELS[40:])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"images": IMAGES, "labels": LABELS}, "of type dict with the key 'images': should be a"),
        ({"train": (IMAGES, LABELS), "training": (IMAGES, LABELS)}, "the key 'training': should"),
        ({"train": {"train": (IMAGES, LABELS)}}, r"data\['train'\]: has splits of its own"),
        ({1: (IMAGES, LABELS)}, "with the key 1"),
        ({"train": 1}, "data of type int: should be a path, .* or a dictionary of splits"),
        ({}, "data of type dict is empty: should have a split called train"),
        ((Items(IMAGES, LABELS), Items(IMAGES, LABELS)), "two datasets: name the splits, as in"),
    ],
)
def test_other_dictionaries_are_rejected(data, message):
    with pytest.raises((DataError, UsageError), match=message):
        load_data(data)


def test_splits_with_other_class_names_are_rejected():
    train, test = Items(IMAGES, LABELS), Items(IMAGES, LABELS)
    train.classes, test.classes = list("abcdefghij"), list("jihgfedcba")
    with pytest.raises(DataError, match=r"data\['test'\]: other class names than the other splits"):
        load_data({"train": train, "test": test})
    test.classes = train.classes
    assert load_data({"train": train, "test": test}).class_names == tuple("abcdefghij")
