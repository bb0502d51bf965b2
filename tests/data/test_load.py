import numpy as np
import pytest

from fashioncnn.data.load import load_data, load_dataset
from fashioncnn.errors import DataError, UsageError

from ..idx import write_idx


def test_sketches_are_loaded_by_name(sketches):
    assert load_dataset("sketches") is sketches


def test_idx_folder_is_loaded(idx_folder, small):
    assert load_dataset(str(idx_folder)).hashes == small.hashes


@pytest.mark.parametrize("name", ["fashion-mnist", "sketches"])
def test_folder_named_as_a_built_in_dataset_is_not_that_dataset(idx_folder, name):
    folder = idx_folder.rename(idx_folder.parent / name)
    assert load_dataset(str(folder)).name == f"own {name}"


@pytest.mark.parametrize("size", [-5, 0, 7, 257, 100_000, 28.5, 28.0, True, "28"])
def test_image_size_out_of_range_is_rejected(size, tmp_path):
    with pytest.raises(UsageError, match=f"image_size = {size}: must be an integer from 8"):
        load_dataset(str(tmp_path), image_size=size)
    with pytest.raises(UsageError, match=f"image_size = {size}: must be an integer from 8"):
        load_data((np.zeros((2, 9, 9), np.uint8), [0, 1]), image_size=size)


def test_range_of_image_size_does_not_apply_to_idx_files(tmp_path):
    write_idx(tmp_path / "train-images-idx3-ubyte", np.zeros((4, 6, 6), np.uint8))
    write_idx(tmp_path / "train-labels-idx1-ubyte", np.arange(4, dtype=np.uint8) % 2)
    assert load_dataset(str(tmp_path), image_size=6).train.images.shape == (4, 6, 6)


def test_missing_folder_is_rejected():
    with pytest.raises(
        UsageError, match="data = nowhere: no such file or folder; give an existing one"
    ):
        load_dataset("nowhere")


def test_misspelled_sketches_is_reported_with_a_suggestion():
    with pytest.raises(
        UsageError, match="data = sketch: no such file or folder; did you mean 'sketches'"
    ):
        load_dataset("sketch")


def test_file_is_rejected_with_the_supported_sources(tmp_path):
    path = tmp_path / "data.parquet"
    path.write_bytes(b"PAR1")
    with pytest.raises(UsageError, match=r"data\.parquet: a file, not a dataset; supported are"):
        load_dataset(str(path))


def test_empty_folder_is_rejected(tmp_path):
    with pytest.raises(DataError, match="neither IDX files"):
        load_dataset(str(tmp_path))


def test_home_folder_of_unknown_user_is_rejected():
    with pytest.raises(UsageError, match="data = ~nobody-here/x: "):
        load_dataset("~nobody-here/x")


def test_missing_cache_offline_suggests_sketches():
    with pytest.raises(DataError, match=r"missing, and --offline is set.*--data sketches"):
        load_dataset(None, offline=True)
