"""Groups of runs that differ only in their seed."""

import json

import pytest

from fashioncnn.evaluation.statistics import mean_and_std
from fashioncnn.reporting.run_report import read_run
from fashioncnn.reporting.seeds import group_by_seed, group_table, seed_table


@pytest.fixture
def reports(make_run):
    """Return a function that makes a report of a run for each tuple of settings."""

    def make(*settings):
        return [read_run(make_run(f"run-{i}", *s)) for i, s in enumerate(settings)]

    return make


def test_mean_and_std_are_over_the_seeds_of_each_group(reports):
    seeds = [(f"training.seed={s}",) for s in range(3)]
    wider = [("model.hidden=8", *s) for s in seeds[:2]]
    runs = reports(*seeds, *wider)
    groups = group_by_seed(runs)
    assert [[r.name for r in g.runs] for g in groups] == [
        ["run-0", "run-1", "run-2"],
        ["run-3", "run-4"],
    ]
    expected = mean_and_std([r.evaluation["accuracy"] for r in runs[3:]])
    assert groups[1].mean_and_std("accuracy") == expected
    table = seed_table(runs)
    assert [row[0] for row in table.rows] == [
        "baseline (model.hidden = 256)",
        "baseline (model.hidden = 8)",
    ]
    mean, std = 100 * expected.mean, 100 * expected.std
    assert table.rows[1][1] == f"{mean:.2f} ± {std:.2f}%"
    half = 12.706204736 * std / 2**0.5  # t quantile for one degree of freedom
    assert table.rows[1][2] == f"{mean - half:.2f}–{min(100, mean + half):.2f}%"
    assert table.rows[1][5:] == ("2", "sketches, test", "run-3; run-4")


@pytest.mark.parametrize(
    "change", ["description='other'", "runtime.threads=3", "data.source='/other/place'"]
)
def test_names_paths_and_hardware_do_not_split_a_group(reports, change):
    assert len(group_by_seed(reports((), (change, "training.seed=1")))) == 1


@pytest.mark.parametrize("change", ["runtime.precision='bf16'", "optimizer.learning_rate=0.5"])
def test_other_settings_split_a_group(reports, change):
    assert len(group_by_seed(reports((), (change, "training.seed=1")))) == 2


def test_other_data_of_the_same_name_splits_a_group(make_run):
    runs = make_run("a"), make_run("b", "training.seed=1")
    environment = json.loads(runs[1].environment.read_bytes())
    environment["data"]["sha256"]["train"] = "c" * 64
    runs[1].environment.write_text(json.dumps(environment))
    assert len(group_by_seed([read_run(run) for run in runs])) == 2


def changed(path, change):
    content = json.loads(path.read_bytes())
    change(content)
    path.write_text(json.dumps(content))


def test_other_initial_weights_split_a_group(make_run):
    """Two models that were fine-tuned in the same way are no seeds of one training."""
    runs = [make_run("a"), make_run("b"), make_run("c", "training.seed=1")]
    for run, digit in zip(runs, "ddf", strict=True):
        changed(run.environment, lambda e, d=digit: e.update(initialized_from=d * 64))
    groups = group_by_seed([read_run(run) for run in runs])
    assert [[run.name for run in group.runs] for group in groups] == [["a"], ["c"]]
    assert [row[0] for row in group_table([read_run(run) for run in runs]).rows] == [
        "baseline (initialized_from = dddddddddddd)",
        "baseline (initialized_from = ffffffffffff)",
    ]


def test_other_size_of_a_custom_network_splits_a_group(make_run):
    """Of an object, only the class is recorded, not what it was created with."""
    custom = "model.name='custom'", "model.network='nets:Net'", "model.kind='instance'"
    runs = [make_run(name, *custom) for name in "ab"]
    changed(runs[1].metrics, lambda metrics: metrics["test"].update(parameters=99))
    table = group_table([read_run(run) for run in runs])
    assert [row[0] for row in table.rows] == [
        "baseline (parameters = 1234)",
        "baseline (parameters = 99)",
    ]


def test_runs_with_the_same_seed_are_counted_once(reports):
    runs = reports((), (), ("training.seed=1",))
    [group] = group_by_seed(runs)
    assert [r.name for r in group.runs] == ["run-0", "run-2"]


def test_single_seeds_have_no_table(reports):
    assert seed_table(reports((), (), ("model.hidden=8",))) is None


def test_runs_that_were_not_evaluated_are_in_no_group(make_run):
    runs = [make_run("a", evaluated=False), make_run("b", "training.seed=1")]
    [group] = group_by_seed([read_run(run) for run in runs])
    assert [r.name for r in group.runs] == ["b"]


def test_label_lists_three_differing_settings_at_most(reports):
    others = ("model.hidden=8", "model.dropout=0.1", "training.epochs=7", "training.batch_size=9")
    table = seed_table(reports((), ("training.seed=1",), others))
    assert table.rows[1][0] == (
        "baseline (model.dropout = 0.1, model.hidden = 8, training.batch_size = 9, …)"
    )
    assert table.rows[1][1].endswith("%")
    assert "±" not in table.rows[1][1]
