import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from .conftest import QUICK


@pytest.fixture
def train(cli, idx_folder):
    def run(out, seed, *more):
        cli.ok("train", "honest", *QUICK, "--data", idx_folder, "--seed", seed, "--out", out, *more)
        return out

    return run


@pytest.fixture
def trained(train):
    return train("run", 0)


def test_two_runs_are_compared_on_validation(cli, trained, train):
    train("second", 1)
    compared = cli.json("compare", trained, "second")
    assert compared["split"] == "validation"
    assert compared["method"].startswith("McNemar")
    assert compared["b"]["name"] == "second"
    assert [c["name"] for c in compared["per_class"]] == list("0123456789")
    difference = compared["b"]["accuracy"] - compared["a"]["accuracy"]
    assert compared["accuracy_difference"] == pytest.approx(difference)
    shown = cli.ok("compare", trained, "second")
    for expected in (
        "validation part",
        "50 images",
        "loss by a paired t test",
        "It was taken for",
        "less A's is",
        "other seeds",
    ):
        assert expected in shown


def test_folders_of_seeds_are_compared_by_their_means(cli, train):
    for name, more in (("plain", []), ("faster", ["--learning-rate", "0.01"])):
        for seed in (0, 1):
            train(f"{name}/{seed}", seed, *more)
    compared = cli.json("compare", "plain", "faster")
    assert (compared["a"]["runs"], compared["b"]["runs"]) == (2, 2)
    assert compared["method"] == "a t test over seeds and images together"
    assert "other seeds" in compared["verdict"]


def test_runs_of_a_group_that_differ_in_more_than_seeds_are_told(cli, train):
    for name in ("a", "b"):
        train(f"{name}/0", 0 if name == "a" else 5)
        train(f"{name}/1", 1 if name == "a" else 6, "--learning-rate", "0.002")
    _, _, err = cli("compare", "a", "b")
    assert "differs from a/0 in more than its seed: optimizer" in err


def test_the_test_part_has_to_be_judged_first(cli, trained, train):
    train("second", 1)
    line = cli.fails(2, "compare", trained, "second", "--split", "test")
    assert f"fashioncnn evaluate {trained}" in line
    for run in (trained, "second"):
        cli.ok("evaluate", run)
    assert cli.json("compare", trained, "second", "--split", "test")["split"] == "test"


def test_without_a_validation_part_it_is_the_test_part(cli, trained, train):
    train("second", 1, "--validation", "0", "--select", "last")
    assert "evaluate" in cli.fails(2, "compare", trained, "second")
    for run in (trained, "second"):
        cli.ok("evaluate", run)
    assert cli.json("compare", trained, "second")["split"] == "test"


def test_predictions_are_all_that_is_compared(cli, trained, train):
    """What judged a run need not have been the command, which notes it in metrics.json."""
    train("second", 1)
    for run in (trained, "second"):
        cli.ok("evaluate", run)
        path = Path(run) / "metrics.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"test": None}))
    assert cli.json("compare", trained, "second", "--split", "test")["split"] == "test"


def test_runs_that_held_out_others_are_compared_on_test(cli, trained, train):
    train("second", 1, "--validation", "60")
    assert "no predictions of the test part" in cli.fails(2, "compare", trained, "second")
    for run in (trained, "second"):
        cli.ok("evaluate", run)
    assert cli.json("compare", trained, "second")["split"] == "test"


@pytest.mark.parametrize("damage", ["empty", "identity", "short"])
def test_damaged_predictions_are_to_be_made_anew(cli, trained, train, damage):
    train("second", 1)
    path = Path("second/predictions.npz")
    with np.load(path) as arrays:
        content = dict(arrays)
    if damage == "identity":
        del content["model_sha256"]
    if damage == "short":
        content["validation_logits"] = content["validation_logits"][:-1]
    np.savez(path, **content)
    if damage == "empty":
        path.write_bytes(b"")
    line = cli.fails(2, "compare", trained, "second", "--split", "validation")
    assert "fashioncnn evaluate second --split validation" in line


def test_equal_seeds_are_no_group(cli, train):
    for name in ("a", "b"):
        train(f"{name}/0", 0)
        train(f"{name}/1", 0, "--learning-rate", "0.002")
    assert "same seed" in cli.fails(2, "compare", "a", "b")


def test_other_images_are_not_comparable(cli, trained, train):
    train("second", 1, "--validation", "60")
    line = cli.fails(1, "compare", trained, "second", "--split", "validation")
    assert "different images" in line


def test_what_cannot_be_compared(cli, trained, train, tmp_path):
    Path("empty").mkdir()
    assert "no such run folder" in cli.fails(2, "compare", trained, "nowhere")
    assert "neither a run nor a folder" in cli.fails(2, "compare", trained, "empty")
    shutil.copytree(trained, "copy")
    assert "the very same network" in cli.fails(2, "compare", trained, "copy")
    assert "with itself" in cli.fails(2, "compare", trained, trained)
    train("group/1", 1)
    train("group/2", 2)
    assert "one run with one" in cli.fails(2, "compare", trained, "group")
    Path("copy/metrics.json").unlink()
    assert "--resume copy" in cli.fails(2, "compare", trained, "copy")
