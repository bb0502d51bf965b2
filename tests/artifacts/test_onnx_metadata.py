"""The metadata of ONNX files, compared with what the ``onnx`` package reads."""

import pytest

from fashioncnn.artifacts.onnx_metadata import MAX_FIELDS, find_metadata, is_metadata

onnx = pytest.importorskip("onnx")
METADATA = {"one": "1", "text": "ä" * 300, "empty": ""}


@pytest.fixture(scope="module")
def content():
    graph = onnx.helper.make_graph([], "graph", [], [], doc_string="x" * 1000)
    model = onnx.helper.make_model(graph, producer_name="test", model_version=1 << 40)
    onnx.helper.set_model_props(model, METADATA)
    return model.SerializeToString()


def test_metadata_are_those_of_the_onnx_package(content):
    assert find_metadata(content) == METADATA


def test_file_without_metadata_has_none():
    assert find_metadata(b"") == {}


def test_end_of_a_file_that_has_metadata_only():
    props = onnx.ModelProto()
    props.metadata_props.add(key="one", value="1")
    assert is_metadata(b"")
    assert is_metadata(props.SerializeToString())
    for other in (onnx.ModelProto(model_version=1), onnx.ModelProto(graph=onnx.GraphProto())):
        assert not is_metadata(props.SerializeToString() + other.SerializeToString())


def test_cut_file_is_an_error_or_has_fewer_entries(content):
    for length in range(len(content)):
        try:
            found = find_metadata(content[:length])
        except ValueError:
            continue
        assert found.items() < METADATA.items()


@pytest.mark.parametrize(
    "content",
    [
        b"\xff" * 20,  # a number without end
        b"\x0b\x00",  # a group, which ONNX does not use
        b"\x00\x00",  # field 0
        b"\x72\xff\xff\xff\xff\x7f",  # metadata that are longer than the file
        b"\x72\x04\x0a\x02\xff\xff",  # a key that is not UTF-8
        b"\x08\x00" * (MAX_FIELDS + 1),
        b"\x89PNG\r\n\x1a\n",
    ],
    ids=["number", "group", "field 0", "length", "text", "many", "PNG"],
)
def test_other_content_is_an_error(content):
    with pytest.raises(ValueError):
        find_metadata(content)
