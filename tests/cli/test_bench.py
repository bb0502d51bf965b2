from itertools import pairwise
from pathlib import Path

import pytest
import torch

from fashioncnn.bench import limit

from .conftest import command_id

SHORT = ["--rounds", "2", "--seconds", "0.05", "--device", "cpu"]
BATCHES = ["--threads", "1", "--kernels", "torch", "--batch-size", "32"]
TINY = ["--set", "model.channels=[4, 8]", "model.hidden=16"]
TRAIN = ["bench", "train", *SHORT, *BATCHES, *TINY]
PREDICT = ["bench", "predict", *SHORT, "--threads", "1"]


@pytest.fixture(autouse=True)
def _small_limit(monkeypatch):
    """Measure the limit with matrices that take no time."""
    monkeypatch.setitem(limit.LIMIT_SIDES, "cpu", (64,))


def test_json_of_train_has_the_documented_keys(cli):
    document = cli.json(*TRAIN)
    positive = {"images_per_second", "share_of_limit", "peak_memory_bytes", "seconds_per_epoch"}
    assert all(document[key] > 0 for key in positive)
    expected = {
        "schema": 2,
        "command": "bench train",
        "recipe": "baseline",
        "data": "sketches",
        "images": 60000,
        "batch_size": 32,
        "device": "cpu",
        "precision": "fp32",
        "threads": 1,
        "kernels": "torch",
        "gpu": None,
    }
    assert {key: document[key] for key in expected} == expected
    assert len(document["rounds"]) == 2


def test_train_prints_tables_and_progress_and_writes_nothing(cli):
    code, out, err = cli(*TRAIN)
    assert code == 0
    for text in ("Images per second", "Fraction of the machine's limit", "60,000 images", "MFLOP"):
        assert text in out
    assert "cpu, 1 thread, fp32, torch kernels" in out
    assert "baseline: cpu, fp32, 1 thread, torch kernels, batch size 32" in err
    assert "a warm-up, then 2 rounds of 0.05 s" in err
    assert "round 2/2" in err
    assert "round" not in out
    assert list(Path().iterdir()) == []


def test_train_needs_no_test_split(cli, idx_folder):
    for path in idx_folder.glob("t10k*"):
        path.unlink()
    document = cli.json(*TRAIN, "--data", idx_folder)
    assert (document["data"], document["images"]) == ("own", 300)


def test_train_draws_images_even_if_the_environment_names_data(cli, monkeypatch):
    monkeypatch.setenv("FASHIONCNN_DATA", "/nowhere")
    assert cli.json(*TRAIN)["data"] == "sketches"


def test_train_uses_the_settings_of_a_recipe(cli):
    Path("mine.toml").write_text("[optimizer]\nname = 'sgd'\nlearning_rate = 0.01\n")
    command = ["bench", "train", "mine.toml", *SHORT, *TINY, "training.batch_size=16"]
    document = cli.json(*command)
    assert (document["recipe"], document["batch_size"]) == ("mine", 16)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "basline"], "did you mean 'baseline'"),
        (["train", "--device", "foo"], "--device foo: should be auto"),
        (["train", "--device", "cuda:99"], "no such GPU"),
        (["train", "--rounds", "0"], "--rounds 0: should be greater than or equal to 1"),
        (["train", "--rounds", "1.5"], "--rounds 1.5: should be an integer"),
        (["train", "--seconds", "-1"], "--seconds -1: should be greater than 0"),
        (["train", "--seconds", "nan"], "--seconds nan: should be a finite number"),
        (["train", "--batch-size", "0"], "--batch-size 0: should be greater than or equal to 1"),
        (["train", "--threads", "0"], "--threads 0: should be greater than or equal to 1"),
        (["train", "--set", "model.hiden=3"], "did you mean 'model.hidden'"),
        (["train", "--data", "nowhere"], "no such file or folder"),
        (["train", "--epochs", "3"], "--epochs: unknown option"),
        (["train", "--set", "distillation.ensemble_size=2"], "only one network is measured"),
        (["train", "--set", "distillation.teachers=accurate"], "only one network is measured"),
        (["predict", "nowhere"], "no such run or model"),
        (["predict", "--device", "foo"], "device = foo"),
        (["predict", "--backend", "onnx"], "--backend onnx: name a model that has an ONNX file"),
        (["predict", "--threads", "0"], "--threads 0: should be greater than or equal to 1"),
        (["predict", "--rounds", "0"], "--rounds 0: should be greater than or equal to 1"),
        (["predict", "--seconds", "inf"], "--seconds inf: should be a finite number"),
    ],
    ids=command_id,
)
def test_invalid_usage_is_one_line_and_exit_code_2(cli, arguments, message):
    assert message in cli.fails(2, "bench", *arguments)


