import io
import json
import sys

import fashion_cnn
import limit
import ours
import pytest
import pytorch_dataloader
import pytorch_memory
import sklearn_best
import torch

from fashioncnn.models import build_model
from fashioncnn.settings import FashionCNNConfig


@pytest.fixture
def run(call):
    """Return a function that runs a peer in this process and returns its messages."""

    def run(module, *arguments):
        return [json.loads(line) for line in call(module, *arguments, "--threads", 1).splitlines()]

    return run


def test_pytorch_peers_train_the_network_of_this_package():
    peer, network = fashion_cnn.build_model(), build_model(FashionCNNConfig(), 28, 10)
    state = dict(zip(network.state_dict(), peer.state_dict().values(), strict=True))
    network.load_state_dict(state)
    images = torch.rand(4, 1, 28, 28)
    torch.testing.assert_close(peer.eval()(images), network.eval()(images))


def test_both_pytorch_peers_have_the_same_images(small):
    dataset = pytorch_dataloader.FashionMNIST(small.train.images, small.train.labels)
    images, labels = pytorch_memory.to_tensors(
        small.train.images, small.train.labels, torch.contiguous_format
    )
    for index in (0, 7):
        image, label = dataset[index]
        torch.testing.assert_close(image, images[index], rtol=0, atol=0)
        assert label == labels[index]


@pytest.mark.parametrize(
    ("module", "flags"), [(pytorch_dataloader, []), (pytorch_memory, ["--channels-last"])]
)
def test_pytorch_peers_report_epochs(module, flags, run, gzipped_data):
    first, second = run(module, "accuracy", "--epochs", 2, *flags)
    assert (first["epoch"], second["epoch"]) == (1, 2)
    assert 0 < first["train_seconds"] < second["train_seconds"]
    assert 0 <= second["test_accuracy"] <= 1


def test_scikit_learn_reports_each_model_with_its_images(run, gzipped_data):
    arguments = "accuracy", "--model", "pca_svc", "--images", 100, 300
    first, second = run(sklearn_best, *arguments)
    assert (first["images"], second["images"]) == (100, 300)
    assert second["test_accuracy"] > 0.5


def test_scikit_learn_has_no_throughput(call, capsys):
    with pytest.raises(SystemExit):
        call(sklearn_best, "throughput", "--model", "pca_svc")
    assert "throughput: not supported" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("module", "flags"), [(pytorch_memory, ["--precision", "bf16"]), (ours, ["--kernels", "torch"])]
)
def test_images_per_second_are_those_of_the_steps(module, flags, run, gzipped_data, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("2\n1\n"))
    ready, first, second, end = run(module, "throughput", "--warmup-steps", 1, *flags)
    assert ready["precision"] == ("bf16" if "bf16" in flags else "fp32")
    assert "torch" in ready["versions"]
    assert first["images"] == 128 + 44, "the rest of the first epoch"
    assert second["images"] == 128
    assert first["images_per_second"] == pytest.approx(first["images"] / first["seconds"])
    assert end["peak_memory_bytes"] > 1e6


def test_ours_has_no_accuracy(call, capsys):
    with pytest.raises(SystemExit):
        call(ours, "accuracy")
    assert "speedrun.py runs fashioncnn train" in capsys.readouterr().err


def test_ours_reports_missing_data_in_one_line(call, monkeypatch, tmp_path):
    monkeypatch.setenv("FASHIONCNN_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(SystemExit, match="nowhere"):
        call(ours, "throughput")


def test_limit_counts_two_operations_per_multiplication(run, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("3\n"))
    ready, measurement, end = run(limit, "throughput", "--side", 16)
    assert ready["name"] == "matrix product, 16×16, fp32"
    operations = measurement["gflops"] * measurement["seconds"] * 1e9
    assert operations == pytest.approx(3 * 2 * 16**3)
    assert end["idle_cpu"] is not None
