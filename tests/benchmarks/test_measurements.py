"""Start-up and memory, scaling, precision, optimizations of a step, prediction."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import bf16
import common
import precision
import predict
import scaling
import startup_memory
import step_optimizations
from fashioncnn.data.idx import read_idx


def test_startup_and_memory_are_recorded(tiny_training, call, cli, monkeypatch, tmp_path):
    monkeypatch.setattr(startup_memory, "run_fashioncnn", cli)
    monkeypatch.setattr(startup_memory, "CALLS", 2)
    monkeypatch.setattr(startup_memory, "RESULTS", tmp_path)
    output = call(startup_memory)
    result = json.loads((tmp_path / "startup_memory.json").read_text())
    names = {"fashioncnn --help", "fashioncnn train --help", "import fashioncnn"}
    assert set(result["startup"]) == names
    for row in result["startup"].values():
        assert 0 < row["min_seconds"] <= row["median_seconds"] <= row["max_seconds"] <= 60
        assert 0 <= row["median_cpu_seconds"] <= 60
    assert result["train_peak_memory_bytes"] > 1e6
    assert "torch" in result["packages"]
    assert output.startswith("fashioncnn --help: median ")


def test_copies_are_shifted_images_with_their_labels(small, tmp_path):
    scaling.write_copies(small.train, 2, tmp_path / "copies")
    images = read_idx(tmp_path / "copies" / "train-images-idx3-ubyte", 3)
    labels = read_idx(tmp_path / "copies" / "train-labels-idx1-ubyte", 1)
    assert images.shape == (600, 28, 28)
    assert (images[:300] == small.train.images).all()
    assert (images[300:, :, 1:] == small.train.images[:, :, :-1]).all()
    assert (labels[:300] == labels[300:]).all()


def test_an_epoch_is_measured_by_its_run_folder(tiny_training, cli, monkeypatch, small, tmp_path):
    monkeypatch.setattr(scaling, "run_fashioncnn", cli)
    scaling.write_copies(small.train, 1, tmp_path / "1")
    measurement = scaling.train_one_epoch(tmp_path / "1", threads=1)
    assert 0 < measurement["seconds"] < 60
    assert measurement["peak_memory_bytes"] > 1e6


def test_scaling_measures_every_size_and_number_of_threads(idx_folder, call, monkeypatch, tmp_path):
    measured = []

    def train_one_epoch(data, threads):
        measured.append((data.name, threads))
        return {"seconds": 1.0, "peak_memory_bytes": 1e9}

    monkeypatch.setenv("FASHIONCNN_DATA", str(idx_folder))
    monkeypatch.setattr(scaling, "train_one_epoch", train_one_epoch)
    monkeypatch.setattr(scaling, "RESULTS", tmp_path)
    monkeypatch.setattr(common, "measurement_context", lambda: {"date": "today", "cores": 2})
    output = call(scaling, "--rounds", 1)
    sizes, threads = [("1", 2), ("2", 2), ("4", 2), ("8", 2)], [("1", 1), ("1", 2)]
    assert measured == [("1", 2), *sizes, *threads]
    assert "| 2,400 | 1.0 | 0.125 | 1,000 |" in output
    assert json.loads((tmp_path / "scaling.json").read_text())["images"] == 300


def test_interrupted_scaling_continues(idx_folder, call, monkeypatch, tmp_path):
    measured = []

    def train_one_epoch(data, threads):
        if len(measured) == 3:
            measured.clear()
            raise KeyboardInterrupt
        measured.append((data.name, threads))
        return {"seconds": float(len(measured)), "peak_memory_bytes": 1e9}

    monkeypatch.setenv("FASHIONCNN_DATA", str(idx_folder))
    monkeypatch.setattr(scaling, "train_one_epoch", train_one_epoch)
    monkeypatch.setattr(scaling, "RESULTS", tmp_path)
    monkeypatch.setattr(scaling, "COPIES", (1, 2))
    monkeypatch.setattr(common, "measurement_context", lambda: {"date": "today", "cores": 2})
    with pytest.raises(KeyboardInterrupt):
        call(scaling, "--rounds", 1)
    assert not (tmp_path / "scaling.json").exists()
    call(scaling, "--rounds", 1)
    assert measured == [("1", 2), ("1", 1), ("1", 2)], "one not counted, and what was missing"
    sizes = json.loads((tmp_path / "scaling.json").read_text())["sizes"]
    assert [sizes[n][0]["seconds"] for n in ("1", "2")] == [2.0, 3.0]
    assert not list(Path("runs/unfinished").iterdir())


def test_scaling_table_is_relative_to_one_copy_and_one_thread():
    def measured(seconds, peak):
        return [{"seconds": seconds, "peak_memory_bytes": peak}]

    result = {
        "images": 60_000,
        "pixels": 50e6,
        "sizes": {1: measured(10.0, 450e6), 2: measured(18.0, 500e6)},
        "threads": {1: measured(15.0, 1), 2: measured(10.0, 1)},
    }
    table = scaling.to_markdown(result)
    assert "| 120,000 | 18.0 | 0.900 | 500 | 400 |" in table
    assert "| 2 | 10.0 | 1.50 |" in table


def test_precision_records_every_variant_and_keeps_other_recipes(call, monkeypatch, tmp_path):
    commands = []

    def run_fashioncnn(*arguments):
        commands.append(arguments)
        return json.dumps({"images_per_second": 100.0 * len(commands)})

    monkeypatch.setattr(precision, "run_fashioncnn", run_fashioncnn)
    monkeypatch.setattr(precision, "RESULT", tmp_path / "precision.json")
    call(precision, "fast93", "--rounds", 1, "--threads", 1)
    table = call(precision, "accurate", "--rounds", 2, "--threads", 1)
    recipes = common.read_result(tmp_path / "precision.json")["recipes"]
    assert list(recipes) == ["fast93", "accurate"]
    assert recipes["accurate"]["images_per_second"]["bf16, torch"] == [700.0, 1100.0]
    assert {c[c.index("--precision") + 1] for c in commands} == {"fp32", "bf16"}
    assert "| `fast93` | 1 | 100 (1.00) | 200 (2.00) | 300 (3.00) | 400 (4.00) |" in table


def test_precision_ratios_are_paired_by_round():
    rates = {", ".join(variant): [100.0, 200.0, 300.0] for variant in precision.VARIANTS}
    rates["bf16, native"] = [200.0, 800.0, 600.0]
    table = precision.to_markdown({"accurate": {"threads": 1, "images_per_second": rates}})
    row = table.splitlines()[-1]
    assert row == "| `accurate` | 1 | 200 (1.00) | 200 (1.00) | 200 (1.00) | 600 (2.00) |"


@pytest.mark.parametrize("name", step_optimizations.VARIANTS)
def test_every_variant_of_a_step_runs(name, monkeypatch):
    monkeypatch.setattr(step_optimizations, "BATCH", 4)
    monkeypatch.setattr(step_optimizations, "WARMUP", 1)
    monkeypatch.setattr(step_optimizations, "configure_allocator", lambda: None)
    assert step_optimizations.measure(step_optimizations.VARIANTS[name], steps=1) > 0


def test_pooling_before_relu_gives_the_same_logits():
    first, second = (step_optimizations.Network(pool_first) for pool_first in (False, True))
    second.load_state_dict(first.state_dict())
    images = torch.randint(0, 256, (3, 1, 28, 28), dtype=torch.uint8)
    logits = []
    for network in (first, second):
        torch.manual_seed(0)
        logits.append(network(images))
    torch.testing.assert_close(*logits)


def test_step_optimizations_are_recorded(call, monkeypatch, tmp_path):
    monkeypatch.setattr(step_optimizations, "RESULTS", tmp_path)
    monkeypatch.setattr(step_optimizations, "measure_in_process", lambda name: float(len(name)))
    assert "| channels_last | 13 [13 – 13] |" in call(step_optimizations)
    result = json.loads((tmp_path / "step_optimizations.json").read_text())
    assert result["images_per_second"]["channels_last"] == [13.0, 13.0, 13.0]


def test_prediction_is_measured_in_miniature_and_not_recorded(call, monkeypatch, tmp_path):
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")
    monkeypatch.setattr(predict, "RESULTS", tmp_path)
    monkeypatch.setattr(predict, "PHOTO_SIZE", (200, 150))
    monkeypatch.setattr(predict, "DISTINCT", {"jpg": 1, "png": 2})
    monkeypatch.setattr(predict, "peak_memory", lambda model, folder, out: 5_000_000)
    output = call(predict, "--sizes", 3, "--photos", 1, "--rounds", 1)
    assert "| 1 JPEGs of 200×150 | " in output
    assert "| 3 PNGs of 28×28 | 5 MB |" in output
    assert not list(tmp_path.glob("*.json"))


def test_files_beyond_the_distinct_ones_are_hard_links(monkeypatch, tmp_path):
    monkeypatch.setattr(predict, "DISTINCT", {"jpg": 1, "png": 2})
    predict.create_pngs(tmp_path / "png", 5)
    files = sorted((tmp_path / "png").iterdir())
    assert len(files) == 5
    assert files[0].samefile(files[4])
    assert not files[0].samefile(files[1])


@pytest.mark.usefixtures("compiled")
def test_bf16_is_not_measured_without_its_instructions(call, monkeypatch):
    kernels = SimpleNamespace(bf16_convolutions=False)
    monkeypatch.setattr(bf16, "load_kernels", lambda: kernels)
    with pytest.raises(SystemExit, match="no instructions for convolutions in bfloat16"):
        call(bf16)
