"""Groups of runs: ``train --seeds``, and how they are continued."""

import json
import statistics
from pathlib import Path

import pytest

from fashioncnn.cli.seeds import parse_seeds
from fashioncnn.errors import UsageError

from .conftest import QUICK, write_stub

GROUP = ["train", *QUICK, "--validation", "60", "--no-track-test"]


@pytest.fixture(autouse=True)
def _no_group_report(request, monkeypatch):
    if "with_report" not in request.fixturenames:
        monkeypatch.setattr(
            "fashioncnn.cli.train_group.write_comparison",
            lambda reports, folder: (folder / "report.html").write_text("not drawn"),
        )


@pytest.mark.parametrize(
    ("text", "seeds"),
    [
        ("0-4", (0, 1, 2, 3, 4)),
        ("0,3,7", (0, 3, 7)),
        ("0-2,9", (0, 1, 2, 9)),
        ("7, 3", (7, 3)),
        ("5", (5,)),
        ("4294967295", (2**32 - 1,)),
    ],
)
def test_seeds_are_ranges_and_lists(text, seeds):
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "should be a range or a list of seeds, as in 0-4"),
        ("a", "should be a range or a list of seeds"),
        ("1-", "should be a range or a list of seeds"),
        ("-1", "should be a range or a list of seeds"),
        ("1.5", "should be a range or a list of seeds"),
        ("0-2-4", "should be a range or a list of seeds"),
        ("4-0", "4-0 should be from 0 to 4294967295, the smaller one first"),
        ("4294967296", "4294967296 should be from 0 to 4294967295"),
        ("0-1,1", "seed 1 is given twice"),
        ("0-1000", "more than 1,000 seeds"),
    ],
)
def test_seeds_that_are_no_list_of_distinct_seeds_are_rejected(text, message):
    with pytest.raises(UsageError, match=rf"--seeds {text}: .*{message}|--seeds {text}: {message}"):
        parse_seeds(text)


@pytest.mark.parametrize("option", [["--seed", "3"], ["--set", "training.seed=3"]])
def test_a_single_seed_beside_seeds_is_rejected(cli, option):
    message = cli.fails(2, *GROUP, "--seeds", "0-1", *option, "--data", "sketches")
    assert "contradicts --seeds 0-1; give only one of them" in message
    assert not Path("runs").exists()


@pytest.fixture
def group(cli, idx_folder):
    """Return the arguments of a finished group of two seeds in ``g``, and its output."""
    arguments = [*GROUP, "--data", idx_folder, "--seeds", "0,3", "--out", "g"]
    return arguments, cli.ok(*arguments)


def test_group_prints_a_line_per_seed_and_the_mean(cli, group):
    _, out = group
    lines = out.splitlines()
    assert len(lines) == 3
    metrics = [json.loads(Path(f"g/seed-{s}/metrics.json").read_text()) for s in (0, 3)]
    accuracy = [100 * m["validation"]["accuracy"] for m in metrics]
    assert lines[0].startswith(f"seed 0: validation accuracy {accuracy[0]:.2f}%, loss ")
    assert lines[1].endswith("→ g/seed-3")
    mean, std = statistics.fmean(accuracy), statistics.stdev(accuracy)
    assert lines[2].startswith(
        f"mean ± sd (n = 2): validation accuracy {mean:.2f} ± {std:.2f}%, loss "
    )


def test_runs_of_a_group_are_those_of_single_trainings(cli, group, idx_folder):
    cli.ok(*GROUP, "--data", idx_folder, "--seed", "3", "--out", "alone")
    alone, of_group = (Path(p, "model", "model.safetensors") for p in ("alone", "g/seed-3"))
    assert alone.read_bytes() == of_group.read_bytes()


def test_json_is_one_document(cli, group):
    arguments, _ = group
    document = cli.json(*arguments)
    assert document["seeds"] == [0, 3]
    assert [(run["seed"], run["run"]) for run in document["runs"]] == [
        (0, "g/seed-0"),
        (3, "g/seed-3"),
    ]
    accuracy = [run["validation"]["accuracy"] for run in document["runs"]]
    mean = document["mean"]["validation"]["accuracy"]
    assert (mean["n"], mean["mean"]) == (2, statistics.fmean(accuracy))
    half_width = 12.706204736 * mean["std"] / 2**0.5  # t quantile for one degree of freedom
    assert mean["ci95"][1] == pytest.approx(mean["mean"] + half_width)
    assert document["mean"]["test"] is None


def test_same_command_skips_what_is_finished(cli, group):
    arguments, first = group
    before = {p: p.stat().st_mtime_ns for p in Path("g").rglob("*")}
    code, out, err = cli(*arguments)
    assert (code, out) == (0, first)
    assert "g: already finished; nothing to do" in err
    assert {p: p.stat().st_mtime_ns for p in Path("g").rglob("*")} == before


