import io
import json
import sys

import numpy as np
import pytest
import torch


def lines(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_read_data_returns_the_images_of_the_files(small, small_folder, monkeypatch):
    import common

    monkeypatch.setenv("FASHIONCNN_DATA", str(small_folder))
    data = common.read_data()
    np.testing.assert_array_equal(data.train_images, small.train.images)
    np.testing.assert_array_equal(data.train_labels, small.train.labels)
    np.testing.assert_array_equal(data.test_images, small.test.images)
    np.testing.assert_array_equal(data.test_labels, small.test.labels)


def test_rounds_are_as_long_as_the_driver_asks_until_it_stops(capsys, monkeypatch):
    import common

    asked = []

    def train_steps(count):
        asked.append(count)
        return 128 * count, 2.0

    monkeypatch.setattr(sys, "stdin", io.StringIO("\n3\n"))
    options = common.make_parser("x").parse_args(["throughput", "--steps", "5"])
    common.serve_rounds(options, "a peer", "fp32", ("numpy",), train_steps)
    ready, first, second, end = lines(capsys)
    assert asked == [20, 5, 3]
    assert ready["ready"] is True
    assert ready["versions"] == {"numpy": np.__version__}
    assert (first["images"], first["images_per_second"]) == (640, 320)
    assert second["images"] == 384
    assert end["peak_memory_bytes"] > 1e6


def test_no_more_rounds_than_were_agreed(capsys, monkeypatch):
    import common

    monkeypatch.setattr(sys, "stdin", io.StringIO("\n\n\n"))
    options = common.make_parser("x").parse_args(["throughput", "--rounds", "2"])
    common.serve_rounds(options, "a peer", "fp32", (), lambda count: (count, 1.0))
    assert len(lines(capsys)) == 1 + 2 + 1


def test_steps_go_on_from_one_epoch_into_the_next():
    import common

    epochs = []

    def epoch():
        epochs.append(len(epochs))
        yield from (128, 128, 96)

    train_steps = common.stepper(epoch)
    assert train_steps(2)[0] == 256
    assert train_steps(2)[0] == 96 + 128
    assert epochs == [0, 1]


def test_epochs_tell_learning_and_judging_apart(capsys, monkeypatch):
    import common

    times = iter([common.STARTED + t for t in (10.0, 13.0, 14.0, 20.0, 24.0, 26.0)])
    monkeypatch.setattr(common.time, "perf_counter", lambda: next(times))
    common.report_epochs(2, lambda: iter([1, 1]), lambda: 0.5)
    first, second = lines(capsys)
    for line, train, test in ((first, 3.0, 1.0), (second, 7.0, 3.0)):
        assert line["train_seconds"] == pytest.approx(train)
        assert line["test_seconds"] == pytest.approx(test)
        assert line["setup_seconds"] == pytest.approx(10.0)
        assert line["test_accuracy"] == 0.5


@pytest.mark.parametrize("module", ["pytorch_dataloader", "pytorch_memory"])
def test_a_peer_trains_the_described_network(module):
    import importlib

    from fashioncnn.models import build_model
    from fashioncnn.settings import FashionCNNConfig

    peer = importlib.import_module(module).build_model()
    ours = build_model(FashionCNNConfig(), 28, 10)
    shapes = ([t.shape for t in network.state_dict().values()] for network in (peer, ours))
    assert next(shapes) == next(shapes)
    ours.load_state_dict(dict(zip(ours.state_dict(), peer.state_dict().values(), strict=True)))
    images = torch.rand(4, 1, 28, 28)
    torch.testing.assert_close(peer.eval()(images), ours.eval()(images))


def test_the_data_loader_peer_makes_the_image_that_the_memory_peer_has(small):
    import pytorch_dataloader
    import pytorch_memory

    dataset = pytorch_dataloader.FashionMNIST(small.train.images, small.train.labels)
    images, labels = pytorch_memory.to_tensors(
        small.train.images, small.train.labels, torch.contiguous_format
    )
    for at in (0, 7):
        image, label = dataset[at]
        torch.testing.assert_close(image, images[at], rtol=0, atol=0)
        assert label == labels[at]
