"""Settings by study and variant, for `studies.py`."""

from __future__ import annotations

from dataclasses import dataclass

REFERENCE = "none"
"""Name of the variant without a change, to which the others are compared."""
AUGMENTATIONS: dict[str, dict[str, float]] = {
    "flip": {"flip": 0.5},
    "shift": {"shift": 2},
    "crop": {"crop": 0.2},
    "rotation": {"rotation": 10.0},
    "scale": {"scale": 0.1},
    "shear": {"shear": 10.0},
    "brightness": {"brightness": 0.3},
    "contrast": {"contrast": 0.3},
    "blur": {"blur": 0.7},
    "noise": {"noise": 0.05},
    "erasing": {"erasing": 0.5},
    "cutout": {"cutout": 0.3},
    "mixup": {"mixup": 0.2},
    "cutmix": {"cutmix": 1.0},
}
"""Settings under ``augmentation``, with strengths that are usual for 28×28 images."""
AUGMENTATION_SETTINGS = {
    name: [f"augmentation.{key}={value:g}" for key, value in changes.items()]
    for name, changes in AUGMENTATIONS.items()
}


@dataclass(frozen=True)
class Study:
    """Variants of a recipe.

    Attributes:
        recipe: name of the recipe of all variants.
        settings: ``key=value`` that differ from the recipe in all variants.
        variants: further settings by variant.
    """

    recipe: str
    settings: list[str]
    variants: dict[str, list[str]]


BASELINE_SETTINGS = [
    "data.validation=auto",
    "schedule.name=linear",
    "training.select=last",
    "training.track_test=false",
]
BF16 = {
    "bf16": ["runtime.precision=bf16", "runtime.kernels=native"],
    "bf16, PyTorch's convolutions": ["runtime.precision=bf16", "runtime.kernels=mixed"],
}
WIDE = ["model.channels=[32, 64, 96]", "model.blocks=[1, 2, 2]"]
STUDIES = {
    "augmentations": Study("baseline", BASELINE_SETTINGS, AUGMENTATION_SETTINGS),
    "networks": Study(
        "baseline",
        [*BASELINE_SETTINGS, "runtime.precision=auto"],
        {
            "half the width": ["model.channels=[16, 32]"],
            "twice the width": ["model.channels=[64, 128]"],
            "one convolution": ["model.channels=[32]"],
            "three convolutions": ["model.channels=[32, 64, 128]"],
            "5×5 kernels": ["model.kernel_size=5", "model.padding=2"],
            "7×7 kernels": ["model.kernel_size=7", "model.padding=3"],
            "128 hidden units": ["model.hidden=128"],
            "512 hidden units": ["model.hidden=512"],
            "batch norm, no hidden layer": ["model.name=batchnorm_cnn", "model.channels=[32, 64]"],
            "batch norm, three convolutions": ["model.name=batchnorm_cnn"],
        },
    ),
    "residual": Study(
        "fast94",
        [
            "data.validation=auto",
            "training.temperature=auto",
            "augmentation.flip=0",
            "augmentation.shift=0",
        ],
        {name: AUGMENTATION_SETTINGS[name] for name in ("brightness", "contrast", "noise")},
    ),
    "fast94-study": Study(
        "fast94",
        ["data.validation=auto", "training.temperature=auto", "optimizer.weight_decay=0"],
        {"weight decay 0.005": ["optimizer.weight_decay=0.005"]},
    ),
    "bf16-baseline": Study("baseline", ["data.validation=auto", "training.track_test=false"], BF16),
    "bf16-fast93": Study("fast93", ["data.validation=auto"], BF16),
    "accurate-study": Study(
        "accurate",
        [
            "data.validation=auto",
            "runtime.precision=auto",
            "training.temperature=auto",
            "model.channels=[16, 64, 96]",
            "model.blocks=[0, 2, 2]",
            "optimizer.weight_decay=0",
        ],
        {
            "no shift": ["augmentation.shift=0"],
            "a block at 28×28": WIDE,
            "deeper": ["model.channels=[32, 64, 80]", "model.blocks=[1, 3, 2]"],
            "weight decay 0.005": [*WIDE, "optimizer.weight_decay=0.005"],
            "weight decay 0.02": [*WIDE, "optimizer.weight_decay=0.02"],
            "three blocks of 32, 48, 80": [
                "model.channels=[32, 48, 80]",
                "model.blocks=[3, 3, 3]",
                "optimizer.weight_decay=0.005",
            ],
            "two blocks of 48, 64, 80": [
                "model.channels=[48, 64, 80]",
                "model.blocks=[2, 2, 2]",
                "optimizer.weight_decay=0.005",
            ],
        },
    ),
}
