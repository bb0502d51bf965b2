import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

import fashioncnn
from fashioncnn import Classifier, DataError, UsageError
from fashioncnn.api.classifier import classifier_of_model


@pytest.fixture(scope="module")
def evaluation(fitted, images, names):
    return fitted.evaluate(images, names)


def test_history_of_every_source_is_the_same_figure(fitted, evaluation):
    for source in (fitted, evaluation, fitted.history):
        figure = fashioncnn.plot_history(source)
        assert isinstance(figure, Figure)
        (line,) = [line for line in figure.axes[0].lines if line.get_label() == "train"]
        assert line.get_ydata() == [fitted.history[0]["train_accuracy"]]


def test_history_of_a_run(quick, small, tmp_path):
    trained = Classifier.train(data=small, out=tmp_path / "run", **quick)
    loaded = Classifier.load(tmp_path / "run", device="cpu")
    assert loaded.history == trained.history
    assert len(fashioncnn.plot_history(tmp_path / "run").axes) == 2


@pytest.mark.parametrize("source", [3, [1, 2], {"a": 1}, [{"loss": 1}]], ids=repr)
def test_other_sources_of_a_history_are_rejected(source):
    with pytest.raises(UsageError, match="should be a classifier, an evaluation, a run"):
        fashioncnn.plot_history(source)


def test_a_model_without_a_history_is_rejected(tiny_result):
    with pytest.raises(UsageError, match="no epoch"):
        fashioncnn.plot_history(classifier_of_model(tiny_result.model))


def test_confusion_matrix_has_all_classes(evaluation):
    (axes,) = fashioncnn.plot_confusion_matrix(evaluation).axes
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == list(evaluation.class_names)
    with pytest.raises(UsageError, match="should be an evaluation"):
        fashioncnn.plot_confusion_matrix([1])


def test_mistakes_are_drawn_with_their_classes(evaluation):
    figure = fashioncnn.plot_mistakes(evaluation, count=7)
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert len(titles) == 7
    first = evaluation.mistakes[0]
    assert titles[0].startswith(f"{first.true}\n→ {first.predicted}")
    np.testing.assert_array_equal(
        figure.axes[0].images[0].get_array(), evaluation.images[first.index]
    )
    for count in (0, -1, 1.5, "x"):
        with pytest.raises(UsageError, match="count"):
            fashioncnn.plot_mistakes(evaluation, count=count)
    with pytest.raises(UsageError, match="should be an evaluation"):
        fashioncnn.plot_mistakes(dict(evaluation))


def test_a_perfect_model_has_a_figure_without_mistakes(fitted, images):
    evaluation = fitted.evaluate(images, fitted.predict(images))
    assert fashioncnn.plot_mistakes(evaluation).texts[0].get_text() == "no mistakes"


def test_explanation_is_an_image_beside_the_model_input(fitted, images):
    image = fashioncnn.explain(fitted, images[0])
    assert isinstance(image, Image.Image)
    other = fashioncnn.explain(fitted, images[0], label="Bag")
    assert image.size == other.size
    assert np.asarray(image).shape == (264, 472, 3)
    with pytest.raises(DataError, match="label 'Boot'"):
        fashioncnn.explain(fitted, images[0], label="Boot")
    with pytest.raises(UsageError, match="2 images; give one"):
        fashioncnn.explain(fitted, images[:2])
    with pytest.raises(UsageError, match="should be a Classifier"):
        fashioncnn.explain("photo", images[0])


def test_caption_of_an_explanation_says_that_the_model_abstained(monkeypatch, tmp_path):
    """As of predict --explain; a class that the user names is no answer of the model."""
    captions = []
    drawn = "fashioncnn.api.classifier.draw_explanation"
    monkeypatch.setattr(drawn, lambda *arguments: captions.append(arguments[3]))
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    photo = fashioncnn.Classifier.load("photo", backend="onnx")
    (prediction,) = photo.predictions(tmp_path / "noise.png")
    photo.explain(tmp_path / "noise.png")
    photo.explain(tmp_path / "noise.png", label="Bag")
    assert prediction.abstained
    assert captions[0] == f"abstained ({prediction.name} {prediction.probability:.1%})"
    assert captions[1].startswith("Bag ")


def test_a_notebook_shows_figures_without_pyplot(evaluation):
    png = fashioncnn.plot_confusion_matrix(evaluation)._repr_png_()
    assert png.startswith(b"\x89PNG")


def test_the_users_style_is_neither_used_nor_changed(evaluation):
    with mpl.rc_context({"text.usetex": True, "axes.facecolor": "red", "font.size": 30}):
        before = dict(mpl.rcParams)
        figure = fashioncnn.plot_confusion_matrix(evaluation)
        assert figure._repr_png_() == fashioncnn.plot_confusion_matrix(evaluation)._repr_png_()
        assert dict(mpl.rcParams) == before
    assert figure.axes[0].get_facecolor() == (1, 1, 1, 1)


SCRIPT = """
import sys
from fashioncnn.reporting.run_figures import curves_figure
history = [{"epoch": 1, "train_loss": 1.0, "train_accuracy": 0.5, "val_loss": None,
    "val_accuracy": None, "test_loss": None, "test_accuracy": None}]
assert curves_figure(history)._repr_png_().startswith(b"\\x89PNG")
import os
print(os.environ.get("MPLBACKEND"), "matplotlib.pyplot" in sys.modules)
"""


@pytest.mark.parametrize(
    "variables",
    [
        {"MPLBACKEND": "module://matplotlib_inline.backend_inline"},
        {"MPLBACKEND": "module://no_such_module"},
        {"MPLBACKEND": "nonsense"},
        {"MATPLOTLIBRC": "latex"},
        {"MATPLOTLIBRC": "not_utf8"},
        {"MATPLOTLIBRC": "missing"},
    ],
    ids=str,
)
def test_the_environment_does_not_change_figures(variables, tmp_path):
    (tmp_path / "latex").write_text("text.usetex: True\nfont.family: No Such Font\n")
    (tmp_path / "not_utf8").write_bytes(b"axes.grid: maybe\n\xff\xfe")
    if "MATPLOTLIBRC" in variables:
        variables = {"MATPLOTLIBRC": str(tmp_path / variables["MATPLOTLIBRC"])}
    code = f"import os; os.environ.update({variables!r})\n{SCRIPT}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{variables.get('MPLBACKEND')} False\n"
