"""Sentences of the model card that depend on model, settings and metrics."""

from dataclasses import replace

import numpy as np
import pytest

from fashioncnn.artifacts.model_card import minimal_card, model_card
from fashioncnn.artifacts.model_folder import CARD, bundled_models, read_description
from fashioncnn.artifacts.ood import OODDetector
from fashioncnn.config import resolve
from fashioncnn.data.dataset import FASHION_MNIST, SKETCHES
from fashioncnn.evaluation.metrics import compute_metrics


def settings(*assignments, recipe="baseline"):
    return resolve(recipe, assignments=assignments, environment={})


def metrics(temperature=1.0):
    logits = np.eye(3, dtype=np.float32)[[0, 1, 2, 0]]
    return compute_metrics(
        logits,
        np.array([0, 1, 2, 1], np.uint8),
        ("a", "b", "c"),
        dataset="closet",
        split="test",
        parameters=1,
        multiply_adds=1,
        temperature=temperature,
    )


@pytest.mark.parametrize(
    ("dataset", "views", "text"),
    [
        (FASHION_MNIST, "fashion", "Images must look like those of the dataset: 28×28"),
        (FASHION_MNIST, "photo", "on a photograph of one item"),
        (FASHION_MNIST, "cutout", "on a photograph of one item"),
        (SKETCHES, "fashion", "this is not Fashion-MNIST"),
        (FASHION_MNIST, "photo", "of separate items, the largest is classified. Bars of one color"),
        ("closet", "photo", "of separate items, the largest is classified. Bars of one color"),
        ("closet", "cutout", "several items in one photograph, drawings and screenshots"),
        ("closet", "plain", "images like those of 'closet'; not for others"),
    ],
)
def test_intended_use_depends_on_dataset_and_views(description, dataset, views, text):
    preprocessing = replace(description.preprocessing, views=views)
    changes = {"dataset": dataset, "preprocessing": preprocessing}
    card = minimal_card(description.model_copy(update=changes))
    assert text in card.split("**Intended use**: ")[1]


def test_bundled_cards_state_the_present_limits():
    for folder in bundled_models().values():
        expected = minimal_card(read_description(folder)).partition("**Intended use**")[2]
        assert (folder / CARD).read_text("utf-8").partition("**Intended use**")[2] == expected


def test_minimal_card_describes_the_network(description):
    card = minimal_card(description)
    assert card.startswith("---\nlibrary_name: fashioncnn\n")
    assert "tags: [pytorch]" in card
    assert "# fashion_cnn on closet" in card
    assert "1,234,567 parameters, 7,654,321 multiply-adds per image" in card
    assert "- **Temperature**: 1\n" in card
    assert "- **Input**: grey, 28×28, uint8" in card
    assert "- **Classes**: a, b, c" in card


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"tta": "flip"}, "- **Temperature**: 1, averaged over horizontal flips"),
        (
            {"abstain_below": 0.25},
            "- **Abstention**: where the highest probability is below 0.250",
        ),
        (
            {"abstain_below": 0.25, "ood_detector": OODDetector(1.0, 0.0)},
            "- **Abstention**: where the probability of being in distribution (OOD detector on "
            "the logit standard deviation) is below 0.250",
        ),
        (
            {"abstain_below": 0.25, "ood_detector": OODDetector(1.0, 0.0, 2.0)},
            "- **Abstention**: where the probability of being in distribution and correct "
            "(logistic regression on the logit standard deviation and the highest probability) is "
            "below 0.250",
        ),
    ],
)
def test_prediction_settings_are_described(description, changes, line):
    assert line in minimal_card(description.model_copy(update=changes)).splitlines()


def test_abstention_is_left_out_if_the_model_never_abstains(description):
    assert "Abstention" not in minimal_card(description)


def test_card_has_training_data_and_metrics(description):
    hashes = {"train": "1" * 64, "test": "2" * 64}
    by_split = {"validation": None, "test": metrics(temperature=0.5)}
    card = model_card(description, settings("training.epochs=3"), hashes, by_split, ["- a note"])
    assert "# baseline on closet" in card
    assert "3 epochs, seed 0, 0 images held out for validation, weights: last" in card
    assert f"- **Data, train**: SHA-256 `{'1' * 64}`" in card
    assert f"- **Data, test**: SHA-256 `{'2' * 64}`" in card
    assert "- a note" in card
    low, high = by_split["test"]["accuracy_ci95"]
    row = next(line for line in card.splitlines() if line.startswith("| test |"))
    assert row.startswith(f"| test | 4 | 75.00% | {low:.2%} – {high:.2%} |")
    assert row.endswith(f"| {by_split['test']['calibrated']['ece']:.4f} |")
    assert "| validation |" not in card


@pytest.mark.parametrize("values", [metrics(), {**metrics(), "calibrated": None}])
def test_calibrated_error_is_left_out_without_a_temperature(description, values):
    card = model_card(description, settings(recipe="fast93"), {}, {"test": values})
    assert card.split("| test |")[1].splitlines()[0].endswith("| – |")


def test_card_without_metrics_says_so(description):
    card = model_card(description, settings("data.validation=5"), {}, {"test": None})
    assert "| not evaluated yet |" in card
    assert "5 images held out for validation" in card


def test_teachers_are_described(description):
    distilled = settings(
        "distillation.ensemble_size=2",
        "distillation.epochs=5",
        "distillation.alpha=0.5",
        "data.validation=5",
    )
    teachers = {"/somewhere/runs/teacher": "3" * 64, "accurate": "4" * 64}
    lines = model_card(description, distilled, {}, {}, teachers=teachers).splitlines()
    assert f"- **Teacher**: `runs/teacher`, SHA-256 `{'3' * 64}`" in lines
    assert f"- **Teacher**: `accurate`, SHA-256 `{'4' * 64}`" in lines
    assert "- **Teachers**: 2 networks of the same recipe, trained first for 5 epochs each" in lines
    assert "- **Distillation**: alpha 0.5, temperature 1" in lines
    plain = model_card(description, settings("data.validation=5"), {}, {})
    assert "Distillation" not in plain
