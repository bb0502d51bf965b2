import argparse
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

import fashioncnn
import photo
from common import portable_settings, write_result
from fashioncnn.artifacts.model_folder import bundled_models
from fashioncnn.config import resolve
from fashioncnn.errors import DataError
from fashioncnn.models.trained_model import load_model
from finetune import Photographs, is_reported

CLASSES = (
    *("dress", "hat", "longsleeve", "outwear", "pants"),
    *("shirt", "shoes", "shorts", "skirt", "t-shirt"),
)


@pytest.fixture
def photographs():
    labels = (np.arange(300) % 10).astype(np.uint8)
    views = [np.full((2, 28, 28), number % 256, np.uint8) for number in range(300)]
    return Photographs([f"{n}.jpg" for n in range(300)], labels, CLASSES, views)


def test_report_set_and_left_out_folders_are_never_trained_on(photographs):
    reported = {i for i, name in enumerate(photographs.names) if is_reported(name)}
    train, held_out = photo.select(photographs, None, None)
    assert set(held_out) == reported
    for fold in (None, 1, 5):
        for leave_out in (None, "hat"):
            train, held_out = photo.select(photographs, fold, leave_out)
            assert not set(train) & {*held_out, *reported}
            assert (fold is None) or not reported & set(held_out)
            assert (1 in photographs.labels[train]) == (leave_out is None)


def test_classes_are_those_of_the_recipe(photographs):
    settings = resolve("photo", assignments=["data.rehearsal_source=none"], environment={})
    data = settings.data.model_copy(update={"rehearsal": None, "classes": FASHION})
    dataset = photo.make_dataset(
        photographs, np.arange(20), settings.model_copy(update={"data": data})
    )
    sets = {
        CLASSES[label]: [FASHION[i] for i in np.flatnonzero(row)]
        for label, row in zip(photographs.labels, dataset.train.allowed, strict=False)
    }
    assert sets["shoes"] == ["Sandal", "Sneaker", "Ankle boot"]
    assert sets["hat"] == sets["shorts"] == sets["skirt"] == []
    assert sets["longsleeve"] == ["Pullover"]


FASHION = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)


def test_stored_views_are_read_back(photographs, tmp_path):
    no_clothing = [np.full((2, 28, 28), n, np.uint8) for n in range(3)]
    photo.save_sources(photo.Sources(photographs, no_clothing), tmp_path / "views.npz")
    stored = photo.read_sources(tmp_path / "views.npz")
    assert stored.photographs.names == photographs.names
    assert stored.photographs.class_names == CLASSES
    np.testing.assert_array_equal(stored.photographs.labels, photographs.labels)
    np.testing.assert_array_equal(stored.photographs.views[7], photographs.views[7])
    np.testing.assert_array_equal(stored.no_clothing, no_clothing)


def test_hash_of_the_files_does_not_depend_on_their_order(photographs):
    positions = np.arange(20)
    assert photo.files_sha256(photographs, positions) == photo.files_sha256(
        photographs, positions[::-1]
    )
    assert photo.files_sha256(photographs, positions) != photo.files_sha256(
        photographs, positions[1:]
    )


def test_names_of_results():
    options = argparse.Namespace(fold=None, leave_out=None, name=None)
    assert photo.result_path(options, 2).name == "report-seed2.json"
    options = argparse.Namespace(fold=1, leave_out="hat", name="long")
    assert photo.result_path(options, 0).name == "fold1-without-hat-long-seed0.json"


def run(call, capsys, *arguments):
    """Return the exit code and the only line on stderr of a call that fails."""
    with pytest.raises(SystemExit) as exit_:
        call(photo, *arguments)
    lines = capsys.readouterr().err.splitlines()
    return exit_.value.code, lines[-1]


@pytest.fixture
def folders(tmp_path):
    """Return a folder of the ten class folders, with an image that cannot be read."""
    for name in CLASSES:
        (tmp_path / "photos" / name).mkdir(parents=True)
        (tmp_path / "photos" / name / "0.jpg").write_bytes(b"broken")
    return tmp_path / "photos"


