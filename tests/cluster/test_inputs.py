from pathlib import Path

import numpy as np
import pytest

from fashioncnn.cluster.inputs import Input, list_inputs, read_inputs, write_inputs
from fashioncnn.errors import DataError, UsageError
from fashioncnn.inference.sources import ImageSource

NOT_UTF8 = "caf\udce9.png"
MISSING = ImageSource("gone.png", UsageError("gone.png: no such file"))
DAMAGED = ImageSource("data.idx", DataError("data.idx: damaged"))


def files(*names):
    return [ImageSource(name, Path(name)) for name in names]


def test_each_image_is_in_one_shard_in_order():
    shards = {}
    listing = list_inputs(files(*"abcde"), 2, shards.__setitem__)
    names = {shard: [given.name for given in inputs] for shard, inputs in shards.items()}
    assert names == {0: ["a", "b"], 1: ["c", "d"], 2: ["e"]}
    assert (listing.images, listing.probe) == (5, "a")


def test_the_hash_is_that_of_names_and_order_whatever_the_shards():
    assert list_inputs(files("a", "b"), 1).sha256 == list_inputs(files("a", "b"), 2).sha256
    others = [files("b", "a"), files("a"), files("ab"), [*files("a"), MISSING]]
    hashes = {list_inputs(other, 2).sha256 for other in (files("a", "b"), *others)}
    assert len(hashes) == 5


def test_a_list_is_read_as_it_was_written(tmp_path):
    inputs = [Input("a.png"), Input(NOT_UTF8), Input("b", "b: no such file", found=False)]
    inputs.append(Input("c", f"{NOT_UTF8}: damaged"))
    write_inputs(tmp_path / "list", inputs)
    *same, last = read_inputs(tmp_path / "list")
    assert same == inputs[:3]
    assert last == Input("c", "caf\\udce9.png: damaged")


def test_sources_that_are_missing_or_damaged_stay_so():
    shards = []
    list_inputs([*files("a"), MISSING, DAMAGED], 9, lambda _, inputs: shards.extend(inputs))
    assert [given.found for given in shards] == [True, False, True]
    first, missing, damaged = (given.to_source(Path("/data")) for given in shards)
    assert first.content == Path("/data/a")
    assert isinstance(missing.content, UsageError)
    assert str(damaged.content) == "data.idx: damaged"


def test_the_probe_is_the_first_image_that_exists():
    assert list_inputs([MISSING, *files("b", "c")], 1).probe == "b"


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        ([], "predict: no image found"),
        ([MISSING], "predict: no image found (gone.png: no such file)"),
        (
            [ImageSource("-", b"content")],
            "-: standard input, which --ray does not read; predict it without --ray",
        ),
        (
            [ImageSource("data[0]", np.zeros((28, 28), np.uint8))],
            "data[0]: an IDX file, which --ray does not read; predict it without --ray",
        ),
    ],
    ids=["none", "missing", "stdin", "IDX"],
)
def test_what_cannot_be_predicted_is_rejected(sources, message):
    with pytest.raises(UsageError) as error:
        list_inputs(sources, 2)
    assert str(error.value) == message


@pytest.mark.parametrize("content", [None, b"", b"PAR1PAR1", b"x" * 99])
def test_damaged_lists_are_reported_in_one_line(tmp_path, content):
    path = tmp_path / "list"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=r"list: cannot be read \(") as error:
        read_inputs(path)
    assert "\n" not in str(error.value)
