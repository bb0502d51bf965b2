"""Arguments and files of ``predict --ray``; tests/cluster/test_ray.py has a real cluster."""

import csv
import re
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image

pytest.importorskip("ray", reason="needs the extra [ray]")
pq = pytest.importorskip("pyarrow.parquet", reason="needs the extra [ray]")

from fashioncnn.cluster import engine
from fashioncnn.cluster.engine import Cluster
from fashioncnn.cluster.worker import ShardPredictor

from ..test_torch_free import WITHOUT_EXTRAS


@pytest.fixture
def images(small):
    """A folder with five images, of which one is damaged."""
    Path("images").mkdir()
    for i in range(5):
        Image.fromarray(small.test.images[i]).save(f"images/{i}.png")
    Path("images/3.png").write_bytes(b"text")
    return "images"


@pytest.fixture
def without_ray(monkeypatch):
    """Replace Ray by this process; return the shards of each run."""
    runs = []

    @contextmanager
    def connect(address):
        yield Cluster(address, 1, 2)

    def run_shards(folder, job, model, shards, cores, remedy):
        runs.append(list(shards))
        worker = ShardPredictor(str(folder.path), job, lambda: model, remedy)
        yield from map(worker.predict, shards)

    monkeypatch.setattr(engine, "find_cluster", lambda ray: None)
    monkeypatch.setattr(engine, "connect", connect)
    monkeypatch.setattr(engine, "run_shards", run_shards)
    return runs


def predict_to_parquet(cli, onnx_folder, *options):
    arguments = ["--ray", "auto", "--out", "out", "--shard-size", "2", *options]
    return cli("predict", "images", "missing.png", "--model", onnx_folder, *arguments)


def test_ray_on_this_machine_alone_predicts_every_image_once(cli, images, onnx_folder, monkeypatch):
    for name in (*engine.ENVIRONMENT, *engine.OF_THIS_MACHINE):
        monkeypatch.setenv(name, "0")  # the command sets them in this process
    monkeypatch.setenv("RAY_ADDRESS", "local")
    code, out, err = predict_to_parquet(cli, onnx_folder)
    assert (code, out) == (1, "")
    assert "Ray on this machine: 1 machine" in err
    rows = sorted(pq.read_table("out").to_pylist(), key=lambda row: row["index"])
    names = [f"images/{i}.png" for i in range(5)]
    assert [row["source"] for row in rows] == [*names, "missing.png"]
    assert [row["error"] is None for row in rows] == [True, True, True, False, True, False]


def test_rows_equal_those_of_csv(cli, images, onnx_folder, without_ray):
    code, out, err = predict_to_parquet(cli, onnx_folder)
    assert (code, out) == (1, "")
    assert err.endswith("fashioncnn: 2 of 6 images could not be read\n")
    assert cli("predict", "images", "missing.png", "--model", onnx_folder, "--out", "a.csv")[0] == 1
    expected = list(csv.DictReader(Path("a.csv").read_text().splitlines()))
    rows = pq.read_table("out").to_pylist()
    assert [row.pop("index") for row in rows] == list(range(6))
    assert len(rows) == len(expected)
    for row, values in zip(rows, expected, strict=True):
        assert list(row) == list(values)
        for key, value in row.items():
            if isinstance(value, float):
                assert value == pytest.approx(float(values[key]), abs=1e-5)
            else:
                text = {None: "", True: "true", False: "false"}.get(value, str(value))
                assert values[key] == text


def test_the_same_command_continues_with_what_is_missing(cli, images, onnx_folder, without_ray):
    predict_to_parquet(cli, onnx_folder)
    before = pq.read_table("out")
    Path("out/part-000001.parquet").unlink()
    Path("out/_manifest.json").unlink()
    code, _, err = predict_to_parquet(cli, onnx_folder)
    assert code == 1
    assert "continued: 4 of 6 images are predicted" in err
    assert without_ray == [[0, 1, 2], [1]]
    assert pq.read_table("out").equals(before)
    assert Path("out/_manifest.json").exists()
    assert predict_to_parquet(cli, onnx_folder)[0] == 1
    assert len(without_ray) == 2, "nothing was left"


@pytest.mark.parametrize(
    ("options", "difference"),
    [
        (["--top", "2"], r"top 3, not 2"),
        (["--abstain-below", "0.5"], r"abstain below 0\.0, not 0\.5"),
        (["--views", "pad"], r"views fashion, not pad"),
        (["--max-megapixels", "1"], r"max pixels 16000000, not 1000000"),
        (["images/0.png"], r"images 6, not 7"),
    ],
)
def test_another_job_is_refused(cli, images, onnx_folder, without_ray, options, difference):
    predict_to_parquet(cli, onnx_folder)
    files = contents_of("out")
    code, out, err = predict_to_parquet(cli, onnx_folder, *options)
    assert (code, out) == (2, "")
    last = err.splitlines()[-1]
    assert re.fullmatch(
        rf"fashioncnn: --out out: has predictions of another job \({difference}\); name a new "
        "folder, or remove it",
        last,
    )
    assert contents_of("out") == files


def test_a_folder_with_other_files_is_refused(cli, images, onnx_folder, without_ray):
    Path("out").mkdir()
    Path("out/notes.txt").write_text("mine")
    code, _, err = predict_to_parquet(cli, onnx_folder)
    assert code == 2
    assert err == "fashioncnn: --out out: not empty; name a new folder\n"
    assert names_in("out") == ["notes.txt"]


def test_an_empty_folder_is_used(cli, images, onnx_folder, without_ray):
    Path("out").mkdir()
    predict_to_parquet(cli, onnx_folder)
    assert len(contents_of("out")) == 8  # three lists, three parts, job, manifest


