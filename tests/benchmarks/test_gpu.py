"""`benchmarks/gpu.py` in miniature, on the CPU."""

import json
import subprocess

import pytest

import gpu
from fashioncnn.config import override
from fashioncnn.errors import UsageError

PLAN = """
[speed]
recipes = ["fast93"]
n = 1

[[train]]
name = "alone"
recipe = "accurate"
validation = true

[[train]]
name = "distilled"
recipe = "accurate"
teachers = ["alone-seed0"]
"""


@pytest.fixture
def plan(tmp_path):
    path = tmp_path / "plan.toml"
    path.write_text(PLAN)
    return path


def run(plan, out, *arguments):
    common = ["--tiny", "--device", "cpu", "--plan", str(plan), "--out", str(out)]
    assert gpu.main([*common, *arguments]) == 0
    return json.loads((out / "results.json").read_text())


@pytest.mark.slow
def test_every_part_of_a_plan_runs_on_a_cpu(plan, tmp_path):
    results = run(plan, tmp_path / "out")
    assert [training["name"] for training in results["trainings"]] == [
        "alone-seed0",
        "distilled-seed0",
    ]
    assert [entry["recipe"] for entry in results["speed"]] == ["fast93"]
    teachers = results["trainings"][1]["settings"]["distillation"]["teachers"]
    assert teachers == ["alone-seed0"]


@pytest.mark.slow
def test_calls_that_share_a_gpu_train_what_they_are_given(plan, tmp_path):
    models = tmp_path / "models"
    run(plan, tmp_path / "first", "--models", str(models), "--only", "alone")
    options = ["--only", "distilled", "--seeds", "3", "--set", "training.epochs=2"]
    results = run(plan, tmp_path / "second", "--models", str(models), *options)
    assert [training["name"] for training in results["trainings"]] == ["distilled-seed3"]
    assert len(results["trainings"][0]["history"]) == 2
    assert results["speed"] == []


@pytest.mark.slow
def test_a_training_is_continued_after_the_time_limit(plan, tmp_path):
    out, options = tmp_path / "out", ["--only", "alone", "--set", "training.epochs=2"]
    assert run(plan, out, *options, "--minutes", "0")["trainings"] == []
    results = run(plan, out, *options)
    whole = run(plan, tmp_path / "whole", *options)
    losses = [[r["train_loss"] for r in x["trainings"][0]["history"]] for x in (results, whole)]
    assert losses[0] == losses[1]
    assert len(losses[0]) == 2


@pytest.fixture
def session(tmp_path):
    """Return a function that starts a session with the same folder as the one before."""

    def start(*arguments):
        common = ["--tiny", "--device", "cpu", "--out", str(tmp_path / "out")]
        return gpu.Session(gpu.parse([*common, *arguments]))

    return start


def test_results_of_earlier_calls_are_kept(session):
    first = session()
    first.results["tests"] = "31 passed"
    first.record("trainings", {"name": "a-seed0", "seconds": 1.0}, "name")
    first.record("throughput", {"recipe": "a", "batch_size": 1, "x": 1}, "recipe", "batch_size")
    first.save()
    second = session()
    second.record("trainings", {"name": "b-seed0", "seconds": 2.0}, "name")
    second.record("throughput", {"recipe": "a", "batch_size": 1, "x": 2}, "recipe", "batch_size")
    second.save()
    results = json.loads((second.options.out / "results.json").read_text())
    assert results["tests"] == "31 passed"
    assert [(t["name"], t["seconds"]) for t in results["trainings"]] == [
        ("a-seed0", 1.0),
        ("b-seed0", 2.0),
    ]
    assert [entry["x"] for entry in results["throughput"]] == [2]


def test_speed_of_the_seeds_before_the_time_limit_is_recorded(session, monkeypatch):
    current = session()
    left = iter([1.0, -1.0])
    monkeypatch.setattr(current, "left", lambda: next(left))
    monkeypatch.setattr(current.options, "tiny", False)
    monkeypatch.setattr(gpu, "prepare", lambda *_: None)
    monkeypatch.setattr(gpu, "train_model", lambda *_: None)
    monkeypatch.setattr(gpu, "evaluate", lambda *_: {"accuracy": 0.9})
    with pytest.raises(gpu.OutOfTimeError, match="fast93, seed 1: not measured"):
        gpu.measure_speed(current, None, ["fast93"], 20)
    [entry] = current.results["speed"]
    assert (entry["recipe"], entry["test_accuracy"]) == ("fast93", [0.9])


@pytest.mark.parametrize("failed", [0, 1])
def test_the_counts_of_the_tests_are_recorded(session, monkeypatch, tmp_path, failed):
    """The line with the counts, which `-q -q` hides."""
    root = tmp_path / "root"
    (root / "tests" / "gpu").mkdir(parents=True)
    (root / "pytest.ini").write_text("[pytest]\naddopts = -q\nmarkers = gpu: x\n")
    (root / "tests" / "gpu" / "test_a.py").write_text(
        "import pytest\n\n@pytest.mark.gpu\n@pytest.mark.parametrize('n', [0, 1])\n"
        f"def test_a(n):\n    assert n >= {failed}\n"
    )
    monkeypatch.setattr(gpu, "ROOT", root)
    current = session()
    gpu.run_tests(current, None)
    counts = "1 failed, 1 passed in " if failed else "2 passed in "
    assert current.results["tests"].startswith(counts)


def test_tests_stop_at_the_time_limit(session, monkeypatch):
    def hang(command, **options):
        assert options["timeout"] > 0
        raise subprocess.TimeoutExpired(command, options["timeout"])

    monkeypatch.setattr(subprocess, "run", hang)
    with pytest.raises(gpu.OutOfTimeError, match="tests: stopped at the time limit"):
        gpu.run_tests(session(), None)


@pytest.mark.parametrize("selected", [("bf16", "mixed"), ("fp32", "torch")])
def test_a_continued_run_keeps_precision_and_kernels(tiny_settings, selected):
    precision, kernels = selected
    settings = tiny_settings()
    values = {"runtime.precision": precision, "runtime.kernels": kernels}
    runtime = gpu.with_selection(settings, override(settings, values)).runtime
    assert (runtime.precision, runtime.kernels) == selected
    elsewhere = override(settings, {**values, "runtime.device": "cuda"})
    assert gpu.with_selection(settings, elsewhere) == settings


@pytest.mark.parametrize(
    ("plan", "only", "message"),
    [
        (None, None, "cannot be read"),
        ("[speed", None, "cannot be read"),
        ("[sped]", None, "no 'sped' (known: tests, throughput, speed, train)"),
        (PLAN, ["alon"], "no 'alon' (known: speed, alone, distilled)"),
    ],
    ids=["missing", "not TOML", "section", "only"],
)
def test_a_plan_that_cannot_run_is_one_line(tmp_path, plan, only, message):
    path = tmp_path / "plan.toml"
    if plan is not None:
        path.write_text(plan)
    with pytest.raises(UsageError) as caught:
        gpu.read_plan(path, only)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_data_is_needed_but_for_the_miniature(capsys):
    with pytest.raises(SystemExit):
        gpu.parse([])
    assert "--data: name the folder" in capsys.readouterr().err
