"""Content of report.html and report.md."""

import json
import re
from collections import Counter
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from fashioncnn.reporting.mistakes import MISTAKES_SHOWN
from fashioncnn.reporting.page import page_template, render_page
from fashioncnn.reporting.report import to_markdown, write_comparison, write_run_report
from fashioncnn.reporting.run_report import read_run
from fashioncnn.reporting.tables import CHOSEN_ON_TEST

NAME_WITH_MARKUP = "<img src=x onerror=alert(1)>|`$x_y_z$`[a](b)*c*"


class Page(HTMLParser):
    """Collects tags, ids, attributes with references and table headers; checks the nesting."""

    VOID = frozenset({"meta", "img", "br", "link", "input", "hr"})

    def __init__(self, text):
        super().__init__()
        self.references, self.open, self.tags, self.ids = [], [], [], []
        self.images_without_text = 0
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.handle_startendtag(tag, attributes)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        values = dict(attributes)
        self.tags.append(tag)
        self.ids += [v for k, v in attributes if k == "id"]
        self.references += [v for k, v in attributes if k in ("src", "href", "xlink:href")]
        hidden = values.get("aria-hidden") == "true"
        text = values.get("alt" if tag == "img" else "aria-label")
        self.images_without_text += tag in ("img", "svg") and not text and not hidden

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def checked_page(*reports):
    """Return the page of the reports after checks that every page must pass."""
    text = render_page(reports)
    page = Page(text)
    assert text.startswith('<!doctype html>\n<html lang="en">')
    assert '<meta name="viewport"' in text
    assert page.open == []
    assert all(r.startswith(("data:", "#")) for r in page.references)
    assert "http" not in text
    assert not re.findall(r"url\((?!#)", text)
    assert not {"script", "link", "iframe"} & set(page.tags)
    assert page.images_without_text == 0
    assert [name for name, count in Counter(page.ids).items() if count > 1] == []
    targets = re.findall(r'(?:href="#|url\(#)([^")]+)', text)
    assert set(targets) <= set(page.ids)
    return text


def test_page_of_a_run_is_self_contained_and_shows_the_evaluation(run, evaluated_images):
    text = checked_page(read_run(run, {"test": evaluated_images}))
    assert text.index("this is not Fashion-MNIST") < text.index("test accuracy")
    assert CHOSEN_ON_TEST in text
    assert text.count("<svg") == 2
    evaluation = json.loads(run.metrics.read_bytes())["test"]
    assert f"{100 * evaluation['accuracy']:.2f}%" in text
    errors = sum(c["errors"] for c in evaluation["per_class"])
    assert text.count("data:image/png;base64,") == min(MISTAKES_SHOWN, errors)


def test_report_of_a_run_is_written_into_its_folder(run):
    path = write_run_report(run)
    assert path == run.path / "report.html"
    assert path.read_text("utf-8") == render_page([read_run(run)])
    assert (run.path / "report.md").read_text("utf-8") == to_markdown([read_run(run)])
    for name in ("curves.png", "confusion_matrix.png"):
        with Image.open(run.path / name) as image:
            assert min(image.size) > 400
            assert np.asarray(image.convert("L")).std() > 10


def test_markdown_has_the_tables_of_the_page(run):
    text = to_markdown([read_run(run)])
    for title in ("Performance summary", "Per-class performance", "Most confused pairs"):
        assert f"### {title}" in text
    assert "**Synthetic sketches: this is not Fashion-MNIST.**" in text


def test_page_of_several_runs_has_tables_legend_and_sections(make_run):
    names = ["a", "b", "c"]
    settings = [[], ["training.seed=1"], ["model.hidden=8"]]
    runs = [make_run(name, *s) for name, s in zip(names, settings, strict=True)]
    text = checked_page(*map(read_run, runs))
    titles = ("3 runs side by side", "Mean over seeds", "Accuracy by class", "Settings that differ")
    assert all(title in text for title in titles)
    assert text.index("this is not Fashion-MNIST") < text.index("Runs side by side")
    assert text.count("<details>") == 3
    assert text.count('role="img"') == 2 + 3 * 2  # test accuracy and loss, and two per run
    legend = text[text.index('class="legend"') : text.index("</ul>")]
    assert re.findall(r"</svg>(\w+)</li>", legend) == names