@pytest.mark.parametrize("path", ["missing", "missing.npz", "file.jpg"])
def test_photographs_that_do_not_exist_are_one_line(call, capsys, tmp_path, path):
    (tmp_path / "file.jpg").write_bytes(b"")
    code, line = run(call, capsys, tmp_path / path)
    assert code == 2
    assert line == f"error: {tmp_path / path}: no folder, and no .npz file of --save-views"


def test_other_folders_are_rejected_before_images_are_read(call, capsys, folders):
    (folders / "socks").mkdir()
    code, line = run(call, capsys, folders)
    assert (code, "has socks; should have the folders t-shirt, pants" in line) == (2, True)
    (folders / "socks").rmdir()
    (folders / "hat" / "0.jpg").unlink()
    (folders / "hat").rmdir()
    code, line = run(call, capsys, folders, "--leave-out", "hat")
    assert (code, line.endswith("photos has no such folder")) == (2, True)


def test_settings_and_models_are_checked_before_images_are_read(call, capsys, folders):
    code, line = run(call, capsys, folders, "--set", "training.epoch=3")
    assert (code, "training.epoch: no such setting" in line) == (2, True)
    code, line = run(call, capsys, folders, "--evaluate", "phot")
    assert (code, "phot: no such run or model folder" in line) == (2, True)
    code, line = run(call, capsys, folders)
    assert (code, "image files cannot be read" in line) == (1, True)


@pytest.mark.parametrize("path", [[], [""]])
def test_a_missing_folder_is_not_the_working_folder(call, capsys, path):
    """As in ``make photo`` without DATA."""
    code, line = run(call, capsys, *path)
    assert (code, "name the folder of photographs" in line) == (2, True)


def test_damaged_or_truncated_views_are_one_line(call, capsys, photographs, tmp_path):
    path = tmp_path / "views.npz"
    photo.save_sources(photo.Sources(photographs, [np.zeros((2, 28, 28), np.uint8)]), path)
    path.write_bytes(path.read_bytes()[:-100])
    code, line = run(call, capsys, path)
    assert (code, f"{path}: not a file of --save-views" in line) == (1, True)
    code, line = run(call, capsys, path, "--save-views", tmp_path / "views")
    assert (code, "should end in .npz" in line) == (2, True)


def test_photographs_without_a_report_set_are_rejected(photographs):
    names = [name for name in photographs.names if not is_reported(name)]
    few = Photographs(names, photographs.labels[: len(names)], CLASSES, photographs.views)
    with pytest.raises(DataError, match="0 of the report set; give the train split"):
        photo.select(few, None, None)


