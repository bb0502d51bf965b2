"""Everything that the loop works on, made from settings."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from fashioncnn.artifacts.preprocessing import fit_preprocessing
from fashioncnn.augmentation.outlier_exposure import LOWER, UPPER, WHOLE
from fashioncnn.augmentation.photographs import ClassTraits
from fashioncnn.augmentation.pipeline import Augmentation
from fashioncnn.data.dataset import Dataset, Split
from fashioncnn.data.seeding import weights_seed
from fashioncnn.evaluation.logits import to_tensor
from fashioncnn.images.views import ViewMode
from fashioncnn.models import build_model, place_network
from fashioncnn.models.batchnorm_cnn import BatchNormCNN
from fashioncnn.models.trained_model import TrainedModel
from fashioncnn.settings import Settings
from fashioncnn.training.distillation import TeacherEnsemble
from fashioncnn.training.ema import create_ema
from fashioncnn.training.loop import EpochResult, Progress, Recipe, fit
from fashioncnn.training.optimizers import build_optimizer, scheduled_learning_rate

SHOES = frozenset({"Sandal", "Sneaker", "Ankle boot"})
"""Names of classes whose garments come in pairs."""
SLEEVED = frozenset({"T-shirt/top", "Pullover", "Coat", "Shirt"})
"""Names of classes whose garments may have sleeves that stand off from the trunk. Dresses have them
too, but their skirts would be taken for some."""
BROAD = frozenset({"Dress"})
"""Names of classes whose garments hang in folds."""
PARTIAL_GARMENTS = {"Trouser": UPPER, "Dress": LOWER}
"""Names of classes of which a part is a garment of no class: shorts, skirts."""
WHITENED_PIXELS = 2000 * 28 * 28
"""Of training images that a whitening first layer is measured on, spread over all of them."""


@dataclass
class TrainState:
    """A network with its optimiser, images and recipe.

    Attributes:
        model: with fresh weights, or those it was told to begin with.
        optimizer: of the network's parameters.
        images: (n, 1, size, size) uint8, on the network's device.
        labels: (n,) int64, there too.
        augmentation: what is done to images first, or None.
        averaged: the mean of the network's weights along the way, or None.
        class_weights: (classes,) float32 weights of the loss, or None.
        recipe: what the loop needs to know.
        teachers: what is learnt from beside the labels, or None.
    """

    model: TrainedModel
    optimizer: torch.optim.Optimizer
    images: Tensor
    labels: Tensor
    augmentation: Augmentation | None
    averaged: AveragedModel | None
    class_weights: Tensor | None
    recipe: Recipe
    teachers: TeacherEnsemble | None = None

    @classmethod
    def begin(
        cls,
        settings: Settings,
        part: Split,
        dataset: Dataset,
        device: torch.device,
        start_from: TrainedModel | None = None,
    ) -> TrainState:
        """Return a learner that has not learnt yet.

        Args:
            settings: with every ``auto`` resolved.
            part: what to learn from.
            dataset: that it is a part of.
            device: where to.
            start_from: a network whose weights and preprocessing to begin with.
        """
        model = _begin_model(settings, part, dataset, device, start_from)
        weights, decay = None, settings.training.ema_decay
        if settings.data.class_weights == "auto":
            weights = torch.from_numpy(_class_weights(part.labels, len(dataset.class_names)))
        return cls(
            model,
            build_optimizer(settings.optimizer, model.network),
            to_tensor(part.images, device),
            torch.from_numpy(part.labels.astype(np.int64)).to(device),
            create_augmentation(settings, part, dataset.class_names, device),
            create_ema(model.network, decay) if decay > 0 else None,
            None if weights is None else weights.to(device),
            _loop_recipe(settings, len(part)),
        )

    @property
    def judged(self) -> TrainedModel:
        """What is judged and kept: the averaged weights, where they are averaged."""
        return (
            self.model
            if self.averaged is None
            else replace(self.model, network=self.averaged.module)
        )

    def learn(
        self,
        progress: Progress,
        *,
        on_step: Callable[[Progress], None],
        on_epoch: Callable[[EpochResult], None],
    ) -> None:
        """Go on from `progress` to the end of the recipe; see `fashioncnn.training.loop.fit`."""
        fit(
            self.model.network,
            self.optimizer,
            self.model.preprocessing,
            self.images,
            self.labels,
            self.recipe,
            progress,
            augmentation=self.augmentation,
            averaged=self.averaged,
            class_weights=self.class_weights,
            teachers=self.teachers,
            on_step=on_step,
            on_epoch=on_epoch,
        )


def _begin_model(
    settings: Settings,
    part: Split,
    dataset: Dataset,
    device: torch.device,
    start_from: TrainedModel | None,
) -> TrainedModel:
    names = dataset.class_names
    preprocessing = fit_preprocessing(
        part.images, settings.data.scaling, cast(ViewMode, settings.data.views)
    )
    torch.manual_seed(weights_seed(settings.training.seed))
    network = build_model(settings.model, preprocessing.image_size, len(names))
    if isinstance(network, BatchNormCNN) and network.whitening:
        wanted = max(1, WHITENED_PIXELS // preprocessing.image_size**2)
        sample = part.images[:: max(1, len(part) // wanted)][:wanted]
        network.whiten(preprocessing(to_tensor(sample, torch.device("cpu"))))
    if start_from is not None:
        network.load_state_dict(start_from.network.state_dict())
        preprocessing = start_from.preprocessing
    place_network(network, device)
    return TrainedModel(network, settings.model, names, preprocessing, dataset.name)


def create_augmentation(
    settings: Settings, part: Split, class_names: Sequence[str], device: torch.device
) -> Augmentation | None:
    """Return what augments the images of a part as the settings ask; None where nothing does."""
    config, n = settings.augmentation, len(part)
    if config.is_off:
        return None
    of_classes = (
        [PARTIAL_GARMENTS.get(name, WHOLE) for name in class_names],
        [name in SHOES for name in class_names],
        [name in SLEEVED for name in class_names],
        [name in BROAD for name in class_names],
    )
    parts, *traits = (
        torch.from_numpy(np.array(of_class)[part.labels]).to(device) for of_class in of_classes
    )
    return Augmentation(config, settings.training.seed, n, ClassTraits(*traits), parts)


def _loop_recipe(settings: Settings, n: int) -> Recipe:
    training = settings.training
    steps = training.epochs * math.ceil(n / training.batch_size)
    peak = settings.optimizer.learning_rate
    return Recipe(
        epochs=training.epochs,
        batch_size=training.batch_size,
        seed=training.seed,
        precision=str(settings.runtime.precision),
        label_smoothing=training.label_smoothing,
        learning_rate=lambda step: scheduled_learning_rate(settings.schedule, peak, step, steps),
        teacher_share=settings.distillation.alpha,
    )


def _class_weights(labels: NDArray[np.uint8], classes: int) -> NDArray[np.float32]:
    """Return n / (classes · n_class) for each class."""
    counts = np.bincount(labels, minlength=classes)
    weights: NDArray[np.float64] = counts.sum() / (len(counts) * np.maximum(counts, 1))
    return weights.astype(np.float32)
