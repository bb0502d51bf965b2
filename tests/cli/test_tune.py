"""The command; its workers are threads that train nothing, except where a test says otherwise."""

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("optuna", reason="needs the extra [tune]")

from fashioncnn.cli.tune import parse_time
from fashioncnn.config import resolve
from fashioncnn.data.load import load_dataset
from fashioncnn.errors import DivergedError, UsageError
from fashioncnn.evaluation.calibration import calibrated_loss
from fashioncnn.training.prepare import prepare_settings
from fashioncnn.training.run import train_model
from fashioncnn.tuning.folder import SearchFolder

from ..tuning.helpers import ThreadContext, fake_train_model

SPACE = """\
[optimizer]
learning_rate = { low = 1e-3, high = 1e-2, log = true }
[model]
dropout = { low = 0.0, high = 0.7 }
hidden = { low = 16, high = 32 }
"""
FIXED = [
    "--set", "model.channels=[4, 8]", "--set", "threads=1", "--set", "kernels=torch",
    "--device", "cpu",
]  # fmt: skip


@pytest.fixture
def arguments(idx_folder):
    """The command with a small space on 300 drawings."""
    Path("space.toml").write_text(SPACE)
    return ["tune", "--space", "space.toml", "--data", str(idx_folder), *FIXED]


@pytest.fixture
def tune(arguments, monkeypatch):
    """The same, with workers that are threads."""
    monkeypatch.setattr("multiprocessing.get_context", lambda method: ThreadContext)
    monkeypatch.setattr("multiprocessing.resource_tracker.ensure_running", lambda: None)
    monkeypatch.setattr("os.fsync", lambda descriptor: None)
    return [*arguments, "--epochs", "2", "--finalists", "0"]


@pytest.fixture
def fake_tune(tune, monkeypatch):
    """The same, with trials that train nothing."""
    monkeypatch.setattr("fashioncnn.tuning.worker.train_model", fake_train_model)
    return tune


def test_search_writes_report_and_best_recipe(cli, fake_tune, idx_folder):
    code, out, err = cli(*fake_tune, "--trials", "3")
    assert code == 0, err
    assert "Best trials" in out
    assert "learning_rate" in out
    assert "baseline on own: trials 3, settings 3, epochs 2, sampler tpe, jobs 1" in err
    assert re.search(r"^1/3  trial 0  loss 0\.\d{4}  50\.00%  \d+ s  best ", err, re.MULTILINE)
    assert re.search(r"^3/3  trial 2  .*  learning_rate 0\.\d+, dropout ", err, re.MULTILINE)
    assert f"fashioncnn train runs/tune-baseline/best.toml --data {idx_folder}" in err
    folder = Path("runs/tune-baseline")
    names = {path.name for path in folder.iterdir()}
    assert names == {"best.toml", "journal.log", "report.html", "report.md", "search.toml"}
    page = (folder / "report.html").read_text()
    for title in ("Loss by trial", "Values of the complete trials", "Best trials", "best.toml"):
        assert title in page
    assert "not Fashion-MNIST" in page


def test_repeated_search_reports_its_result_and_more_trials_extend_it(cli, fake_tune):
    first = cli.json(*fake_tune, "--trials", "3")
    assert first["schema"] == 2
    assert [trial["state"] for trial in first["trials"]] == ["complete"] * 3
    assert first["best"]["loss"] == min(trial["loss"] for trial in first["trials"])
    recipe = resolve(first["best_recipe"], environment={})
    assert recipe.model.dropout == first["best"]["parameters"]["model.dropout"]
    code, _, err = cli(*fake_tune, "--trials", "3")
    assert code == 0
    assert "3 trials are finished; extend the search with --trials 6" in err
    extended = cli.json(*fake_tune, "--trials", "4")
    assert extended["trials"][:3] == first["trials"]
    assert len(extended["trials"]) == 4


def test_trials_in_json_have_documented_keys(cli, fake_tune):
    (trial,) = cli.json(*fake_tune, "--trials", "1")["trials"]
    assert trial.pop("seconds") >= 0
    assert trial.pop("parameters").keys() == {
        "optimizer.learning_rate",
        "model.dropout",
        "model.hidden",
    }
    assert trial.pop("loss") > 0.2
    expected = {"number": 0, "state": "complete", "accuracy": 0.5, "epochs": 2}
    assert trial == {**expected, "own": False, "reason": None}