def test_several_runs_are_written_into_one_folder(make_run, tmp_path):
    reports = [read_run(make_run("a")), read_run(make_run("b", "training.seed=1"))]
    path = write_comparison(reports, tmp_path / "new" / "folder")
    assert path == tmp_path / "new" / "folder" / "report.html"
    assert "2 runs side by side" in path.read_text("utf-8")
    markdown = path.with_suffix(".md").read_text("utf-8")
    assert "## b: baseline on sketches" in markdown
    assert "\n| Run | Accuracy | 95% interval |" in markdown


def test_settings_that_differ_are_listed_for_each_run(make_run):
    reports = [read_run(make_run("a")), read_run(make_run("b", "model.hidden=8"))]
    assert "| model.hidden | 256 | 8 |" in to_markdown(reports)
    twins = [read_run(make_run("c")), read_run(make_run("d"))]
    assert "All settings are the same." in to_markdown(twins)


def test_runs_with_different_classes_have_no_table_by_class(make_run, small):
    class_names = ("other", *small.class_names[1:])
    reports = [read_run(make_run("a")), read_run(make_run("b", class_names=class_names))]
    assert "### Accuracy by class" not in to_markdown(reports)


def test_markup_in_names_is_neutralized_on_page_and_in_markdown(make_run, small):
    class_names = (NAME_WITH_MARKUP, *small.class_names[1:])
    run = make_run("run", class_names=class_names, dataset=NAME_WITH_MARKUP)
    report = read_run(run, {"test": small.test}, name=NAME_WITH_MARKUP)
    assert "<img src=x" not in checked_page(report)
    markdown = to_markdown([report, read_run(run, name="b")])
    assert "<img" not in markdown
    escaped = r"&lt;img src=x onerror=alert(1)&gt;\|\`\$x_y_z\$\`\[a\](b)\*c\*"
    assert f"## {escaped}: baseline on {escaped}" in markdown
    rows = [line for line in markdown.splitlines() if line.startswith("|")]
    columns = [len(re.findall(r"(?<!\\)\|", row)) for row in rows]
    assert max(columns) == 10, "a name added a column to a table"


def test_unencodable_and_control_characters_in_names_are_replaced(make_run):
    run = make_run("caf\udce9\n<b>", dataset="own \x1b data", evaluated=False)
    text = checked_page(read_run(run))
    assert "caf\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}&lt;b&gt;" in text
    assert "\x1b" not in text


def test_run_without_evaluation_explains_how_to_evaluate_it(make_run):
    text = checked_page(read_run(make_run("run", evaluated=False)))
    assert "Not evaluated" in text
    assert "fashioncnn evaluate" in text


def test_training_time_of_teachers_is_reported(run):
    metrics = json.loads(run.metrics.read_bytes())
    metrics["summary"]["teacher_seconds"] = 34.0
    run.metrics.write_text(json.dumps(metrics))
    assert "12 s for 2 epochs, after 34 s for the teachers" in checked_page(read_run(run))


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_page_colors_have_sufficient_contrast(mode):
    """Text at least 4.5:1 and curves at least 3:1 (WCAG 2.2, 1.4.3 and 1.4.11)."""
    style = page_template("base.html.j2").render(version="")
    light, dark = style[: style.index("* {")].split("@media")
    colors = dict(re.findall(r"--([\w-]+): (#\w{6})", light if mode == "light" else dark))
    for background in ("background", "surface", "warning", "correct-tint", "incorrect-tint"):
        assert contrast(colors["text"], colors[background]) >= 4.5
    for background in ("background", "surface"):
        assert contrast(colors["muted"], colors[background]) >= 4.5
    lines = [name for name in colors if name.startswith("series-")]
    assert len(lines) == 6
    for name in (*lines, "correct", "incorrect"):
        assert contrast(colors[name], colors["surface"]) >= 3


def contrast(first, second):
    """Return the contrast ratio of two colors, ``#rrggbb`` (WCAG 2.2)."""

    def luminance(color):
        channels = np.array([int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)])
        linear = np.where(
            channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4
        )
        return linear @ [0.2126, 0.7152, 0.0722]

    high, low = sorted((luminance(first), luminance(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)
