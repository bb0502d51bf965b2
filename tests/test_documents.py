"""Documents of a run with impossible values: one error in `read_run`, none in what reports show."""

import json
import random
import shutil

import pytest

from fashioncnn.documents import check_document
from fashioncnn.errors import FashionCNNError, RunError
from fashioncnn.reporting.run_report import read_run
from fashioncnn.reporting.tables import metrics_tables, summary_table
from fashioncnn.runs import RunFolder, open_run

from .test_mutations import mutate_json


@pytest.fixture
def run(request, tmp_path):
    """A copy of a run folder of version 0.1."""
    source = request.config.rootpath / "tests" / "fixtures" / "run-0b4f578"
    shutil.copytree(source, tmp_path / "run")
    return open_run(tmp_path / "run")


def test_documents_of_old_runs_are_valid(run):
    assert read_run(run).metrics["summary"]["epochs"] == 2


@pytest.mark.parametrize("name", ["metrics.json", "environment.json", "history.jsonl"])
def test_mutated_documents_are_rejected_or_usable(run, name):
    path, rng = run.path / name, random.Random(3)
    text = path.read_text()
    documents = [json.loads(t) for t in (text.splitlines() if name[-1] == "l" else [text])]
    rejected = 0
    for _ in range(300):
        lines = mutate_json(documents, rng)
        path.write_text("\n".join(map(json.dumps, lines)))
        try:
            report = read_run(run)
        except FashionCNNError as error:
            assert "\n" not in str(error)
            rejected += 1
        else:
            for split in ("validation", "test"):
                if report.metrics[split]:
                    metrics_tables(report.metrics[split])
            summary_table(report.metrics["summary"])
    assert rejected > 20


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("n", 0, "validation.n: Input should be greater than or equal to 1"),
        ("accuracy", 1.5, "validation.accuracy: Input should be less than or equal to 1"),
        ("accuracy", "0.5", "validation.accuracy: Input should be a valid number"),
        ("confusion", [[1]], "validation: confusion: not 10 rows of 10 counts"),
        ("calibrated", None, "validation.calibrated"),
    ],
)
def test_impossible_metric_is_reported_with_its_key(run, key, value, message):
    metrics = json.loads(run.metrics.read_text())
    metrics["validation"][key] = value
    run.metrics.write_text(json.dumps(metrics))
    with pytest.raises(RunError) as caught:
        run.read_metrics()
    assert f"metrics.json: damaged ({message}" in str(caught.value)


def test_class_without_images_has_no_accuracy(run):
    metrics = json.loads(run.metrics.read_text())
    metrics["validation"]["per_class"][1] |= {"n": 0, "accuracy": None, "errors": 0}
    run.metrics.write_text(json.dumps(metrics))
    report = read_run(run)
    assert metrics_tables(report.metrics["validation"])


def test_new_keys_are_allowed(run):
    metrics = json.loads(run.metrics.read_text())
    check_document("metrics", {**metrics, "other": [1]})


def test_metrics_of_a_missing_run_are_reported(tmp_path):
    with pytest.raises(RunError, match="No such file"):
        RunFolder(tmp_path).read_metrics()
