"""Augmented images must not change between versions: runs are reproduced from their seed.

``golden.json`` holds one weighted mean of the pixels per image. To write it anew, run
``python -m tests.augmentation.test_golden`` from the root of the repository.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from fashioncnn.augmentation.photographs import ClassTraits
from fashioncnn.augmentation.pipeline import Augmentation
from fashioncnn.settings import AugmentationConfig

from .garments import make_garments

GOLDEN = Path(__file__).with_name("golden.json")
N, SIZE, SEED, EPOCH = 8, 28, 7, 3
INDICES = torch.arange(N)
TRANSFORMS = {
    "flip": 0.5,
    "shift": 3,
    "crop": 0.3,
    "rotation": 20.0,
    "scale": 0.2,
    "shear": 15.0,
    "brightness": 0.4,
    "contrast": 0.4,
    "blur": 1.0,
    "noise": 0.1,
    "erasing": 0.9,
    "cutout": 0.4,
    "mixup": 0.5,
    "cutmix": 1.0,
    "photograph": 0.9,
    "outlier_exposure": 0.9,
}
CASES = {
    **{name: {name: value} for name, value in TRANSFORMS.items()},
    "mixing": {"mixup": 0.5, "cutmix": 1.0},
    "everything": TRANSFORMS | {"photograph": 0.5, "outlier_exposure": 0.3},
}


def summarize(settings):
    """Return one number per augmented image: its mean, weighted by a hash of the position."""
    traits = ClassTraits(INDICES % 2 == 0, INDICES % 3 == 0, INDICES % 4 == 0)
    augmentation = Augmentation(AugmentationConfig(**settings), SEED, N, traits, INDICES % 3)
    images = augmentation(make_garments(N, SIZE), INDICES, EPOCH)
    if augmentation.mixes:
        images, _ = augmentation.mix(images, INDICES, EPOCH)
    weights = (np.arange(SIZE * SIZE) * 2654435761 % 2**32) / 2**32
    return (images.flatten(1).double().numpy() * weights).mean(1)


@pytest.mark.parametrize("case", CASES)
def test_augmented_images_match_the_recorded_ones(case):
    """The tolerance covers instruction sets, which differ by 0.002, but not a changed pixel."""
    recorded = json.loads(GOLDEN.read_text())[case]
    np.testing.assert_allclose(summarize(CASES[case]), recorded, rtol=0, atol=0.01)


def test_every_setting_is_recorded():
    assert {*TRANSFORMS, "erasing_fill"} == set(AugmentationConfig.model_fields)


if __name__ == "__main__":
    values = {name: [round(v, 4) for v in summarize(case)] for name, case in CASES.items()}
    lines = [f"  {json.dumps(name)}: {json.dumps(numbers)}" for name, numbers in values.items()]
    GOLDEN.write_text("{\n" + ",\n".join(lines) + "\n}\n")
