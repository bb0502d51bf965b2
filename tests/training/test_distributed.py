"""Several processes train the same network as one, and resume to the same bytes."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from fashioncnn.errors import DataError, FashionCNNError, RankError, UsageError
from fashioncnn.runs import RunFolder
from fashioncnn.training.distributed import StopTogether
from fashioncnn.training.ranks import (
    ALONE,
    Ranks,
    ReportedError,
    _first_error,
    differences,
    lost_ranks,
)

from . import together

SECONDS = 120
TOLERANCE = 1e-12
"""Relative; float64 rounds by 1e-16, and images are augmented in float32 on every rank alike."""
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone"]


def assert_gradients_are_those_of_one_process(folder, variants):
    errors = json.loads((folder / "errors.json").read_text())
    assert set(errors) == set(variants)
    for variant, of_variant in errors.items():
        assert max(*of_variant["gradients"], of_variant["loss"]) < TOLERANCE, variant


def assert_same_files(folder, files_of):
    whole, resumed = (files_of(RunFolder(folder / name)) for name in ("whole", "resumed"))
    assert whole == resumed
    teachers = [folder / name / "teachers" / "1" for name in ("whole", "resumed")]
    weights = [(teacher / "model" / "model.safetensors").read_bytes() for teacher in teachers]
    assert weights[0] == weights[1]


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def test_two_processes_train_as_one(tmp_path, monkeypatch, files_of):
    common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    second = {**os.environ, **common, "RANK": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, Path(together.__file__), tmp_path, "everything"]
    with subprocess.Popen(command, env=second, stderr=subprocess.PIPE, text=True) as partner:
        for name, value in {**common, "RANK": "0"}.items():
            monkeypatch.setenv(name, value)
        together.main(tmp_path, ["everything"])
        error = partner.communicate(timeout=SECONDS)[1]
    assert partner.returncode == 0, error
    assert_gradients_are_those_of_one_process(tmp_path, ["everything"])
    assert_same_files(tmp_path, files_of)
    assert RunFolder(tmp_path / "whole").read_environment()["world_size"] == 2
    differ, failed = json.loads((tmp_path / "disagreements.json").read_text())
    assert differ[0] == "UsageError" and failed[2] == DataError.exit_code
    assert differ[1].startswith(f"rank 1 on {socket.gethostname()} differs from rank 0: training.")
    assert failed[1] == f"rank 1 on {socket.gethostname()}: no such folder"


@pytest.mark.slow
def test_three_processes_train_as_one(tmp_path, files_of):
    command = [*TORCHRUN, "--nproc-per-node", "3", Path(together.__file__), tmp_path]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    completed = subprocess.run(
        command, check=False, env=environment, capture_output=True, text=True, timeout=SECONDS
    )
    assert completed.returncode == 0, completed.stderr
    assert_gradients_are_those_of_one_process(tmp_path, together.VARIANTS)
    assert_same_files(tmp_path, files_of)
    # A single process goes on where three were interrupted.
    together.train(tmp_path / "interrupted", ALONE)
    alone, whole = (RunFolder(tmp_path / name) for name in ("interrupted", "whole"))
    assert "world_size" not in alone.read_environment()
    for record, expected in zip(alone.read_history(), whole.read_history(), strict=True):
        assert record["learning_rate"] == expected["learning_rate"]
        assert record["train_loss"] == pytest.approx(expected["train_loss"], rel=0.2)


def test_variants_differ_in_their_gradients():
    gradients = {variant: together.gradients(variant)[0] for variant in together.VARIANTS}
    plain = gradients.pop("plain")
    for variant, values in gradients.items():
        assert together.relative_error(values, plain) > 1e-3, variant


def test_single_process_exchanges_nothing():
    values = torch.tensor([1.0, 2.0])
    assert ALONE.sum(values) is values
    assert ALONE.any(True) and not ALONE.any(False)
    assert ALONE.gather({"a": 1}) == [{"a": 1}]
    assert ALONE.broadcast(b"x") == b"x"
    assert ALONE.agree(lambda: 3, dict) == 3


REPORT = {"host": "a", "description": {"training": {"seed": 0}, "sha256": "1"}}


def test_different_results_are_reported_with_rank_and_host():
    other = {"host": "b", "description": {"training": {"seed": 1}, "sha256": "1"}}
    error = _first_error([REPORT, REPORT, other], None)
    assert isinstance(error, UsageError)
    assert str(error).startswith("rank 2 on b differs from rank 0: training.seed from 0 to 1; ")
    assert _first_error([REPORT, REPORT], None) is None


def test_error_of_another_process_is_reported_with_its_exit_code():
    failed = {"host": "b", "error": "no such folder", "exit_code": 2}
    error = _first_error([REPORT, failed], None)
    assert (str(error), error.exit_code) == ("rank 1 on b: no such folder", 2)
    own = FashionCNNError("not here either")
    assert _first_error([failed, failed], own) is own


def test_differences_of_nested_documents():
    before, now = {"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": 1, "c": 4}, "e": 5}
    expected = ["a.c from 2 to 4", "d from 3 to None", "e from None to 5"]
    assert differences(before, now) == expected


@pytest.mark.parametrize(
    "message", ["[gloo/transport/tcp/pair.cc:547] Connection closed by peer", "NCCL error: 2"]
)
def test_errors_of_a_lost_connection_become_one_line(message):
    with pytest.raises(RankError, match="another process of this training has ended"), lost_ranks():
        raise RuntimeError(message)


def test_other_errors_stay_the_same():
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"), lost_ranks():
        raise RuntimeError("shapes cannot be multiplied")


class OneRequested(Ranks):
    """Ranks of which another one was requested to stop."""

    def any(self, flag):
        return True


def test_request_to_another_process_stops_all():
    default = FashionCNNError("terminated")
    assert StopTogether(OneRequested(0, 2), lambda: None, default)() is default
    error = StopTogether(OneRequested(1, 2), lambda: None, default)()
    assert isinstance(error, ReportedError)
    assert error.exit_code == default.exit_code
    assert StopTogether(ALONE, lambda: None, default)() is None
    own = FashionCNNError("interrupted")
    assert StopTogether(ALONE, lambda: own, default)() is own