def test_best_recipe_of_a_real_search_trains(cli, tune, idx_folder):
    document = cli.json(*tune, "--trials", "2")
    assert [trial["state"] for trial in document["trials"]] == ["complete"] * 2
    settings = resolve(
        document["best_recipe"],
        flags={"data": str(idx_folder), "device": "cpu"},
        assignments=["kernels=torch", "data.validation=50", "threads=1"],
        environment={},
    )
    dataset = load_dataset(str(idx_folder))
    result = train_model(prepare_settings(settings, dataset), dataset)
    validation = result.predictions["validation"]
    loss = calibrated_loss(validation.logits, validation.labels)
    assert loss == document["best"]["loss"]


def test_folder_locked_by_another_process_is_rejected(cli, fake_tune):
    folder = SearchFolder(Path("s"))
    folder.create()
    with folder.lock():
        assert "another process is searching" in cli.fails(1, *fake_tune, "--out", "s")
    assert not list(folder.path.iterdir())


def test_setting_given_with_set_is_not_searched(cli, fake_tune):
    code, _, err = cli(*fake_tune, "--trials", "1", "--set", "model.dropout=0.3")
    assert code == 0, err
    assert "not searched, because set with --set: model.dropout" in err
    assert resolve("runs/tune-baseline/best.toml", environment={}).model.dropout == 0.3