def test_model_without_a_result_is_not_bundled(call, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(photo, "WEIGHTS", tmp_path / "weights")
    code, line = run(call, capsys, "--bundle", tmp_path)
    assert (code, "report-seed0: no such run or model folder" in line) == (2, True)
    shutil.copytree(bundled_models()["photo-zero-shot"], tmp_path / "report-seed0")
    code, line = run(call, capsys, "--bundle", tmp_path)
    assert (code, "report-seed0: not the model of" in line) == (2, True)
    assert not (tmp_path / "weights").exists()


@pytest.fixture
def finished(tmp_path, photographs, monkeypatch):
    """Return the options of a call that an earlier one has carried out, and its result."""
    model = bundled_models()["photo-zero-shot"]
    shutil.copytree(model, tmp_path / "models" / "report-seed0")
    settings = resolve("photo", assignments=["data.rehearsal_source=none"], environment={})
    dataset = SimpleNamespace(hashes={"train": "a hash"})
    monkeypatch.setattr(photo, "FOLDER", tmp_path / "results")
    monkeypatch.setattr(photo, "prepare", lambda *_: (None, settings, dataset))
    options = argparse.Namespace(fold=None, leave_out=None, name=None, models=tmp_path / "models")
    result = {
        "settings": portable_settings(settings),
        "environment": {
            "data": {"sha256": dataset.hashes},
            "packages": {"fashioncnn": fashioncnn.__version__},
        },
        "model_sha256": load_model(model).sha256,
    }
    return options, result


def measure(options, photographs):
    return photo.measure(options, photo.Sources(photographs, []), 0)


def test_seed_that_an_earlier_call_finished_is_not_trained_again(finished, photographs, capsys):
    options, result = finished
    write_result(photo.result_path(options, 0), result)
    assert measure(options, photographs) is None
    assert "report-seed0: finished by an earlier call; remove it to train again" in (
        capsys.readouterr().out
    )


@pytest.mark.parametrize(
    "changed",
    [
        {"settings": {}},
        {"model_sha256": "another"},
        {"environment": {"data": {"sha256": {}}, "packages": {"fashioncnn": "0"}}},
        None,
    ],
)
def test_seed_with_another_result_is_trained_again(finished, photographs, monkeypatch, changed):
    """Killed before its result was written, or with other settings, photographs or version."""
    options, result = finished
    if changed is not None:
        write_result(photo.result_path(options, 0), {**result, **changed})
    monkeypatch.setattr("fashioncnn.training.run.train_model", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        measure(options, photographs)


def test_a_result_of_evaluate_is_no_further_seed(tmp_path, monkeypatch):
    """``--evaluate runs/photo/report-seed0`` writes ``report-seed0-report.json``."""
    monkeypatch.setattr(photo, "FOLDER", tmp_path)
    result = photo.read_result(photo.RESULTS / "photo" / "report-seed0.json")
    for name in ("report-seed0", "report-seed1", "report-seed0-report", "photo-report"):
        write_result(tmp_path / f"{name}.json", result)
    rows = [line.split(" | ")[:2] for line in photo.table().splitlines()[2:]]
    assert sorted(rows) == [
        ["| photo-report", "1"],
        ["| report", "2"],
        ["| report-seed0-report", "1"],
    ]


@pytest.mark.parametrize(
    ("options", "name"),
    [
        (["photos", "--evaluate", "photo", "--leave-out", "hat"], "--leave-out"),
        (["photos", "--evaluate", "photo", "--save-views", "a.npz"], "--evaluate"),
        (["photos", "--bundle", "models"], "photos"),
        (["--table", "--fold", "2"], "--fold"),
        (["photos", "--save-views", "a.npz", "--seeds", "1", "2"], "--seeds"),
    ],
    ids=str,
)
def test_options_without_effect_are_rejected(call, capsys, options, name):
    code, line = run(call, capsys, *options)
    assert (code, f"{name}: has no effect with --" in line) == (2, True)


def test_photographs_of_only_some_folders_are_rejected_before_they_are_read(call, capsys, folders):
    for name in ("shoes", "skirt"):
        shutil.rmtree(folders / name)
    code, line = run(call, capsys, folders)
    assert (code, "photos: lacks the folders shoes, skirt; give the" in line) == (2, True)


def test_views_of_other_folders_are_rejected(call, capsys, photographs, tmp_path):
    path = tmp_path / "views.npz"
    others = Photographs(
        photographs.names, photographs.labels, tuple("abcdefghij"), photographs.views
    )
    photo.save_sources(photo.Sources(others, [np.zeros((2, 28, 28), np.uint8)]), path)
    code, line = run(call, capsys, path, "--leave-out", "hat")
    assert (code, "not a file of --save-views (of the folders a, b" in line) == (1, True)


def test_table_shows_the_folder_that_was_left_out():
    """The AUROC of shorts, which no training image showed, and not that of all folders outside."""
    lines = [line.split(" | ") for line in photo.table().splitlines()]
    column = lines[0].index("AUROC outside")
    by_name = {line[0].removeprefix("| "): line[column] for line in lines}
    for name in ("shorts", "skirt"):
        result = photo.read_result(photo.FOLDER / f"report-without-{name}-seed0.json")
        assert result["left_out"] == name
        expected = f"{result['auroc_by_folder'][name]:.3f}"
        assert by_name[f"report-without-{name}"] == expected != f"{result['outside']['auroc']:.3f}"