def test_without_images_nothing_is_written(cli, onnx_folder, without_ray):
    Path("images").mkdir()
    code, _, err = predict_to_parquet(cli, onnx_folder)
    assert code == 2
    assert "fashioncnn: predict: no image found (images: a folder without images (" in err
    assert names_in(".") == ["images", "model"]


def test_an_error_while_images_are_listed_leaves_nothing(cli, images, onnx_folder, without_ray):
    Path("list").write_text("images/0.png\nimages/1.png\nmodel\n")
    code, _, err = predict_to_parquet(cli, onnx_folder, "--from-file", "list")
    assert code == 2
    assert "model: a model folder, not images" in err
    assert not Path("out").exists()
    assert not list(Path().glob(".out*"))


def test_an_error_of_a_worker_ends_the_command(cli, images, onnx_folder, without_ray, monkeypatch):
    def no_space(self, path):
        raise engine.FashionCNNError(f"{path}: cannot be written")

    monkeypatch.setattr("fashioncnn.cluster.parts.PartWriter.write", no_space)
    code, _, err = predict_to_parquet(cli, onnx_folder)
    assert code == 1
    assert err.splitlines()[-1].endswith("part-000000.parquet: cannot be written")
    assert not Path("out/_manifest.json").exists()


def test_a_list_of_files_and_skipped_files(cli, images, onnx_folder, without_ray):
    Path("images/notes.txt").write_text("mine")
    Path("list").write_text("images/0.png\n")
    arguments = ["--model", onnx_folder, "--ray", "auto", "--out", "out", "--from-file", "list"]
    code, _, err = cli("predict", "images", *arguments)
    assert code == 1
    assert "skipped 1 file that is not an image: images/notes.txt" in err
    assert "wrote out: 6 images in 1 file" in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "--ray: needs --out, a folder for the predictions"),
        (["--out", "images"], "--out images: is inside images, whose images are read; name"),
        (["--out", "images/out"], "--out images/out: is inside images, whose images are read"),
        (["--out", "images/0.png"], "--out images/0.png: exists and is not a folder; --ray needs"),
        (["--out", "o", "--json"], "--json: not possible with --ray, which writes Parquet files"),
        (["--out", "o", "--format", "csv"], "--format: not possible with --ray"),
        (["--out", "o", "--explain", "maps"], "--explain: not possible with --ray"),
        (["--out", "o", "--save-views", "maps"], "--save-views: not possible with --ray"),
        (["--out", "o", "--network", "a:B"], "--network: not possible with --ray"),
        (["--out", "o", "--device", "cuda"], "--device cuda: --ray predicts on processor cores"),
        (["--out", "o", "-"], "-: --ray does not read an image on standard input"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_options_that_contradict_ray(cli, images, onnx_folder, options, message):
    code, out, err = cli("predict", images, "--model", onnx_folder, "--ray", "auto", *options)
    assert (code, out) == (2, "")
    assert err.startswith(f"fashioncnn: {message}")
    assert len(err.splitlines()) == 1
    assert names_in(".") == ["images", "model"]


def test_shard_size_needs_ray(cli, images):
    message = cli.fails(2, "predict", images, "--shard-size", "5")
    assert message == "fashioncnn: --shard-size 5: has no effect without --ray"


@pytest.mark.parametrize("address", ["nonsense", "ray://host:1", "host:", ":6379", "host:99999"])
def test_what_is_no_address_is_refused(cli, images, onnx_folder, address):
    arguments = ["--model", onnx_folder, "--out", "out", "--ray", address]
    message = cli.fails(2, "predict", images, *arguments)
    assert message == (
        f"fashioncnn: --ray {address}: should be auto or host:port, as ray start prints it"
    )
    assert not Path("out").exists()


def test_an_address_that_cannot_be_reached(cli, images, onnx_folder, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    arguments = ["--model", onnx_folder, "--out", "out"]
    message = cli.fails(1, "predict", images, *arguments, "--ray", address)
    assert message.startswith(f"fashioncnn: --ray {address}: cannot be reached (Connection refused")
    monkeypatch.setenv("RAY_ADDRESS", address)
    assert cli.fails(1, "predict", images, *arguments, "--ray", "auto") == message
    assert not Path("out").exists()


def test_auto_finds_what_ray_start_started(monkeypatch, tmp_path):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    assert engine.find_cluster("auto") is None
    (tmp_path / "ray").mkdir()
    current = tmp_path / "ray" / "ray_current_cluster"
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        current.write_text(address)
        assert engine.find_cluster("auto") == address
        monkeypatch.setenv("RAY_ADDRESS", "local")
        assert engine.find_cluster("auto") is None
    monkeypatch.delenv("RAY_ADDRESS")
    assert engine.find_cluster("auto") is None, "the cluster has ended"


def test_missing_extra(images, onnx_folder):
    options = ["--model", onnx_folder, "--ray", "auto", "--out", "out"]
    command = [sys.executable, "-c", WITHOUT_EXTRAS, "ray", "predict", images, *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == (
        "fashioncnn: ray is not installed; in a checkout of fashioncnn, run: pip install '.[ray]'\n"
    )
    assert not Path("out").exists()


def test_other_commands_import_no_ray(images, onnx_folder):
    code = (
        "import sys; from fashioncnn.cli import main; main(sys.argv[1:]); "
        "print([m for m in ('ray', 'pyarrow', 'pandas', 'torch') if m in sys.modules])"
    )
    command = [sys.executable, "-c", code, "predict", images, "--model", onnx_folder]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.endswith("[]\n")


def names_in(folder):
    return sorted(path.name for path in Path(folder).iterdir())


def contents_of(folder):
    """Return the content of all files by name."""
    paths = [path for path in Path(folder).rglob("*") if path.is_file()]
    return {str(path): path.read_bytes() for path in paths}