def test_space_without_remaining_settings_is_rejected(cli, fake_tune):
    given = ["learning_rate=0.1", "model.dropout=0.3", "model.hidden=7"]
    assignments = [text for assignment in given for text in ("--set", assignment)]
    assert "is left to search" in cli.fails(2, *fake_tune, *assignments)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--trials", "0"], "--trials 0: should be greater than or equal to 1"),
        (["--jobs", "0"], "--jobs 0: should be greater than or equal to 1"),
        (["--seed", "-1"], "--seed -1: should be greater than or equal to 0"),
        (["--timeout", "soon"], "--timeout soon: should be a time"),
        (["--trial-timeout", "0"], "--trial-timeout 0: should be a time"),
        (["--finalists", "-1"], "--finalists -1: should be greater than or equal to 0"),
        (["--finalist-seeds", "0"], "--finalist-seeds 0: should be greater than or equal to 1"),
        (["--pruner", "medain"], "pruner"),
        (["--study", "x"], "--study x: names a search in a database; give --storage, too"),
        (["--storage", "mysql://a@b/c"], "--storage mysql://…: should be the address of a"),
        (["--storage", "searches.db"], "--storage: should be the address of a database"),
        (["--space", "regularizatin"], "did you mean 'regularization'"),
        (["--space", "nowhere.toml"], "nowhere.toml: no such file"),
        (["--space", "unknown.toml"], "did you mean 'model.hidden'"),
        (["--space", "empty.toml"], "model.hidden: low = 9, high = 3: low should be less"),
        (["--sampler", "grid"], "sampler"),
        (["--trails", "3"], "--trials"),
        (["--set", "model.hiden=3"], "did you mean 'model.hidden'"),
        (["baselin"], "did you mean 'baseline'"),
        (["--device", "cuda:7"], "cuda:7"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_usage_error_is_one_line_and_writes_nothing(cli, idx_folder, options, message):
    Path("unknown.toml").write_text("model.hiden = { low = 3, high = 9 }")
    Path("empty.toml").write_text("model.hidden = { low = 9, high = 3 }")
    before = set(Path().iterdir())
    assert message in cli.fails(2, "tune", "--data", idx_folder, *options)
    assert set(Path().iterdir()) == before


def test_other_search_in_the_folder_is_rejected(cli, fake_tune):
    cli.ok(*fake_tune, "--trials", "1", "--out", "s")
    before = {path: path.read_bytes() for path in Path("s").iterdir()}
    assert "seed is 0 there and 1 now" in cli.fails(2, *fake_tune, "--out", "s", "--seed", "1")
    Path("space.toml").write_text(SPACE.replace("32", "33"))
    assert "space.model.hidden.high" in cli.fails(2, *fake_tune, "--out", "s")
    assert {path: path.read_bytes() for path in Path("s").iterdir()} == before


def test_search_of_version_0_1_is_rejected_in_one_line(cli, fake_tune):
    cli.ok(*fake_tune, "--trials", "1", "--out", "s")
    search = Path("s/search.toml")
    search.write_text(search.read_text().replace("schema = 2", "schema = 1"))
    assert "start a new search in another folder" in cli.fails(1, *fake_tune, "--out", "s")


def test_missing_optuna_is_reported_with_the_install_command(cli, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *_: None if name == "optuna" else find(name)
    )
    assert "pip install '.[tune]'" in cli.fails(1, "tune", "--data", "sketches")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signal_stops_the_search_with_a_report(cli, fake_tune, monkeypatch, number, code):
    trained = []

    def send_signal(settings, dataset, **options):
        trained.append(settings)
        if len(trained) == 3:
            os.kill(os.getpid(), number)
        return fake_train_model(settings, dataset, **options)

    monkeypatch.setattr("fashioncnn.tuning.worker.train_model", send_signal)
    result, out, err = cli(*fake_tune, "--trials", "50")
    assert result == code, err
    assert out == ""
    assert "report so far: runs/tune-baseline/report.html" in err
    assert err.splitlines()[-1].endswith("finished trials are kept; run the same command to resume")
    assert len(trained) < 50
    resumed = cli.json(*fake_tune, "--trials", "2")
    assert [t["state"] for t in resumed["trials"][:2]] == ["complete"] * 2


def test_incomplete_end_of_the_journal_is_reported(cli, fake_tune):
    cli.ok(*fake_tune, "--trials", "1", "--out", "s")
    with Path("s/journal.log").open("ab") as journal:
        journal.write(b'{"op_code":7,"tri')
    code, _, err = cli(*fake_tune, "--trials", "2", "--out", "s")
    assert code == 0
    assert "s/journal.log: removed an incomplete end of 17 bytes" in err
    assert "s: resumed; trials finished: 1" in err


def test_search_without_complete_trial_fails(cli, fake_tune, monkeypatch):
    assert "run the same command to resume" in cli.fails(1, *fake_tune, "--timeout", "0.000001s")

    def diverge(*arguments, **options):
        raise DivergedError("the loss became nan")

    monkeypatch.setattr("fashioncnn.tuning.worker.train_model", diverge)
    message = cli.fails(1, *fake_tune, "--trials", "2")
    assert "no trial is complete, 2 failed; the last one: the loss became nan" in message


def test_teachers_of_the_recipe_are_not_used_in_trials_but_kept(cli, fake_tune):
    teachers = ["--set", "distillation.ensemble_size=2"]
    _, _, err = cli(*fake_tune, "--trials", "1", *teachers)
    assert "trials train without teachers" in err
    best = resolve("runs/tune-baseline/best.toml", environment={})
    assert best.distillation.ensemble_size == 2


def test_timeout_has_units():
    assert [parse_time(t) for t in ("90", "90s", "1.5m", "2h")] == [90, 90, 90, 7200]


@pytest.mark.parametrize("text", ["", "0", "-1", "h", "1d", "inf", "nan"])
def test_timeout_that_is_not_a_time_is_rejected(text):
    with pytest.raises(UsageError, match="should be a time"):
        parse_time(text)


LONG_TRIALS = [
    "--trials=2", "--epochs=8", "--finalists=0",
    "--set", "training.batch_size=4", "--set", "data.validation=10",
]  # fmt: skip
"""Trials that take long enough to be killed."""


def start(arguments):
    """Start the command in a process group."""
    return subprocess.Popen(
        [sys.executable, "-m", "fashioncnn", *arguments, *LONG_TRIALS, "--out", "s", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for_epoch(folder, process):
    """Wait until this process has stored the loss of an epoch."""
    journal, deadline = Path(folder, "journal.log"), time.monotonic() + 120
    before = _count_epochs(journal)
    while _count_epochs(journal) == before:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _count_epochs(journal):
    return journal.read_text().count('"op_code":7') if journal.exists() else 0


def children(pid):
    listed = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False
    )
    return [int(text) for text in listed.stdout.split()]


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_killed_and_resumed_search_equals_uninterrupted_one(cli, arguments, tune):
    expected = cli.json(*arguments, *LONG_TRIALS, "--out", "expected")
    process = start(arguments)
    wait_for_epoch("s", process)
    workers = children(process.pid)
    assert workers
    process.kill()  # the search alone; its workers must notice
    process.communicate()
    deadline = time.monotonic() + 60
    while any(map(is_alive, workers)):
        assert time.monotonic() < deadline, "a worker outlived the search"
        time.sleep(0.05)
    process = start(arguments)
    wait_for_epoch("s", process)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does for Ctrl-C, to the workers, too
    out, err = process.communicate(timeout=300)
    assert (process.returncode, out) == (130, ""), err
    assert "Traceback" not in err
    out, err = start(arguments).communicate(timeout=300)
    trials = json.loads(out)["trials"]
    assert sum(trial["state"] == "interrupted" for trial in trials) == 2
    finished = [(t["loss"], t["parameters"]) for t in trials if t["state"] == "complete"]
    assert finished == [(t["loss"], t["parameters"]) for t in expected["trials"]]
