import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("optuna", reason="needs the extra [tune]")

from fashioncnn.cli.tune import parse_time
from fashioncnn.config import resolve
from fashioncnn.errors import UsageError
from fashioncnn.tuning.study import SearchFolder

SPACE = """\
[optimizer]
learning_rate = { low = 1e-3, high = 1e-2, log = true }
[model]
dropout = { low = 0.0, high = 0.7 }
hidden = { low = 16, high = 32 }
"""
FIXED = ["--set", "model.channels=[4, 8]", "--set", "threads=1", "--device", "cpu"]


@pytest.fixture
def tune(idx_folder):
    """The command with a small space on the small slice."""
    Path("space.toml").write_text(SPACE)
    return ["tune", "--space", "space.toml", "--data", str(idx_folder), "--epochs", "2", *FIXED]


def test_it_ends_in_a_report_and_a_recipe_that_trains(cli, tune, idx_folder):
    code, out, err = cli(*tune, "--trials", "3")
    assert code == 0, err
    assert "Best trials" in out
    assert "learning_rate" in out
    assert err.count("trial 0  loss") == 1
    assert "3/3  trial 2" in err
    assert f"fashioncnn train runs/tune-baseline/best.toml --data {idx_folder}" in err
    names = {p.name for p in Path("runs/tune-baseline").iterdir()}
    assert names == {"best.toml", "journal.log", "report.html", "report.md", "search.toml"}
    page = Path("runs/tune-baseline/report.html").read_text()
    for title in ("Loss by trial", "Values of the complete trials", "Best trials", "best.toml"):
        assert title in page
    assert 'src="http' not in page
    assert "<link" not in page
    assert "not Fashion-MNIST" in page
    best = "runs/tune-baseline/best.toml"
    trained = cli.json("train", best, "--data", idx_folder, "--device", "cpu", "--out", "run")
    assert trained["summary"]["epochs"] == 2
    document = cli.json(*tune, "--trials", "3")
    assert [t["state"] for t in document["trials"]] == ["complete"] * 3
    losses = [t["loss"] for t in document["trials"]]
    assert document["best"]["loss"] == min(losses)
    dropout = document["best"]["parameters"]["model.dropout"]
    assert resolve(best).model.dropout == dropout
    more = cli.json(*tune, "--trials", "4")
    assert [t["loss"] for t in more["trials"]][:3] == losses
    assert len(more["trials"]) == 4


def test_a_folder_is_searched_by_one_process_at_a_time(cli, tune):
    folder = SearchFolder(Path("s"))
    folder.claim()
    with folder.lock():
        assert "another process is searching" in cli.fails(1, *tune, "--out", "s")
    assert not list(folder.path.iterdir())


