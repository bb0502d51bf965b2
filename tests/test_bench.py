import json
import tempfile
from pathlib import Path

import pytest
import torch
from fashioncnn.runtime import report_out_of_memory
from torch import nn

from fashioncnn import bench
from fashioncnn.artifacts.preprocessing import Preprocessing
from fashioncnn.config import resolve
from fashioncnn.errors import FashionCNNError
from fashioncnn.models import build_model
from fashioncnn.models.trained_model import TrainedModel
from fashioncnn.settings import FashionCNNConfig
from fashioncnn.training.run import train_model

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def small_limit(monkeypatch):
    """Matrices that take no time."""
    monkeypatch.setitem(bench.LIMIT_SIDES, "cpu", (64,))


def product(*factors):
    return int(torch.tensor(factors).prod())


def test_flop_are_those_of_the_shapes():
    first = 2 * product(28, 28, 32, 9)
    others = 2 * (product(14, 14, 64, 32, 9) + product(3136, 256) + product(256, 10))
    network = build_model(FashionCNNConfig(), 28, 10)
    assert bench.flop_per_image(network, 28, backward=False) == first + others
    # Backward costs each layer its input's and its weight's gradient; images need none.
    assert bench.flop_per_image(network, 28, backward=True) == 2 * first + 3 * others
    assert all(p.grad is None and p.device.type == "cpu" for p in network.parameters())


class _OwnProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx, images, weight):
        ctx.save_for_backward(images)
        return images @ weight

    @staticmethod
    def backward(ctx, gradient):
        (images,) = ctx.saved_tensors
        return None, images.t() @ gradient


class _OwnLayer(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(784, 10))

    def forward(self, images):
        return _OwnProduct.apply(images.flatten(1), self.weight)


def test_flop_of_custom_functions_are_counted():
    assert bench.flop_per_image(_OwnLayer(), 28, backward=True) == 2 * 2 * 784 * 10


def test_stand_in_has_the_form_of_fashion_mnist():
    train = bench.stand_in_data().train
    assert train.images.shape == (60000, 28, 28)
    assert torch.bincount(torch.from_numpy(train.labels)).tolist() == [6000] * 10


def test_what_is_measured_is_the_training_that_train_runs(small, tiny_settings):
    """So many steps leave the weights that `train_model` leaves, across epochs and rounds."""
    settings = tiny_settings(kernels="torch")
    training = bench._Training(settings, small)
    for steps in (3, 10, 7):  # 10 are an epoch
        training.learn_for(0, at_least=steps)
    assert (training.progress.step, training.n) == (20, 300)
    expected = train_model(settings, small).model.network.state_dict()
    for name, values in training.learner.model.network.state_dict().items():
        assert torch.equal(values, expected[name]), name


def test_a_round_lasts_as_long_as_it_is_told(small, tiny_settings, monkeypatch):
    training = bench._Training(tiny_settings(kernels="torch"), small)
    clock = iter(range(100))
    monkeypatch.setattr(bench.time, "perf_counter", lambda: next(clock))
    # Asked for at the start, after each step by loop (twice) and round, and at the end.
    for number in (1, 2):
        assert training.learn_for(9) == 3 * 32 / (1 + 3 * 3)
        assert training.progress.step == 3 * number


def test_a_decaying_learning_rate_outlasts_its_schedule(small, tiny_settings):
    settings = tiny_settings("schedule.name=linear", kernels="torch", epochs=1)
    training = bench._Training(settings, small)
    assert (
        0 < training.learner.recipe.learning_rate(10**6) == training.learner.recipe.learning_rate(9)
    )


def test_training_figures_belong_together(small, tiny_settings):
    settings = tiny_settings(kernels="torch")
    told = []
    result = bench.bench_training(settings, small, rounds=3, seconds=0.02, tell=told.append)
    rate = result["images_per_second"]
    assert result["rounds"][0] > 0
    assert sorted(result["rounds"])[1] == rate
    assert result["seconds_per_epoch"] == pytest.approx(300 / rate)
    assert result["limit_gflops"] == max(result["limit_rounds"])
    work = rate * result["mflop_per_image"] / 1e3
    assert result["share_of_limit"] == pytest.approx(work / result["limit_gflops"])
    assert result["peak_memory_bytes"] > 50e6
    assert [line.partition(":")[0] for line in told] == ["round 1/3", "round 2/3", "round 3/3"]
    json.dumps(result, allow_nan=False)


def test_a_batch_is_no_larger_than_the_data(small, tiny_settings):
    settings = tiny_settings(kernels="torch", batch_size=5000)
    result = bench.bench_training(settings, small, rounds=1, seconds=0.01, tell=lambda _: None)
    assert result["batch_size"] == 300


def test_kernels_make_no_difference_to_the_arithmetic_counted(small):
    flags = {"device": "cpu", "threads": 1, "batch_size": 8}
    settings = bench_settings(small, **flags)
    result = bench.bench_training(settings, small, rounds=1, seconds=0.01, tell=lambda _: None)
    assert result["mflop_per_image"] == 27.411456


