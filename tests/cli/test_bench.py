import subprocess
import sys
from pathlib import Path

import pytest
import torch

from fashioncnn import bench

SHORT = ["--rounds", "2", "--seconds", "0.05", "--device", "cpu", "--threads", "1"]
TRAIN = ["bench", "train", *SHORT, "--kernels", "torch", "--batch-size", "32"]
TINY = [*TRAIN, "--set", "model.channels=[4, 8]", "--set", "model.hidden=16"]
PREDICT = ["bench", "predict", *SHORT]


@pytest.fixture(autouse=True)
def small_limit(monkeypatch):
    """Matrices that take no time."""
    monkeypatch.setitem(bench.LIMIT_SIDES, "cpu", (64,))


def test_train_json_has_the_promised_keys(cli):
    document = cli.json(*TINY)
    promised = {"images_per_second", "share_of_limit", "peak_memory_bytes", "seconds_per_epoch"}
    assert promised <= document.keys()
    assert all(document[key] > 0 for key in promised)
    expected = {
        "schema": 1,
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


def test_train_tells_the_figures_and_how_it_goes_and_writes_nothing(cli):
    code, out, err = cli(*TINY)
    assert code == 0
    for text in ("Images per second", "Share of the machine's limit", "60,000 images", "MFLOP"):
        assert text in out
    assert "baseline: cpu, fp32, 1 threads, torch kernels, batches of 32" in err
    assert "round 2/2" in err
    assert "cpu, 1 threads, fp32, torch kernels" in out
    assert "round" not in out
    assert list(Path().iterdir()) == []


def test_train_takes_a_person_s_own_data_without_a_test_part(cli, idx_folder):
    for path in idx_folder.glob("t10k*"):
        path.unlink()
    document = cli.json(*TINY, "--data", idx_folder)
    assert (document["data"], document["images"]) == ("own", 300)


def test_the_environment_s_data_is_not_needed(cli, monkeypatch):
    monkeypatch.setenv("FASHIONCNN_DATA", "/nowhere")
    assert cli.json(*TINY)["data"] == "sketches"


def test_recipes_are_measured_by_their_own_settings(cli):
    Path("mine.toml").write_text("[optimizer]\nname = 'sgd'\nlearning_rate = 0.01\n")
    document = cli.json(*TINY[:2], "mine.toml", *TINY[2:], "--set", "training.batch_size=16")
    assert (document["recipe"], document["batch_size"]) == ("mine", 16)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["train", "basline"], "did you mean 'baseline'"),
        (["train", "--device", "foo"], "device = 'foo'"),
        (["train", "--device", "cuda:99"], "no such GPU"),
        (["train", "--rounds", "0"], "--rounds 0: must be at least 1"),
        (["train", "--seconds", "-1"], "--seconds -1: must be above 0"),
        (["train", "--seconds", "nan"], "--seconds nan: must be above 0"),
        (["train", "--batch-size", "0"], "batch_size = 0"),
        (["train", "--threads", "0"], "threads = 0"),
        (["train", "--set", "model.hiden=3"], "did you mean 'model.hidden'"),
        (["train", "--data", "nowhere"], "no such folder"),
        (["train", "--epochs", "3"], "--epochs"),
        (["train", "--set", "distillation.ensemble_size=2"], "times one network alone"),
        (["train", "--set", "distillation.teachers=accurate"], "times one network alone"),
        (["predict", "nowhere"], "no such run or model"),
        (["predict", "--device", "foo"], "device = foo"),
        (["predict", "--threads", "0"], "--threads 0: must be from 1"),
        (["predict", "--rounds", "0"], "--rounds 0: must be at least 1"),
        (["predict", "--seconds", "inf"], "--seconds inf: must be above 0"),
        (["trian"], "trian"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_is_one_line_and_exit_code_2(cli, arguments, told):
    assert told in cli.fails(2, "bench", *arguments)


def test_too_little_memory_is_one_line(cli, monkeypatch):
    def fail(*arguments, **options):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(bench.TrainState, "learn", fail)
    line = cli.fails(1, *TINY)
    assert line == (
        "fashioncnn: batch_size = 32: not enough memory on cpu; try a smaller --batch-size"
    )


@pytest.mark.parametrize(
    ("command", "part"), [(TINY, "TrainState.learn"), (PREDICT, "predict_probabilities")]
)
def test_interruption_is_no_traceback(cli, monkeypatch, command, part):
    def interrupt(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(f"fashioncnn.bench.{part}", interrupt)
    assert cli.fails(130, *command) == "fashioncnn: interrupted"


def test_bf16_without_instructions_works_and_says_that_it_is_slow(cli, monkeypatch):
    monkeypatch.setattr("fashioncnn.runtime.has_bf16", lambda device: False)
    monkeypatch.setattr(bench, "has_bf16", lambda device: False)
    code, _, err = cli(*TINY, "--precision", "bf16")
    assert code == 0
    assert "bf16: this processor has no instructions for it, so it is slow here" in err


@pytest.mark.parametrize(
    ("rounds", "share", "told"),
    [
        ([50, 100], 1.0, "50 – 100 GFLOP/s, 100% of the processor at least"),
        ([90, 100], 0.5, "90 – 100 GFLOP/s, 50% of the processor at least"),
        ([50, 100], None, "50 – 100 GFLOP/s)"),
        ([90, 100], 0.9, None),
        ([90, 100], None, None),
    ],
)
def test_a_busy_machine_is_told(cli, monkeypatch, rounds, share, told):
    limit = {"limit_gflops": 100, "limit_precision": "fp32", "limit_rounds": rounds}
    monkeypatch.setattr(bench._Limit, "as_dict", lambda self: {**limit, "processor_share": share})
    _, _, err = cli(*TINY)
    assert (told or "") in err
    assert ("the machine was busy" in err) == bool(told)


def test_predict_measures_a_run_as_it_is(cli, trained):
    document = cli.json("bench", "predict", trained, *SHORT)
    assert document["model"] == "run"
    assert document["parameters"] == 6794
    assert [way["batch_size"] for way in document["batches"]] == [1, 1000]
    assert document["png_files"]["images_per_second"] > 0
    assert document["share_of_limit"] > 0


def test_predict_without_a_model_says_what_is_measured(cli):
    code, out, err = cli(*PREDICT)
    assert code == 0
    assert "an untrained network of baseline, which is as fast as a trained one" in err
    for text in ("untrained baseline", "1 array", "1,000 arrays", "PNG files", "ms a call (p95)"):
        assert text in out


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from fashioncnn.cli import main; "
        "[main(['bench', *rest, '--help']) for rest in ([], ['train'], ['predict'])]; "
        "print([m for m in ('torch', 'numpy', 'PIL', 'pydantic') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("[]\n")
    for command in ("train", "predict"):
        assert f"Example: fashioncnn bench {command}" in done.stdout
