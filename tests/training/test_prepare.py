"""Settings that are resolved, or rejected, before anything is written."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fashioncnn.config import resolve
from fashioncnn.errors import UsageError
from fashioncnn.training.prepare import describe_transfer, prepare_settings


def resolve_with(*assignments, recipe="baseline", **flags):
    return resolve(recipe, assignments=assignments, flags=flags, environment={})


def test_auto_is_replaced_by_values(small):
    settings = prepare_settings(resolve_with(recipe="honest", device="cpu"), small)
    assert settings.data.validation == 50
    assert settings.data.views == "fashion"
    assert settings.data.source == "sketches"
    assert "auto" not in settings.runtime.model_dump().values()


def test_folders_become_absolute(small):
    dataset = replace(small, name="own", source="folder")
    assert prepare_settings(resolve_with(), dataset).data.source == str(Path("folder").resolve())


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("model.channels=[4, 4, 4, 4, 4, 4]", "28×28 images"),
        ("data.validation=300", "validation = 300"),
        ("data.image_size=32", "image_size = 32: .* are 28×28"),
        ("augmentation.shift=28", "augmentation.shift = 28"),
        ("runtime.threads=3", r"threads = 3: this process uses 1; call torch.set_num_threads"),
    ],
)
def test_impossible_settings_are_rejected_in_one_line(assignment, message, small):
    with pytest.raises(UsageError, match=message) as caught:
        prepare_settings(resolve_with(assignment), small)
    assert "\n" not in str(caught.value)


def test_selection_by_an_empty_validation_split_is_rejected(small):
    dataset = replace(small, train=small.train.subset(np.arange(5)))
    with pytest.raises(UsageError, match="needs a validation split"):
        prepare_settings(resolve_with(recipe="honest"), dataset)


def test_batch_of_one_image_is_rejected_where_batch_norm_gets_one_value(small):
    channels = "[4, 4, 4, 4]"  # from 28 to 1 pixel
    network = "model.name=batchnorm_cnn", f"model.channels={channels}"
    with pytest.raises(UsageError, match="batch_size = 23: the last batch of 300 images"):
        prepare_settings(resolve_with(*network, batch_size=23), small)
    assert prepare_settings(resolve_with(*network, batch_size=25), small)
    assert prepare_settings(resolve_with(batch_size=23), small)


def test_initial_model_replaces_architecture_and_preprocessing(small, tiny_result):
    model = tiny_result.model
    preprocessing = replace(model.spec.preprocessing, mean=0.5, std=0.5, views="cutout")
    initial = replace(model, spec=model.spec.replace(preprocessing=preprocessing))
    settings = prepare_settings(resolve_with("model.hidden=99"), small, initial)
    assert settings.model == model.spec.architecture
    assert (settings.data.scaling, settings.data.views) == ("symmetric", "cutout")


def test_classes_that_are_kept_and_new_are_described(tiny_result, small):
    """A name in other case starts untrained, which a user who names folders does not expect."""
    assert describe_transfer(tiny_result.model, small) == []
    names = ("Coat", "trouser", "ankle_boot", "hat", *(f"class {i}" for i in range(6)))
    assert describe_transfer(tiny_result.model, replace(small, class_names=names)) == [
        "classes that the model knows: Coat; new: trouser, ankle_boot, hat, class 0, class 1, "
        "class 2, class 3, class 4, class 5",
        "class 'trouser' is new, since the model calls it 'Trouser'; rename it to start from what "
        "was trained",
        "class 'ankle_boot' is new, since the model calls it 'Ankle boot'; rename it to start from "
        "what was trained",
    ]
    others = tuple(f"class {i}" for i in range(12))
    (line,) = describe_transfer(tiny_result.model, replace(small, class_names=others))
    assert line.startswith("classes that the model knows: none; new: class 0, class 1")
    assert line.endswith("class 9 and 2 more")