def bench_settings(dataset, **flags):
    from fashioncnn.training.prepare import prepare_settings

    return prepare_settings(resolve("baseline", flags=flags), dataset)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
    ],
    ids=["gpu", "cpu"],
)
def test_too_little_memory_is_told_with_the_batch_size(small, tiny_settings, monkeypatch, error):
    def fail(*arguments, **options):
        raise error

    monkeypatch.setattr(bench.TrainState, "learn", fail)
    with pytest.raises(FashionCNNError, match=r"batch_size = 32: .* on cpu; try a smaller"):
        bench.bench_training(
            tiny_settings(kernels="torch"), small, rounds=1, seconds=0.01, tell=print
        )


def test_other_faults_are_not_taken_for_a_lack_of_memory():
    with pytest.raises(RuntimeError, match="shapes"), report_out_of_memory("x", CPU, "y"):
        raise RuntimeError("shapes do not fit")


@pytest.mark.parametrize(("has_bf16", "precision"), [(True, "bf16"), (False, "fp32")])
def test_the_limit_is_in_the_precision_of_the_hardware(monkeypatch, has_bf16, precision):
    monkeypatch.setattr(bench, "has_bf16", lambda device: has_bf16)
    dtypes = set()
    multiply = torch.mm
    monkeypatch.setattr(
        bench.torch, "mm", lambda a, b, out: (dtypes.add(a.dtype), multiply(a, b, out=out))
    )
    limit = bench._Limit(CPU)
    assert limit.measure(0) > 0
    assert limit.as_dict()["limit_precision"] == precision
    assert dtypes == {torch.bfloat16 if has_bf16 else torch.float32}


def test_the_limit_is_the_fastest_product(monkeypatch):
    times = iter([[0.5, 0.25], [1.0]])
    monkeypatch.setattr(bench, "_call_times", lambda call, seconds: next(times))
    limit = bench._Limit(CPU)
    assert limit.measure(1) == pytest.approx(2 * 64**3 / 0.25 / 1e9)
    limit.measure(1)
    assert limit.share(100, 64**3 * 2) == pytest.approx(25)


@pytest.mark.parametrize(("worked", "share"), [(1.0, 0.5), (2.0, 1.0)])
def test_the_share_of_the_processor_tells_a_busy_machine(monkeypatch, worked, share):
    walls, works = iter([0.0, 1.0]), iter([0.0, worked])
    monkeypatch.setattr(bench, "available_cores", lambda: 2)
    monkeypatch.setattr(bench.torch, "get_num_threads", lambda: 8)
    monkeypatch.setattr(bench._Limit, "_fastest", lambda self, side, seconds: 100.0)
    monkeypatch.setattr(bench.time, "perf_counter", lambda: next(walls))
    monkeypatch.setattr(bench.time, "process_time", lambda: next(works))
    limit = bench._Limit(CPU)
    limit.measure(1)
    assert limit.as_dict()["processor_share"] == share


def tiny_model(image_size=28):
    config = FashionCNNConfig(channels=(4,), hidden=8)
    network = build_model(config, image_size, 3).eval()
    preprocessing = Preprocessing(image_size, 0.0, 1.0, "fashion")
    return TrainedModel(network, config, ("a", "b", "c"), preprocessing, "own")


@pytest.mark.parametrize("image_size", [28, 16])
def test_prediction_figures_belong_together(monkeypatch, tmp_path, image_size):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    decoded = []
    predict_files = bench.predict_files

    def spy(model, paths):
        predictions = list(predict_files(model, paths))
        decoded.append([Path(p.source).suffix for p in predictions if not p.error])
        return predictions

    monkeypatch.setattr(bench, "predict_files", spy)
    result = bench.bench_prediction(
        tiny_model(image_size), rounds=2, seconds=0.03, tell=lambda _: None, threads=1
    )
    single, many = result["batches"]
    assert (single["batch_size"], many["batch_size"]) == (1, 1000)
    assert result["images_per_second"] == many["images_per_second"]
    for way in (single, many, result["png_files"]):
        assert len(way["rounds"]) == 2
        assert 0 < way["latency_ms_median"] <= way["latency_ms_p95"]
    work = result["images_per_second"] * result["mflop_per_image"] / 1e3
    assert result["share_of_limit"] == pytest.approx(work / result["limit_gflops"])
    assert result["threads"] == torch.get_num_threads() == 1
    assert decoded[0] == [".png"] * bench.FILES
    assert list(tmp_path.iterdir()) == [], "the images were left behind"
    json.dumps(result, allow_nan=False)


def test_warm_up_does_not_count():
    way = bench._Predicting(4, lambda: None)
    way.repeat_for(0, counts=False)
    assert (way.rates, way.latencies) == ([], [])
    way.repeat_for(0)
    assert len(way.rates) == len(way.latencies) == 1


def test_the_untrained_model_is_the_baseline():
    model = bench.untrained_model(CPU)
    assert model.parameters == 824_458
    assert not model.network.training
