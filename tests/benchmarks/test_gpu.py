"""`benchmarks/gpu.py` in miniature, on the CPU."""

import json

import pytest

import gpu

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
