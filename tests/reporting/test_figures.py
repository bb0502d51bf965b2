"""Figures as SVG and PNG."""

import re

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from fashioncnn.reporting import run_figures
from fashioncnn.reporting.figures import PAGE_COLORS, SERIES_COLORS, TEXT_COLOR, to_svg
from fashioncnn.reporting.run_figures import (
    comparison_svg,
    curves_svg,
    series_style,
    write_confusion_matrix,
)

from .conftest import record

HISTORY = [record(epoch) for epoch in (1, 2)]


def line_figure(color="#0072B2"):
    figure = Figure(figsize=(2, 1))
    figure.subplots().plot([0, 1], [0, 1], color=color)
    return figure


def test_svg_has_an_escaped_text_alternative():
    svg = to_svg(line_figure(), 'loss of "a" & <b>')
    text = "loss of &quot;a&quot; &amp; &lt;b&gt;"
    assert svg.startswith(f'<svg role="img" aria-label="{text}" viewBox=')
    assert f"><title>{text}</title>" in svg


def test_svg_colors_follow_the_page():
    svg = to_svg(line_figure(SERIES_COLORS[1]), "line")
    assert "stroke: var(--series-orange)" in svg
    assert SERIES_COLORS[1].lower() not in svg


def test_svg_does_not_style_the_page_around_it():
    assert "<style" not in to_svg(line_figure(), "line")


def test_equal_figures_with_different_labels_have_distinct_ids():
    first, second = (
        set(re.findall(r' id="([^"]+)"', to_svg(line_figure(), label))) for label in "ab"
    )
    assert first
    assert first.isdisjoint(second)


def test_text_alternative_of_curves_has_the_final_values():
    svg = curves_svg(HISTORY, "accuracy", "run-1")
    assert (
        'aria-label="Accuracy of run-1 by epoch; after epoch 2: train 60.00%, test 80.00%"' in svg
    )


def test_legend_of_curves_is_below_the_axes(monkeypatch):
    drawn = []
    monkeypatch.setattr(run_figures, "to_svg", lambda figure, label: drawn.append(figure))
    curves_svg(HISTORY, "loss", "run")
    [figure] = drawn
    figure.draw_without_rendering()
    [legend], [axes] = figure.legends, figure.axes
    assert [text.get_text() for text in legend.get_texts()] == ["train", "test"]
    assert legend.get_window_extent().y1 <= axes.get_window_extent().y0


def test_comparison_of_ten_runs_has_no_legend_over_the_curves(monkeypatch):
    drawn = []
    monkeypatch.setattr(run_figures, "to_svg", lambda figure, label: drawn.append((figure, label)))
    comparison_svg([HISTORY] * 10, "test", "accuracy")
    [(figure, label)] = drawn
    assert figure.legends == []
    assert figure.axes[0].get_legend() is None
    assert len(figure.axes[0].lines) == 10
    assert label == "Test accuracy by epoch, one line per run; final values from 80.00% to 80.00%"


def test_curve_of_one_epoch_is_a_visible_point(monkeypatch):
    drawn = []
    monkeypatch.setattr(run_figures, "to_svg", lambda figure, label: drawn.append(figure))
    comparison_svg([HISTORY[:1]], "test", "loss")
    assert drawn[0].axes[0].lines[0].get_marker() == "o"


def test_28_runs_have_distinct_line_styles():
    styles = [series_style(index) for index in range(29)]
    assert len(set(styles[:28])) == 28
    assert styles[28] == styles[0]
    assert all(style.page_color in PAGE_COLORS.values() for style in styles)
    assert styles[0].dasharray == ""
    assert styles[7].dasharray == "7.2 2.88"
    assert TEXT_COLOR in {style.color for style in styles}


@pytest.mark.parametrize(("value", "color"), [(0.1, "black"), (1.0, "white")])
def test_text_on_a_background_has_the_higher_contrast(value, color):
    background = np.array([0.0, 0.3, 0.9]) * value + (1 - value)
    assert run_figures._text_color(background) == color


@pytest.mark.parametrize(("classes", "counts"), [(3, 3), (31, 0)])
def test_confusion_matrix_has_counts_for_up_to_30_classes(monkeypatch, tmp_path, classes, counts):
    drawn = []
    monkeypatch.setattr(run_figures, "write_png", lambda figure, path: drawn.append(figure))
    evaluation = {
        "confusion": np.eye(classes, dtype=int).tolist(),
        "per_class": [{"name": str(i)} for i in range(classes)],
        "dataset": "small",
        "split": "test",
        "accuracy": 0.5,
        "n": 2000,
    }
    write_confusion_matrix(evaluation, tmp_path / "matrix.png")
    [axes] = drawn[0].axes
    assert len(axes.texts) == counts
    assert axes.get_title(loc="left") == "small, test accuracy 50.00% (n = 2,000)"


def test_dollar_signs_in_class_names_are_not_a_formula(tmp_path):
    evaluation = {
        "confusion": [[1]],
        "per_class": [{"name": "$\\frac{$"}],
        "dataset": "$x",
        "split": "test",
        "accuracy": 1.0,
        "n": 1,
    }
    write_confusion_matrix(evaluation, tmp_path / "matrix.png")
    with Image.open(tmp_path / "matrix.png") as image:
        assert min(image.size) > 400