@pytest.mark.parametrize("resume", [True, False])
def test_missing_run_is_trained_again(cli, group, resume):
    arguments, first = group
    weights = Path("g/seed-3/model/model.safetensors")
    before = weights.read_bytes()
    for name in ("metrics.json", "report.html", "model/model.safetensors"):
        Path("g/seed-3", name).unlink()
    assert cli.ok(*(["train", "--resume", "g"] if resume else arguments)) == first
    assert weights.read_bytes() == before


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (["--seeds", "0-3"], "its seeds are 0, 3"),
        (["--set", "training.epochs=5"], "training.epochs from 2 to 5"),
        (["--fraction", "0.5"], "data.fraction from 1.0 to 0.5"),
    ],
)
def test_other_group_in_the_folder_is_not_continued(cli, group, option, message):
    arguments, _ = group
    if option[0] == "--seeds":
        arguments = [*arguments[: arguments.index("--seeds")], "--out", "g"]
    last = cli.fails(2, *arguments, *option)
    assert f"--out g: contains another group ({message}); repeat its options" in last


def test_group_is_extended(cli, group):
    cli.ok("train", "--resume", "g", "--epochs", "3")
    for seed in (0, 3):
        assert len(Path(f"g/seed-{seed}/history.jsonl").read_text().splitlines()) == 3
    assert Path("g/report.html").exists()


def test_numbered_group_folder(cli, idx_folder):
    cli.ok(*GROUP, "--data", idx_folder, "--seeds", "1")
    assert Path("runs/train-1/seed-1/metrics.json").exists()
    assert Path("runs/train-1/group.toml").read_text() == "schema = 2\nseeds = [\n    1,\n]\n"


def test_seeds_cannot_be_changed_with_resume(cli, group):
    assert "--seeds: cannot be changed with --resume" in cli.fails(
        2, "train", "--resume", "g", "--seeds", "0-5"
    )


@pytest.mark.parametrize(
    "content", ["", "schema = 2", "schema = 2\nseeds = []", "schema = 2\nseeds = ['a']", "x"]
)
def test_damaged_group_is_reported(cli, group, content):
    Path("g/group.toml").write_text(content)
    assert "g/group.toml: damaged (" in cli.fails(1, "train", "--resume", "g")


def test_group_of_a_later_version_is_reported(cli, group):
    Path("g/group.toml").write_text("schema = 9\nseeds = [0, 3]\n")
    assert "another version of fashioncnn (schema 9)" in cli.fails(1, "train", "--resume", "g")


def test_missing_report_of_a_run_is_written(cli, group, monkeypatch):
    monkeypatch.setattr("fashioncnn.reporting.report.write_run_report", write_stub)
    Path("g/seed-0/report.html").unlink()
    cli.ok("train", "--resume", "g")
    assert Path("g/seed-0/report.html").exists()


def test_evaluating_a_group_evaluates_every_run(cli, group, monkeypatch):
    monkeypatch.setattr(
        "fashioncnn.reporting.report.write_comparison",
        lambda reports, folder: folder / str(len(reports)),
    )
    code, out, err = cli("evaluate", "g")
    assert code == 0
    stored = [json.loads(Path(f"g/seed-{s}/metrics.json").read_text())["test"] for s in (0, 3)]
    accuracy = [of_run["accuracy"] for of_run in stored]
    lines = out.splitlines()
    assert lines[1].startswith(f"seed 3: test accuracy {100 * accuracy[1]:.2f}%")
    assert lines[2].startswith(
        f"mean ± sd (n = 2): test accuracy {100 * statistics.fmean(accuracy):.2f} ± "
    )
    assert "report: g/2" in err
    document = cli.json("evaluate", "g")
    assert [run["test"] for run in document["runs"]] == stored
    assert document["mean"]["test"]["accuracy"]["mean"] == statistics.fmean(accuracy)
    assert "is below --min-accuracy 0.999" in cli("evaluate", "g", "--min-accuracy", "0.999")[2]


def test_unfinished_group_is_not_evaluated(cli, group):
    Path("g/seed-3/metrics.json").unlink()
    message = cli.fails(2, "evaluate", "g")
    assert message.endswith("g: seed-3 not finished; resume with: fashioncnn train --resume g")


def test_a_continued_group_keeps_the_precision_that_it_selected(cli, group, monkeypatch):
    """The measurement of `auto` may select another one today."""
    arguments, first = group
    monkeypatch.setattr("fashioncnn.devices.has_bf16", lambda device: True)
    monkeypatch.setattr("fashioncnn.training.prepare.fastest_candidate", lambda given, *_: given[0])
    assert cli.ok(*arguments, "--precision", "auto") == first
    message = "runtime.precision from 'fp32' to 'bf16'"
    assert message in cli.fails(2, *arguments, "--precision", "bf16")
