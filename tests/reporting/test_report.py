import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from fashioncnn.evaluation.evaluate import evaluation_splits
from PIL import Image

from fashioncnn.errors import RunError
from fashioncnn.evaluation.metrics import softmax
from fashioncnn.evaluation.predictions import load_predictions
from fashioncnn.reporting.report import find_mistakes, read_run, write_comparison, write_run_report
from fashioncnn.runs import RunFolder, create_run
from fashioncnn.training.run import train_model


def finished_run(small, settings, path):
    run = create_run(path, settings)
    train_model(settings, small, run=run)
    return run


@pytest.fixture
def run(small, tiny_settings, tmp_path):
    return finished_run(small, tiny_settings("data.validation=60"), tmp_path / "run-a")


class Page(HTMLParser):
    """Collects what a page refers to, and checks that its tags are closed in order."""

    VOID = frozenset({"meta", "img", "br", "link", "input", "hr"})

    def __init__(self, text):
        super().__init__()
        self.references, self.open, self.tags = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.references += [v for k, v in attributes if k in ("src", "href", "xlink:href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.references += [v for k, v in attributes if k in ("src", "href", "xlink:href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def check_page(path):
    text = path.read_text("utf-8")
    page = Page(text)
    assert page.open == []
    assert all(r.startswith(("data:", "#")) for r in page.references)
    assert "script" not in page.tags
    assert not re.findall(r"url\((?!#)", text)
    return text


def test_page_is_whole_and_needs_nothing_else(run, small):
    path = write_run_report(run, evaluation_splits(small, run.settings()))
    text = check_page(path)
    assert path == run.path / "report.html"
    assert "this is not Fashion-MNIST" in text
    assert text.count("data:image/png;base64,") == 24
    assert text.count("<svg") == 2
    judged = read_run(run).judged
    assert f"{100 * judged['accuracy']:.2f}%" in text


def test_markdown_has_the_same_tables(run, small):
    write_run_report(run, evaluation_splits(small, run.settings()))
    text = (run.path / "report.md").read_text("utf-8")
    for title in ("Performance summary", "Per-class performance", "Most confused pairs"):
        assert f"### {title}" in text
    assert "this is not Fashion-MNIST" in text


def test_figures_are_images_of_use(run):
    write_run_report(run)
    for name in ("curves.png", "confusion_matrix.png"):
        with Image.open(run.path / name) as image:
            assert min(image.size) > 400
            assert np.asarray(image.convert("L")).std() > 10


def test_mistakes_are_wrong_and_most_confident_first(run, small):
    mistakes = read_run(run, evaluation_splits(small, run.settings())).mistakes
    assert len(mistakes) == 24
    assert all(m.true != m.predicted for m in mistakes)
    confidences = [m.confidence for m in mistakes]
    assert confidences == sorted(confidences, reverse=True)


def test_a_mistake_is_as_sure_as_the_model_says_of_the_image(run, small):
    metrics = json.loads(run.metrics.read_bytes())
    metrics["test"]["calibrated"]["temperature"] = 4.0
    logits, _ = load_predictions(run.predictions)[0]["test"]
    mistakes = find_mistakes(run, metrics, evaluation_splits(small, run.settings()))
    told = {round(m.confidence, 6) for m in mistakes}
    assert told <= {round(float(p), 6) for p in softmax(logits / np.float32(4)).max(axis=1)}


def test_images_that_were_not_judged_are_not_shown(run, small):
    assert read_run(run, {"test": small.train}).mistakes == []
    assert read_run(run).mistakes == []


def test_several_runs_side_by_side(run, small, tiny_settings, tmp_path):
    twin = finished_run(small, tiny_settings("data.validation=60", seed=3), tmp_path / "run-b")
    other = finished_run(
        small, tiny_settings("data.validation=60", "model.hidden=8"), tmp_path / "run-c"
    )
    path = write_comparison([read_run(r) for r in (run, twin, other)], tmp_path / "both")
    text = check_page(path)
    for title in ("3 runs side by side", "Accuracy by class", "Where the settings differ"):
        assert title in text
    assert "model.hidden" in text
    assert text.index("this is not Fashion-MNIST") < text.index("Runs side by side")
    assert "mean ± sd, n = 2 seeds" in text
    assert text.count("<svg") == 4 + 3 * 2
    assert "## run-b" in (tmp_path / "both" / "report.md").read_text("utf-8")


def test_one_seed_twice_is_no_spread(run, small, tiny_settings, tmp_path):
    again = finished_run(small, tiny_settings("data.validation=60"), tmp_path / "again")
    page = write_comparison([read_run(r) for r in (run, again)], tmp_path / "both")
    assert "mean ± sd" not in page.read_text("utf-8")


def test_a_name_that_cannot_be_written_down_is_no_fault(run, small):
    odd = RunFolder(run.path.with_name("caf\udce9\n<b>"))
    run.path.rename(odd.path)
    page = write_run_report(odd, evaluation_splits(small, odd.settings()))
    assert "caf\N{REPLACEMENT CHARACTER}" in page.read_text("utf-8")


def test_a_run_that_was_judged_on_nothing_says_so(small, tiny_settings, tmp_path):
    settings = tiny_settings("training.track_test=false")
    run = finished_run(small, settings, tmp_path / "run")
    assert "Not judged yet" in check_page(write_run_report(run))


def test_names_cannot_smuggle_markup_into_the_page(small, tiny_settings, tmp_path):
    evil = "<script>alert(1)</script>"
    names = (evil, *small.class_names[1:])
    data = type(small)("sketches", names, small.train, small.test, "fashion", "sketches")
    run = finished_run(data, tiny_settings(), tmp_path / "run")
    assert evil not in check_page(write_run_report(run))


def test_unfinished_runs_are_refused(tiny_settings, tmp_path):
    with pytest.raises(RunError, match="not finished"):
        read_run(create_run(tmp_path / "run", tiny_settings()))
