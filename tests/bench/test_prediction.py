"""Throughput of prediction, by the predictor that ``predict`` uses."""

import json
import tempfile
from importlib import import_module

import pytest
import torch

from fashioncnn.artifacts.preprocessing import Preprocessing
from fashioncnn.artifacts.spec import ModelSpec
from fashioncnn.bench import prediction as module
from fashioncnn.bench.prediction import bench_prediction, untrained_model
from fashioncnn.inference.predictor import Predictor
from fashioncnn.loading import loaded_with_torch, open_model
from fashioncnn.models import build_model
from fashioncnn.models.trained_model import TrainedModel
from fashioncnn.settings import FashionCNNConfig


def make_model(image_size=28):
    architecture = FashionCNNConfig(channels=(4,), hidden=8)
    spec = ModelSpec(
        architecture=architecture,
        labels=("a", "b", "c"),
        preprocessing=Preprocessing(image_size, 0.0, 1.0, "fashion"),
        dataset="own",
        tta="flip",
    )
    return TrainedModel(build_model(architecture, image_size, 3).eval(), spec)


@pytest.fixture
def measured(monkeypatch, tmp_path):
    """Record the calls of the predictor; temporary files are in `tmp_path`."""
    import_module("torch._dynamo")  # creates a folder in that of temporary files
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    calls = {"views": [], "files": []}
    predict_views, predict_files = Predictor.predict_views, Predictor.predict_files

    def record_views(self, views):
        calls["views"].append(len(views))
        return predict_views(self, views)

    def record_files(self, paths):
        paths = list(paths)
        calls["files"].append({path.suffix for path in paths if path.exists()})
        return predict_files(self, paths)

    monkeypatch.setattr(Predictor, "predict_views", record_views)
    monkeypatch.setattr(Predictor, "predict_files", record_files)
    return calls


@pytest.mark.parametrize("image_size", [28, 16])
def test_figures_are_those_of_the_predictor(measured, tmp_path, image_size):
    model, lines, before = make_model(image_size), [], torch.get_rng_state()
    result = bench_prediction(
        [loaded_with_torch(model)], rounds=2, seconds=0.03, report=lines.append
    )
    single, many = result["batches"]
    assert {1, 1000, 128} <= set(measured["views"])  # one image, all images, a batch of files
    assert set(map(frozenset, measured["files"])) == {frozenset({".png"})}
    assert len(measured["files"]) == result["png_files"]["calls"] + 1  # of the warm-up
    assert (single["batch_size"], many["batch_size"]) == (1, 1000)
    assert result["images_per_second"] == many["images_per_second"]
    for measurement in (single, many, result["png_files"]):
        assert len(measurement["rounds"]) == 2
        assert 0 < measurement["latency_ms_median"] <= measurement["latency_ms_p95"]
    gflops = result["images_per_second"] * result["mflop_per_image"] / 1e3
    assert result["share_of_limit"] == pytest.approx(gflops / result["limit_gflops"])
    assert result["threads"] == torch.get_num_threads() == 1
    assert [line.partition(":")[0] for line in lines] == ["round 1/2"] * 2 + ["round 2/2"] * 2
    assert list(tmp_path.iterdir()) == [], "temporary files are left"
    assert torch.equal(torch.get_rng_state(), before)
    json.dumps(result, allow_nan=False)


def test_both_backends_are_measured_in_turns(measured, onnx_folder):
    models = [open_model(onnx_folder, name) for name in ("onnx", "torch")]
    lines = []
    result = bench_prediction(models, rounds=2, seconds=0.03, report=lines.append)
    assert [line.split()[2] for line in lines] == ["onnx,", "torch,", "matrix"] * 2
    assert list(result["backends"]) == ["onnx", "torch"]
    onnx, torch = result["backends"].values()
    assert result["backend"] == "onnx"
    assert onnx["batches"] == result["batches"] != torch["batches"]
    for backend in (onnx, torch):
        assert 0 < backend["share_of_limit"] == backend["batches"][1]["share_of_limit"]
    flop = 2 * models[1].description.multiply_adds
    assert result["mflop_per_image"] == pytest.approx(flop / 1e6)
    alone = bench_prediction(models[1:], rounds=1, seconds=0.03, report=lines.append)
    assert alone["mflop_per_image"] == result["mflop_per_image"]


def test_warmup_is_not_counted():
    measurement = module._Measurement(4, lambda: None)
    measurement.run(0, counts=False)
    assert (measurement.rates, measurement.latencies) == ([], [])
    measurement.run(0)
    assert len(measurement.rates) == len(measurement.latencies) == 1


def test_untrained_model_is_the_network_of_the_baseline():
    before = torch.get_rng_state()
    model = untrained_model(torch.device("cpu"), "torch")
    assert model.parameters == 824_458
    assert not model.network.training
    assert torch.equal(torch.get_rng_state(), before)
