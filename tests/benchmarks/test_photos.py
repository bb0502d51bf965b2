"""Photographs, images without clothing, and figures."""

import numpy as np
import pytest
import torch
from PIL import Image

import augmentation_figure
import ood_images
import photograph_figure
import photos
from fashioncnn.images.segmentation import garment_masks
from fashioncnn.images.views import VIEW_FUNCTIONS
from fashioncnn.models.backend import torch_predictor
from fashioncnn.models.trained_model import load_model


def probabilities_of(label, probability):
    """Return probabilities of ten classes, of which all others are equal."""
    row = np.full(10, (1 - probability) / 9)
    row[label] = probability
    return row


@pytest.fixture
def probabilities():
    by_folder = {
        name: np.stack([probabilities_of(labels[0], 0.9)] * 2)
        for name, labels in photos.CLASSES.items()
    }
    # one correct, one incorrect; and two kinds of shoes, both correct
    by_folder["shirt"] = np.stack([probabilities_of(6, 0.55), probabilities_of(0, 0.35)])
    by_folder["shoes"] = np.stack([probabilities_of(5, 0.9), probabilities_of(9, 0.9)])
    return by_folder | {
        name: np.stack([probabilities_of(3, 0.45)]) for name in photos.OTHER_CLOTHING
    }


def highest(probabilities):
    return {name: values.max(1) for name, values in probabilities.items()}


def test_accuracy_counts_every_correct_label_of_a_folder(probabilities):
    cells = photos.accuracy_row("a step", probabilities)
    assert cells[:2] == ("a step", "92.9%")  # 13 of 14
    assert cells[3] == "92.9%"
    assert cells[4:] == (*["100"] * 5, "50", "100")


def test_abstention_counts_correct_and_incorrect_predictions_dropped(probabilities):
    table = photos.abstention_table(probabilities, highest(probabilities), 0.6)
    assert "| 0.600 (own) | 1 of 13 | 1 of 1 | 3 of 3 | 0 of 0 | 100.0% of 12 |" in table
    assert "| 0.300 | 0 of 13 | 0 of 1 | 0 of 3 | 0 of 0 | 92.9% of 14 |" in table


def test_auroc_is_that_of_each_group_and_folder(probabilities):
    table = photos.ood_table(highest(probabilities))
    assert "| hat, shorts, skirt | 3 | 0.929 |" in table  # one of 14 has a lower confidence
    assert "| hat | 1 | 0.929 |" in table
    assert "noise" not in table
    probabilities["noise"] = np.stack([probabilities_of(0, 0.1)])
    assert "| noise | 1 | 1.000 |" in photos.ood_table(highest(probabilities))


def test_ood_images_are_reproducible_and_distinct(tmp_path):
    for name in ("a", "b"):
        ood_images.create_images(tmp_path / name, 2)
    created = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*.png"))
    assert len(created) == 2 * len(photos.NOT_CLOTHING)
    assert {str(path.parent) for path in created} == set(photos.NOT_CLOTHING)
    contents = [(tmp_path / "a" / path).read_bytes() for path in created]
    assert contents == [(tmp_path / "b" / path).read_bytes() for path in created]
    assert len(set(contents)) == len(contents)


def test_drawn_photographs_contain_a_garment_that_is_segmented():
    for photo in photograph_figure.draw_photographs().values():
        garment = garment_masks(photo)[0] > 0.5
        assert 0.1 < garment.mean() < 0.5
        assert not garment[0].any()
        assert not garment[-1].any()


def test_bundled_model_recognizes_drawn_photographs_and_abstains_on_a_texture():
    drawn = photograph_figure.draw_photographs()
    predictor = torch_predictor(load_model(photos.Path("photo")))
    spec = predictor.spec
    texture = ood_images.texture(np.random.default_rng(0))
    folders = {name: [image] for name, image in (*drawn.items(), ("texture", texture))}
    probabilities, confidences = photos.predict_folders(
        predictor, folders, VIEW_FUNCTIONS[spec.preprocessing.views]
    )
    classes = {name: spec.labels[p[0].argmax()] for name, p in probabilities.items()}
    assert all(classes[name] == name for name in drawn)
    kept = {name: bool(c[0] >= spec.abstain_below) for name, c in confidences.items()}
    assert kept == {**dict.fromkeys(drawn, True), "texture": False}


def test_tables_of_photographs_have_every_step(call, probabilities, tmp_path, monkeypatch):
    for name in (*photos.CLASSES, *photos.OTHER_CLOTHING):
        (tmp_path / "photos" / name).mkdir(parents=True)
        Image.new("RGB", (30, 40)).save(tmp_path / "photos" / name / "1.png")
    for name in photos.NOT_CLOTHING:
        (tmp_path / "ood" / name).mkdir(parents=True)
        Image.new("RGB", (30, 40)).save(tmp_path / "ood" / name / "1.png")
        probabilities[name] = np.stack([probabilities_of(0, 0.2)])
    steps = []

    def predict_folders(model, images, view_function):
        steps.append(view_function(images["hat"][0], 28).shape)
        return probabilities, highest(probabilities)

    monkeypatch.setattr(photos, "predict_folders", predict_folders)
    arguments = "--photos", tmp_path / "photos", "--ood", tmp_path / "ood", "--plain", "accurate"
    accuracy, ood, abstention = call(photos, *arguments).split("\n\n")
    rows = accuracy.splitlines()[2:]
    assert len(rows) == len(steps) - 1 == 7
    assert steps[0] == (1, 28, 28)
    assert steps[-1][0] > 2, "several views, as in predict"
    assert rows[0].startswith("| grey, squeezed, inverted | 92.9% |")
    assert "| noise, textures, text, charts, shapes | 5 | 1.000 |" in ood
    assert "(own)" in abstention


def test_photograph_figure_has_a_row_per_photograph(call, tmp_path):
    call(photograph_figure, tmp_path / "figure.png", "--model", "photo")
    with Image.open(tmp_path / "figure.png") as figure:
        assert figure.size == (12 + 8 * 180, 24 + 3 * 210)


def test_augmentation_figure_changes_the_images(small, call, tmp_path, idx_folder, monkeypatch):
    original = augmentation_figure.augment_examples(small.train, {})
    flipped = augmentation_figure.augment_examples(small.train, {"flip": 1.0})
    torch.testing.assert_close(flipped, original.flip(3).float(), rtol=0, atol=0.01)
    monkeypatch.setenv("FASHIONCNN_DATA", str(idx_folder))
    call(augmentation_figure, tmp_path / "new" / "figure.png")
    with Image.open(tmp_path / "new" / "figure.png") as figure:
        assert figure.height > 1000
