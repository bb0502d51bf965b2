"""``fashioncnn export``."""

import re
import shutil
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from fashioncnn.artifacts.model_folder import read_description
from fashioncnn.artifacts.onnx_file import read_onnx_model
from fashioncnn.models import export as export_module

from ..idx import write_idx

FILES = {"config.json", "model.safetensors", "model.onnx", "README.md"}


@pytest.fixture
def another_graph(monkeypatch):
    """Make the exporter return the graph of a network with other weights."""
    original = export_module.export_graph

    def other(model):
        graph = original(model)
        for parameter in model.network.parameters():
            parameter.data += 0.01
        return graph

    monkeypatch.setattr(export_module, "export_graph", other)


def test_run_is_exported_into_its_model_folder(cli, trained, small):
    result = cli.json("export", trained)
    path = Path(trained, "model", "model.onnx")
    assert result["path"] == str(path)
    assert result["bytes"] == path.stat().st_size
    assert result["bytes_fp32"] is result["speedup"] is result["calibration"] is None
    assert result["verification"]["data"] == "generated"
    assert result["verification"]["images"] == 1000
    _, description, record = read_onnx_model(path)
    assert description == read_description(path.parent)
    assert record.verification.model_dump() == result["verification"]
    assert record.weights_sha256 == description.weights_sha256
    from_onnx = cli.json("predict", "--model", path, "--backend", "onnx", write_image(small))
    from_torch = cli.json("predict", "--model", trained, "--backend", "torch", "image.png")
    onnx, torch = (x["predictions"][0]["top"][0] for x in (from_onnx, from_torch))
    assert onnx["code"] == torch["code"]
    assert onnx["probability"] == pytest.approx(torch["probability"], abs=1e-4)


def write_image(small):
    Image.fromarray(small.test.images[0]).save("image.png")
    return "image.png"


def test_output_for_people(cli, trained):
    out = cli.ok("export", trained, "--out", "shoes.onnx")
    assert "shoes.onnx: fp32, " in out
    assert "compared with PyTorch on 1,000 generated images" in out
    assert "100.00% of the classes agree" in out


def test_exporting_again_writes_the_same_file(cli, trained):
    contents = set()
    for _ in range(2):
        cli.ok("export", trained, "--out", "shoes.onnx")
        contents.add(Path("shoes.onnx").read_bytes())
    assert len(contents) == 1


def test_folder_has_the_layout_of_the_hub(cli, trained):
    cli.ok("export", trained, "--out", "hub/")
    assert {path.name for path in Path("hub").iterdir()} == FILES
    for name in FILES - {"model.onnx"}:
        assert Path("hub", name).read_bytes() == Path(trained, "model", name).read_bytes()
    cli.ok("export", trained, "--out", "hub")  # an existing model folder, without a slash
    assert {path.name for path in Path("hub").iterdir()} == FILES


def test_verification_uses_the_test_split_of_the_data(cli, trained, idx_folder):
    result = cli.json("export", trained, "--data", idx_folder, "--out", "shoes.onnx")
    assert (result["verification"]["data"], result["verification"]["images"]) == ("own", 100)


def test_int8_is_calibrated_and_verified_on_the_data(cli, trained, idx_folder, monkeypatch):
    monkeypatch.setattr(export_module, "MAX_ACCURACY_LOSS", 0.1)  # of 50 images
    result = cli.json("export", trained, "--int8", "--data", idx_folder)
    assert result["path"] == "run-int8.onnx"
    assert not Path(trained, "model", "model.onnx").exists()
    assert (result["precision"], result["calibration"]) == ("int8", "minmax")
    assert result["bytes"] < result["bytes_fp32"]
    assert result["speedup"] > 0
    verification = result["verification"]
    assert verification["images"] == 50
    assert verification["accuracy"] >= verification["accuracy_fp32"] - 0.1
    assert verification["max_difference"] > 0
    _, _, record = read_onnx_model(Path("run-int8.onnx"))
    assert record.precision == "int8"
    session = onnxruntime.InferenceSession("run-int8.onnx")
    images = np.zeros((3, 28, 28), np.uint8)
    assert session.run(["logits"], {"images": images})[0].shape == (3, 10)


