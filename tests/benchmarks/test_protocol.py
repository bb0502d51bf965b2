import ast
import io
import json
import sys

import numpy as np
import protocol
import pytest

from .conftest import BENCHMARKS


def messages(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def options(*arguments):
    return protocol.make_parser("x").parse_args(["throughput", *arguments])


def test_data_are_the_images_of_the_files(small, gzipped_data):
    data = protocol.read_data()
    np.testing.assert_array_equal(data.train_images, small.train.images)
    np.testing.assert_array_equal(data.train_labels, small.train.labels)
    np.testing.assert_array_equal(data.test_images, small.test.images)
    np.testing.assert_array_equal(data.test_labels, small.test.labels)


def test_missing_data_are_reported():
    with pytest.raises(SystemExit, match="set FASHIONCNN_DATA"):
        protocol.read_data()


def test_driver_decides_the_length_and_number_of_rounds(capsys, monkeypatch):
    counts = []

    def train_steps(count):
        counts.append(count)
        return 128 * count, 2.0

    monkeypatch.setattr(sys, "stdin", io.StringIO("\n3\n"))
    protocol.serve_rounds(options("--steps", "5"), "a peer", "fp32", ("numpy",), train_steps)
    ready, first, second, end = messages(capsys)
    assert counts == [20, 5, 3]
    assert ready["ready"] is True
    assert ready["versions"] == {"numpy": np.__version__}
    assert (first["images"], first["images_per_second"]) == (640, 320)
    assert second["images"] == 384
    assert end["peak_memory_bytes"] > 1e6


def test_no_more_rounds_than_the_maximum(capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n\n\n"))
    peer = "a peer", "fp32", (), lambda count: (count, 1.0)
    protocol.serve_rounds(options("--rounds", "2"), *peer)
    assert len(messages(capsys)) == 1 + 2 + 1


def test_steps_continue_across_epochs():
    epochs = []

    def epoch():
        epochs.append(len(epochs))
        yield from (128, 128, 96)

    train_steps = protocol.make_train_steps(epoch)
    assert train_steps(2)[0] == 256
    assert train_steps(2)[0] == 96 + 128
    assert epochs == [0, 1]


def test_training_and_evaluation_are_timed_separately(capsys, monkeypatch):
    times = iter([protocol.STARTED + t for t in (10.0, 13.0, 14.0, 20.0, 24.0, 26.0)])
    monkeypatch.setattr(protocol.time, "perf_counter", lambda: next(times))
    protocol.report_epochs(2, lambda: iter([1, 1]), lambda: 0.5)
    first, second = messages(capsys)
    for message, train, test in ((first, 3.0, 1.0), (second, 7.0, 3.0)):
        assert message["train_seconds"] == pytest.approx(train)
        assert message["test_seconds"] == pytest.approx(test)
        assert message["setup_seconds"] == pytest.approx(10.0)
        assert message["test_accuracy"] == 0.5


@pytest.mark.parametrize("path", sorted((BENCHMARKS / "peers").glob("*.py")), ids=lambda p: p.stem)
def test_peers_use_existing_names_only(path):
    """Keras is not installed here, so its script is not run by any test."""
    used = {
        node.attr
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and getattr(node.value, "id", None) == "protocol"
    }
    assert all(hasattr(protocol, name) for name in used), used