def test_what_is_set_by_hand_is_not_searched(cli, tune):
    code, _, err = cli(*tune, "--trials", "1", "--set", "model.dropout=0.3")
    assert code == 0, err
    assert "not searched, for --set gives it: model.dropout" in err
    assert resolve("runs/tune-baseline/best.toml").model.dropout == 0.3
    line = cli.fails(
        2, *tune, "--out", "n", "--set", "learning_rate=0.1", "--set", "model.dropout=0.3",
        "--set", "model.hidden=7",
    )  # fmt: skip
    assert "nothing is left to search" in line


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--trials", "0"], "--trials 0: should be 1 or more"),
        (["--jobs", "0"], "--jobs 0"),
        (["--seed", "-1"], "--seed -1"),
        (["--timeout", "soon"], "--timeout soon: should be a time"),
        (["--space", "regularistion"], "did you mean 'regularisation'"),
        (["--space", "nowhere.toml"], "no such file: nowhere.toml"),
        (["--space", "wrong.toml"], "model.hiden: no such setting; did you mean 'model.hidden'"),
        (["--space", "empty.toml"], "model.hidden: low = 9, high = 3: an empty range"),
        (["--sampler", "grid"], "sampler"),
        (["--trails", "3"], "--trials"),
        (["--set", "model.hiden=3"], "did you mean 'model.hidden'"),
        (["baselin"], "did you mean 'baseline'"),
        (["--device", "cuda:7"], "no such GPU"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_are_one_line_and_leave_nothing(cli, idx_folder, arguments, said):
    Path("wrong.toml").write_text("model.hiden = { low = 3, high = 9 }")
    Path("empty.toml").write_text("model.hidden = { low = 9, high = 3 }")
    before = set(Path().iterdir())
    assert said in cli.fails(2, "tune", "--data", idx_folder, *arguments)
    assert set(Path().iterdir()) == before


def test_another_search_in_the_folder_is_refused(cli, tune):
    cli.ok(*tune, "--trials", "1", "--out", "s")
    best = Path("s/best.toml").read_bytes()
    assert "seed is 0 there and 1 now" in cli.fails(2, *tune, "--out", "s", "--seed", "1")
    told = Path("s/search.toml").read_text()
    older = "".join(line for line in told.splitlines(True) if not line.startswith("averaging"))
    assert older != told
    Path("s/search.toml").write_text(older)  # as a version wrote it that had not this setting
    _, _, err = cli(*tune, "--trials", "1", "--out", "s")
    assert "all 1 trials have ended; go further with --trials 2" in err
    Path("space.toml").write_text(SPACE.replace("32", "33"))
    assert "space.model.hidden.high" in cli.fails(2, *tune, "--out", "s")
    assert Path("s/best.toml").read_bytes() == best


def test_without_optuna_it_says_how_to_install_it(cli, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *_: None if name == "optuna" else find(name)
    )
    assert "pip install 'fashioncnn[tune]'" in cli.fails(1, "tune", "--data", "sketches")


def test_times():
    assert [parse_time(t) for t in ("90", "90s", "1.5m", "2h")] == [90, 90, 90, 7200]
    for text in ("", "0", "-1", "h", "1d", "inf", "nan"):
        with pytest.raises(UsageError, match="should be a time"):
            parse_time(text)


def start(tune, *arguments):
    """Begin the command in a process group of its own, with trials that take a while."""
    command = [sys.executable, "-m", "fashioncnn", *tune, *arguments, "--json"]
    command += ["--epochs=8", "--set", "training.batch_size=4", "--set", "data.validation=10"]
    command.remove("--epochs")
    command.remove("2")
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def wait_for_trials(folder, n, process):
    """Wait until so many trials are complete, and this process has begun to learn the next."""
    journal, deadline = Path(folder, "journal.log"), time.monotonic() + 60
    complete, reported = '"state":1', '"op_code":7'
    before = len(journal.read_text()) if journal.exists() else 0
    while True:
        text = journal.read_text() if journal.exists() else ""
        latest = text[max(before, text.rfind(complete)) :]
        if text.count(complete) >= n and reported in latest:
            return
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def ended(document):
    return [
        (t["state"], t["loss"], t["parameters"])
        for t in document["trials"]
        if t["state"] in ("complete", "pruned")
    ]


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


def test_killed_in_every_way_and_called_again_equals_never_killed(tune):
    if not Path("/proc/self/stat").exists():
        pytest.skip("needs /proc")
    whole, err = start(tune, "--trials", "3", "--out", "whole").communicate(timeout=120)
    process = start(tune, "--trials", "3", "--out", "s")
    wait_for_trials("s", 0, process)
    workers = children(process.pid)
    assert workers
    process.kill()  # the searcher alone: its workers see it by themselves
    process.communicate()
    deadline = time.monotonic() + 20
    while any(map(is_alive, workers)):
        assert time.monotonic() < deadline, "a worker outlived its searcher"
        time.sleep(0.05)
    with Path("s/journal.log").open("ab") as journal:
        journal.write(b'{"op_code":7,"tri')
    for done, number, code in ((0, signal.SIGINT, 130), (1, signal.SIGTERM, 143)):
        process = start(tune, "--trials", "3", "--out", "s")
        wait_for_trials("s", done, process)
        os.killpg(process.pid, number)  # as a terminal does, to the workers too
        out, err = process.communicate(timeout=60)
        assert process.returncode == code, err
        assert out == ""
        assert ("its last 17 bytes" in err) == (number == signal.SIGINT)
        assert "go on with the same command" in err
        assert "Traceback" not in err
    out, err = start(tune, "--trials", "3", "--out", "s").communicate(timeout=120)
    document = json.loads(out)
    assert ended(document) == ended(json.loads(whole))
    assert sum(t["state"] == "lost" for t in document["trials"]) == 3