def test_int8_below_the_accuracy_is_not_written(cli, trained, idx_folder, monkeypatch):
    monkeypatch.setattr(export_module, "MAX_ACCURACY_LOSS", -1.1)
    monkeypatch.setattr(export_module, "METHODS", {"minmax": None})
    message = cli.fails(3, "export", trained, "--int8", "--data", idx_folder)
    assert "on 50 validation images of own" in message
    assert not Path("run-int8.onnx").exists()


def test_file_that_differs_from_pytorch_is_not_written(cli, trained, another_graph):
    message = cli.fails(3, "export", trained, "--out", "shoes.onnx")
    assert "differs from PyTorch on 1,000 generated images" in message
    assert not Path("shoes.onnx").exists()


def test_earlier_file_stays_if_verification_fails(cli, trained, another_graph):
    path = Path(trained, "model", "model.onnx")
    path.write_bytes(b"earlier")
    cli.fails(3, "export", trained)
    assert path.read_bytes() == b"earlier"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing"], "missing: no such"),
        (["run", "--int8"], "--int8: needs training images .* --data"),
        (["run", "--out", "shoes.txt"], r"--out shoes.txt: should end in .onnx; .* shoes.txt/"),
        (["run", "--out", "no/shoes.onnx"], "--out no/shoes.onnx: folder no does not exist"),
        (["run", "--out", "closet/"], "--out closet: has other files"),
        (["run", "--out", "closet"], "--out closet: has other files"),
        (["run", "--out", "file/"], "--out file: exists and is not a folder"),
        (["run", "--data", "missing"], "missing"),
        (["run", "--network", "torch.nn:Linear"], "--network torch.nn:Linear: .* remove it"),
        (["shoes.onnx"], "shoes.onnx: is an ONNX file already"),
    ],
)
def test_invalid_calls_are_reported_in_one_line(cli, trained, arguments, message):
    Path("closet").mkdir()
    Path("closet", "shoe.jpg").touch()
    Path("file").touch()
    Path("shoes.onnx").touch()
    assert re.search(message, cli.fails(2, "export", *arguments))
    assert not Path(trained, "model", "model.onnx").exists()
    assert [path.name for path in Path("closet").iterdir()] == ["shoe.jpg"]


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("other/model/", "--out other/model: is the model of another run; name a new folder"),
        ("other/model", "--out other/model: is the model of another run; name a new folder"),
        ("other/model/model.onnx", "--out .*: is the file of another model; name another file"),
        ("closet/model.onnx", "--out .*: is the file of another model; name another file"),
    ],
)
def test_another_model_is_not_changed(cli, trained, out, message):
    shutil.copytree(trained, "other")
    shutil.copytree(Path(trained, "model"), "closet")
    before = sorted(Path().rglob("*"))
    assert re.search(message, cli.fails(2, "export", trained, "--out", out))
    assert sorted(Path().rglob("*")) == before


def test_model_without_its_card(cli, trained):
    Path(trained, "model", "README.md").unlink()
    message = cli.fails(1, "export", trained, "--out", "hub/")
    assert "run/model/README.md: No such file" in message
    assert not Path("hub").exists()


def test_bundled_model_is_written_into_the_current_folder(cli, monkeypatch):
    monkeypatch.setattr(export_module, "GENERATED_IMAGES", 20)
    result = cli.json("export", "photo")
    assert result["path"] == "photo.onnx"
    assert result["bytes"] < 2e6  # weights are stored in fp16
    assert "model.safetensors" not in {path.name for path in Path().iterdir()}


def test_data_of_another_model_is_rejected(cli, trained, idx_folder):
    shutil.copytree(idx_folder, "small")
    for prefix in ("train", "t10k"):
        n = {"train": 300, "t10k": 100}[prefix]
        write_idx(Path("small", f"{prefix}-images-idx3-ubyte"), np.zeros((n, 8, 8), np.uint8))
    message = cli.fails(1, "export", trained, "--data", "small")
    assert "8×8" in message


def test_unknown_class_is_reported(cli, trained, small):
    for label in range(11):
        for number in range(12):
            path = Path("closet", str(label), f"{number}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(small.train.images[12 * label + number]).save(path)
    message = cli.fails(1, "export", trained, "--int8", "--data", "closet")
    assert "class '10' is not one of the model's (0, 1, 2 …)" in message
    assert message.endswith("; leave it out, or rename it")
