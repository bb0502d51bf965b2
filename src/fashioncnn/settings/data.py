"""Settings of the training data."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from fashioncnn.settings.section import Section

ClassName = Annotated[str, Field(min_length=1)]
FOLD = re.compile(r"([1-9]\d{0,2})/([1-9]\d{0,2})")
"""A fold of several, such as ``1/5``."""


class DataConfig(Section):
    """Training data and preprocessing."""

    source: str | None = None
    """Folder of class folders or IDX files, CSV or ``.npz`` file, or ``sketches``; by default the
    cache, then a download."""
    validation: (
        Annotated[int, Field(ge=0)] | Annotated[float, Field(gt=0, lt=1)] | Literal["auto"]
    ) = "auto"
    """Training images held out as the validation split, stratified: a number of images, or a
    fraction such as 0.2; ``auto`` is one sixth. Not used where the data has a validation split."""
    skip_broken: bool = False
    """Leave out image files that cannot be read, and list them."""
    fold: str | None = None
    """Cross-validation: ``2/5`` holds out the second of five stratified folds as the validation
    split; it replaces ``validation``."""
    fraction: float = Field(1.0, gt=0, le=1)
    """Fraction of the training images to train on, stratified; a smaller fraction is a subset of a
    larger one. The validation split is held out before."""
    label_noise: float = Field(0.0, ge=0, lt=1)
    """Probability that a training label is replaced by one of the other classes, uniformly
    (arXiv:1712.09482); the same for all training seeds. Validation and test labels are kept."""
    hold_out_min: int = Field(0, ge=0)
    """Images per class, on average, below which neither a test nor (with ``auto``) a validation
    split is cut from the training images."""
    image_size: int | None = Field(None, ge=8, le=256)
    """Side in pixels to which image files are resized; by default that of the model that training
    starts from, else 28."""
    channels: Literal[1, 3] = 1
    """Channels of image files: 1 for grayscale, 3 for color (RGB)."""
    scaling: Literal["unit", "symmetric", "standard"] = "unit"
    """Pixel scaling: to [0, 1], to [-1, 1], or to mean 0 and standard deviation 1 on the training
    split."""
    views: Literal["auto", "fashion", "plain", "photo", "cutout"] = "auto"
    """How an image file becomes model input: ``fashion`` as Fashion-MNIST was made, ``plain`` grey
    and padded to a square, ``cutout`` the segmented garment, ``photo`` the cut-out and three views
    of the whole image; ``auto`` depends on the data."""
    class_weights: Literal["none", "auto"] = "none"
    """``auto`` weights the loss of each class by n / (classes · n_class)."""
    map: dict[ClassName, Annotated[tuple[ClassName, ...], Field(strict=False)]] | None = None
    """The classes of the model for a class of the data: one, several of which any is correct (a
    partial label), or none for images outside of the classes (outlier exposure)."""
    classes: Annotated[tuple[ClassName, ...], Field(strict=False, max_length=256)] | None = None
    """Classes of the model, in order. By default those of the data; with ``map``, those of the
    model that training starts from."""
    rehearsal: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Images of Fashion-MNIST added to each batch, so that what the model to start from was trained
    on is not forgotten (doi:10.1080/09540099550039318). ``augmentation.photograph`` and
    ``augmentation.outlier_exposure`` then apply to these images only."""
    rehearsal_source: str | None = None
    """Folder of the IDX files for ``rehearsal``; by default ``FASHIONCNN_DATA`` if it is that of
    Fashion-MNIST, else the cache, then a download."""

    @field_validator("map", mode="before")
    @classmethod
    def _accept_a_single_class(cls, classes: Any) -> Any:
        if not isinstance(classes, dict):
            return classes
        return {name: (c,) if isinstance(c, str) else c for name, c in classes.items()}

    @field_validator("channels", mode="before")
    @classmethod
    def _channels_are_an_integer(cls, channels: Any) -> Any:
        if type(channels) is not int:  # True and 1.0 equal 1
            raise ValueError("should be 1 or 3")
        return channels

    @field_validator("fold")
    @classmethod
    def _fold_is_one_of_several(cls, fold: str | None) -> str | None:
        if fold is not None:
            match = FOLD.fullmatch(fold)
            if match is None or not int(match[1]) <= int(match[2]) > 1:
                raise ValueError("should be the number of a fold and how many there are, as in 1/5")
        return fold

    @property
    def holds_out(self) -> bool:
        """Whether a validation split is held out."""
        return self.fold is not None or self.validation != 0