def test_running_out_of_memory_is_one_line(cli, monkeypatch):
    def fail(*arguments, **options):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("fashioncnn.bench.training.fit", fail)
    assert cli.fails(1, *TRAIN) == (
        "fashioncnn: batch_size = 32: not enough memory on cpu; try a smaller --batch-size"
    )


@pytest.mark.parametrize(
    ("command", "interrupted"),
    [
        (TRAIN, "fashioncnn.bench.training.fit"),
        (PREDICT, "fashioncnn.inference.predictor.Predictor.predict_images"),
    ],
)
def test_interruption_is_exit_code_130(cli, monkeypatch, command, interrupted):
    def interrupt(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(interrupted, interrupt)
    assert cli.fails(130, *command) == "fashioncnn: interrupted"


def test_bf16_without_instructions_is_reported(cli, monkeypatch):
    for module in ("fashioncnn.cli.runtime_notes", "fashioncnn.bench.limit"):
        monkeypatch.setattr(f"{module}.has_bf16", lambda device: False)
    code, _, err = cli(*TRAIN, "--precision", "bf16")
    assert code == 0
    assert "bf16: this processor has no instructions for it; fp32 is faster" in err


@pytest.mark.parametrize(("cores", "noted"), [(1, True), (2, False)])
def test_more_threads_than_cores_are_reported(cli, monkeypatch, cores, noted):
    monkeypatch.setattr("fashioncnn.cli.runtime_notes.available_cores", lambda: cores)
    command = ["2" if before == "--threads" else word for before, word in pairwise(["", *TRAIN])]
    code, _, err = cli(*command)
    assert code == 0, err
    message = "threads = 2: only 1 core can be used; --threads 1 is faster, and rounds diff"
    assert (message in err) == noted


@pytest.mark.parametrize(
    ("rounds", "fraction", "message"),
    [
        ([50, 100], 1.0, "50 to 100 GFLOP/s; 100% of the processor's time"),
        ([90, 100], 0.5, "90 to 100 GFLOP/s; 50% of the processor's time"),
        ([50, 100], None, "50 to 100 GFLOP/s)"),
        ([90, 100], 0.9, None),
        ([90, 100], None, None),
    ],
)
def test_a_busy_machine_is_reported(capsys, rounds, fraction, message):
    from fashioncnn.cli.bench import _warn_if_busy

    _warn_if_busy({"limit_rounds": rounds, "processor_share": fraction})
    err = capsys.readouterr().err
    assert (message or "") in err
    assert ("other processes used the machine" in err) == bool(message)


def test_predict_measures_a_run(cli, trained):
    document = cli.json("bench", "predict", trained, *SHORT, "--threads", "1")
    assert document["model"] == "run"
    assert document["parameters"] == 6794
    assert [way["batch_size"] for way in document["batches"]] == [1, 1000]
    assert document["png_files"]["images_per_second"] > 0
    assert document["share_of_limit"] > 0


def test_predict_without_a_model_measures_an_untrained_network(cli):
    code, out, err = cli(*PREDICT)
    assert code == 0
    assert "untrained baseline: torch on cpu; a warm-up" in err
    for text in ("untrained baseline", "1 array", "1,000 arrays", "PNG files", "ms per call (p95)"):
        assert text in out


def test_predict_measures_the_backends_that_a_model_has(cli, onnx_folder):
    out = cli.ok(*PREDICT, onnx_folder)
    assert (out.count("ONNX Runtime"), out.count("PyTorch")) == (3, 3)
    document = cli.json(*PREDICT, onnx_folder, "--backend", "torch")
    assert list(document["backends"]) == ["torch"]
    (onnx_folder / "model.safetensors").unlink()
    assert list(cli.json(*PREDICT, onnx_folder)["backends"]) == ["onnx"]
