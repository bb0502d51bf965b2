"""The images of ``fashioncnn export``: to compare on, and to calibrate on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fashioncnn.cli.console import note
from fashioncnn.cli.datasets import load_for
from fashioncnn.cli.evaluate_data import is_data_of
from fashioncnn.data.alignment import UnknownClassError, align_classes
from fashioncnn.data.dataset import Dataset, Split
from fashioncnn.data.splits import subset_indices
from fashioncnn.data.training_data import hold_out
from fashioncnn.errors import DataError, UsageError
from fashioncnn.runs import RunFolder
from fashioncnn.settings import DataConfig

if TYPE_CHECKING:
    from fashioncnn.artifacts.spec import ModelSpec

MAX_IMAGES = 10_000
"""Images (views) to compare on."""
CALIBRATION_IMAGES = 500


@dataclass(frozen=True)
class Source:
    """The option ``--data`` and how it is read.

    Attributes:
        data: as it was given; None without the option.
        skip_broken: leave out image files that cannot be read.
        offline: do not download data.
    """

    data: str | None
    skip_broken: bool
    offline: bool

    def images(self, spec: ModelSpec) -> tuple[NDArray[np.uint8], str] | None:
        """Return the images to compare on and their name; None without data.

        These are all images, (n, height, width[, 3]), of the test split if the data has one; at
        most `MAX_IMAGES`, evenly spaced.
        """
        if self.data is None:
            return None
        dataset = self._load(spec, for_evaluation=True)
        splits = (dataset.test, dataset.validation, dataset.train)
        images = next(s.stacked_views for s in splits if s is not None and len(s))
        return images[:: -(-len(images) // MAX_IMAGES)], dataset.name

    def calibration_and_validation(
        self, model: Path, spec: ModelSpec
    ) -> tuple[NDArray[np.uint8], Split, str]:
        """Return views of training images, the validation split, and the name of the data.

        The views are (n, height, width[, 3]) uint8.

        Args:
            model: whose own validation split is used if it is a run that was trained on this data;
                else that of the default settings.
            spec: of the model.

        Raises:
            UsageError: the data has too few images for a validation split.
            DataError: it has a class that the model does not have.
        """
        loaded = self._load(spec, for_evaluation=False)
        try:
            dataset = align_classes(loaded, spec.labels, {}, note)
        except UnknownClassError as error:
            remedy = "leave {it} out, or rename {it}"
            raise UnknownClassError(error.source, error.names, spec.labels, remedy) from None
        train, validation = hold_out(dataset, _data_config(model, dataset))
        if validation is None or not len(validation) or not len(train):
            raise UsageError(
                f"--data {self.data}: {len(dataset.train):,} training images, too few to hold out "
                "a validation split for --int8"
            )
        size = min(CALIBRATION_IMAGES, len(train))
        calibration = train.subset(subset_indices(train.labels, size)).stacked_views
        return calibration, validation, dataset.name

    def _load(self, spec: ModelSpec, *, for_evaluation: bool) -> Dataset:
        preprocessing = spec.preprocessing
        dataset = load_for(
            self.data,
            preprocessing.image_size,
            offline=self.offline,
            for_evaluation=for_evaluation,
            skip_broken=self.skip_broken,
            class_names=spec.labels,
            views=preprocessing.views,
            channels=preprocessing.channels,
        )
        found, expected = dataset.train.images.shape[1:], preprocessing.input_shape
        if found != expected:
            raise DataError(
                f"{dataset.source}: images of {_shown(found)}, but the model needs "
                f"{_shown(expected)}"
            )
        return dataset


def _shown(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))


def _data_config(model: Path, dataset: Dataset) -> DataConfig:
    """Return the settings that the validation split is cut by."""
    run = RunFolder(model)
    if run.config.exists() and run.environment.exists() and is_data_of(run, dataset):
        config = run.settings().data
        if config.validation != 0 or config.fold is not None:
            return config
    return DataConfig()
