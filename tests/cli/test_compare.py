"""``fashioncnn compare``."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from fashioncnn.evaluation.predictions import SplitPredictions, load_predictions, save_predictions
from fashioncnn.files import write_atomic
from fashioncnn.runs import RunFolder
from fashioncnn.settings import SCHEMA

N = 50
NO_METRICS = {"validation": None, "test": None, "summary": {}}
LABELS = (np.arange(N) % 10).astype(np.uint8)


@pytest.fixture
def make_run(trained):
    """Return a function that writes a run with random predictions, which takes no training."""

    def make(
        path,
        seed=0,
        *,
        splits=("validation",),
        learning_rate=0.001,
        images="images",
        labels=LABELS,
        margin=1,
    ):
        settings = RunFolder(Path(trained)).settings()
        optimizer = settings.optimizer.model_copy(update={"learning_rate": learning_rate})
        training = settings.training.model_copy(update={"seed": seed})
        changes = {"optimizer": optimizer, "training": training}
        run = RunFolder(Path(path))
        run.path.mkdir(parents=True)
        shutil.copytree(Path(trained, "model"), run.model)
        write_atomic(run.config, settings.model_copy(update=changes).to_toml().encode())
        run.write_history([])
        run.write_metrics(NO_METRICS)
        logits = np.random.default_rng(seed).normal(size=(N, 10)).astype(np.float32)
        logits[np.arange(N), labels] += margin
        identity = {"model_sha256": str(path), "precision": "fp32"}
        identity |= {f"{split}_sha256": f"{split} {images}" for split in splits}
        save_predictions(
            run.predictions, dict.fromkeys(splits, SplitPredictions(logits, labels)), identity
        )
        return path

    return make


@pytest.fixture
def pair(make_run):
    return make_run("first"), make_run("second", 1)


def test_two_runs_are_compared_on_the_validation_split(cli, pair):
    comparison = cli.json("compare", *pair)
    assert comparison["schema"] == SCHEMA
    assert comparison["split"] == "validation"
    assert comparison["method"].startswith("McNemar")
    assert (comparison["a"]["name"], comparison["b"]["name"]) == pair
    assert [c["name"] for c in comparison["per_class"]] == list("0123456789")
    difference = comparison["b"]["accuracy"] - comparison["a"]["accuracy"]
    assert comparison["accuracy_difference"] == pytest.approx(difference)


def test_tables_and_verdict_are_printed(cli, pair):
    out = cli.ok("compare", *pair)
    for expected in (
        "first (A) and second (B), validation split, 50 images",
        "loss: paired t test over images",
        "Predicted class",
        "significant at the 5% level",
        "not for other seeds",
    ):
        assert expected in out


def test_folders_of_seeds_are_compared_by_their_means(cli, make_run):
    for name, offset in (("plain", 0), ("faster", 2)):
        for seed in (0, 1):
            make_run(f"{name}/{seed}", offset + seed)
    comparison = cli.json("compare", "plain", "faster")
    assert (comparison["a"]["runs"], comparison["b"]["runs"]) == (2, 2)
    assert comparison["method"] == "t test with seeds and images as random factors"
    assert "generalizes to other seeds" in comparison["verdict"]


def test_groups_of_the_same_seeds_are_paired_by_seed(cli, make_run):
    for name, learning_rate in (("a", 0.001), ("b", 0.002)):
        for seed in (2, 10):
            make_run(f"{name}/seed-{seed}", seed, learning_rate=learning_rate)
    comparison = cli.json("compare", "a", "b")
    assert comparison["paired_by_seed"]
    assert comparison["method"].endswith("paired by seed")


def test_groups_of_the_same_folder_name_are_named_by_their_paths(cli, make_run):
    runs = make_run("a/run"), make_run("b/run", 1)
    comparison = cli.json("compare", *runs)
    assert (comparison["a"]["name"], comparison["b"]["name"]) == runs


def test_current_folder_has_a_name(cli, pair, monkeypatch):
    monkeypatch.chdir("first")
    assert cli.json("compare", ".", "../second")["a"]["name"] == "first"


def test_note_lists_settings_other_than_the_seed_that_differ_within_a_folder(cli, make_run):
    for name, offset in (("a", 0), ("b", 2)):
        make_run(f"{name}/0", offset)
        make_run(f"{name}/1", offset + 1, learning_rate=0.002)
    _, _, err = cli("compare", "a", "b")
    expected = "a/1: differs from a/0 in more than its seed: optimizer.learning_rate"
    assert expected in err.splitlines()


def test_unfinished_runs_of_a_folder_are_skipped_with_a_note(cli, make_run):
    for name, offset in (("a", 0), ("b", 3)):
        for seed in range(3):
            make_run(f"{name}/{seed}", offset + seed)
    Path("a/1/metrics.json").unlink()
    code, _, err = cli("compare", "a", "b")
    assert code == 0
    assert "a/1: skipped, not finished" in err.splitlines()


def test_missing_predictions_name_the_command_that_makes_them(cli, pair):
    line = cli.fails(2, "compare", *pair, "--split", "test")
    assert "run: fashioncnn evaluate first" in line


def test_stored_test_predictions_are_compared(cli, make_run):
    runs = [make_run(name, s, splits=("validation", "test")) for s, name in enumerate("ab")]
    assert cli.json("compare", *runs, "--split", "test")["split"] == "test"


@pytest.mark.parametrize("images", ["same", "different"])
def test_auto_split_is_test_unless_all_hold_out_the_same_images(cli, make_run, images):
    runs = make_run("a", splits=("test",)), make_run("b", 1, splits=("test",))
    if images == "different":
        for run in runs:
            path = Path(run, "predictions.npz")
            predictions, identity = load_predictions(path)
            predictions["validation"] = predictions["test"]
            save_predictions(path, predictions, {**identity, "validation_sha256": run})
    assert cli.json("compare", *runs)["split"] == "test"


@pytest.mark.parametrize("damage", ["empty", "identity", "short"])
def test_damaged_predictions_name_the_command_that_makes_them(cli, pair, damage):
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
    line = cli.fails(2, "compare", *pair, "--split", "validation")
    assert "fashioncnn evaluate second --split validation" in line


def test_same_seed_twice_in_a_folder_is_rejected(cli, make_run):
    for name in ("a", "b"):
        make_run(f"{name}/0")
        make_run(f"{name}/1", learning_rate=0.002)
    assert "have the same seed" in cli.fails(2, "compare", "a", "b")


def test_runs_evaluated_on_different_images_are_rejected(cli, make_run):
    runs = make_run("a"), make_run("b", 1, images="others")
    line = cli.fails(1, "compare", *runs, "--split", "validation")
    assert "evaluated on different images" in line


def test_runs_with_different_classes_are_rejected(cli, pair):
    path = Path("second/model/config.json")
    config = {**json.loads(path.read_text()), "checksum": None}
    path.write_text(json.dumps(config).replace('"9"', '"nine"'))
    assert "have different classes" in cli.fails(1, "compare", *pair)


def test_copy_of_a_run_is_rejected(cli, make_run):
    shutil.copytree(make_run("a"), "copy")
    assert "have the same model" in cli.fails(2, "compare", "a", "copy")
    assert "with itself" in cli.fails(2, "compare", "a", "a")


def test_paths_without_finished_runs_are_rejected(cli, make_run):
    Path("empty").mkdir()
    make_run("a")
    assert "no such run folder; name an existing one" in cli.fails(2, "compare", "a", "nowhere")
    assert "neither a run nor a folder" in cli.fails(2, "compare", "a", "empty")
    Path("a/metrics.json").unlink()
    line = cli.fails(2, "compare", "a", "empty")
    assert "a: not finished; resume it with: fashioncnn train --resume a" in line


def test_one_run_and_several_are_rejected(cli, make_run):
    make_run("a")
    make_run("group/1", 1)
    make_run("group/2", 2)
    assert "a is one run and group is 2 runs" in cli.fails(2, "compare", "a", "group")


def test_each_run_is_compared_by_its_own_label_of_several_correct_classes(cli, make_run):
    """As after `train --map shoes=Sandal,Sneaker`: the most probable class is the label."""
    other = np.where(LABELS == 5, 7, LABELS).astype(np.uint8)
    make_run("first", margin=20)
    make_run("second", 1, labels=other, margin=20)
    comparison = cli.json("compare", "first", "second")
    assert (comparison["a"]["accuracy"], comparison["b"]["accuracy"]) == (1, 1)
    assert (comparison["accuracy_difference"], comparison["pairs"]) == (0, [])
