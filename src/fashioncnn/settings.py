"""Settings of a training run: frozen pydantic models, validated when they are created.

The docstring below each field is its documentation: ``fashioncnn train --help`` and the settings
reference in the guide are generated from it.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

SCHEMA = 2
"""Version of the files written to run and model folders; 1 was written by fashioncnn 0.1."""
DEVICE_NAME = re.compile(r"auto|cpu|mps|cuda(:\d{1,3})?")
DEVICE_NAMES = "auto, cpu, mps, cuda or, for one GPU of several, cuda:1"

ClassName = Annotated[str, Field(min_length=1)]
FOLD = re.compile(r"([1-9]\d{0,2})/([1-9]\d{0,2})")
"""A fold of several, such as ``1/5``."""

DEFAULT_NAMES = {"model": "fashion_cnn"}
"""The ``name`` of a section that gives none."""


class Section(BaseModel):
    """A frozen group of settings; unknown keys and wrong types are rejected."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
    )


class FashionCNNConfig(Section):
    """FashionCNN as published: two convolutional and two linear layers."""

    name: Literal["fashion_cnn"] = "fashion_cnn"
    channels: Annotated[
        tuple[Annotated[int, Field(ge=1, le=4096)], ...],
        Field(strict=False, min_length=1, max_length=16),
    ] = (32, 64)
    """Output channels of each convolution; each is followed by ReLU and 2×2 max pooling."""
    kernel_size: int = Field(3, ge=1, le=11)
    """Kernel size of the convolutions, in pixels."""
    padding: int = Field(1, ge=0, le=5)
    """Zero padding of the convolutions, in pixels per side."""
    hidden: int = Field(256, ge=1, le=65536)
    """Units of the first linear layer."""
    dropout: float = Field(0.5, ge=0, lt=1)
    """Dropout probability between the two linear layers."""


class BatchNormCNNConfig(Section):
    """Blocks of convolution, max pooling, ReLU and batch norm, then one linear layer."""

    name: Literal["batchnorm_cnn"]
    channels: Annotated[
        tuple[Annotated[int, Field(ge=1, le=4096)], ...],
        Field(strict=False, min_length=1, max_length=16),
    ] = (32, 64, 128)
    """Output channels of each 3×3 convolution."""
    whitening: bool = False
    """Initialize the first convolution so that it whitens 3×3 patches of the training images."""


class ResidualCNNConfig(Section):
    """Stages of residual blocks; each stage has half the resolution of the previous one."""

    name: Literal["residual_cnn"]
    channels: Annotated[
        tuple[Annotated[int, Field(ge=1, le=4096)], ...],
        Field(strict=False, min_length=1, max_length=16),
    ] = (16, 64, 96)
    """Channels of each stage; the first stage has the resolution of the image."""
    blocks: Annotated[
        tuple[Annotated[int, Field(ge=0, le=100)], ...], Field(strict=False, max_length=16)
    ] = (0, 2, 2)
    """Blocks of each stage, of two 3×3 convolutions each; the first stage may have none."""
    flip_equivariant: bool = False
    """Share weights between filters and their horizontal flips: an image and its horizontal flip
    get the same logits, with half the parameters (arXiv:1602.07576)."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Dropout probability before the linear layer."""


NetworkKind = Literal["class", "function", "instance"]


class CustomConfig(Section):
    """A network of your own, given with ``--network`` or ``Classifier(network=…)``.

    These values are recorded; code is never imported because they are in a file.
    """

    name: Literal["custom"]
    network: str = Field(min_length=3, max_length=420, pattern=r"^[\w.]+:[\w.<>]+(\([ -~]*)?$")
    """Where its code is: ``package.module:Class``."""
    kind: NetworkKind = "class"
    """What was given: a class or function, which was called, or a module, which was copied."""
    source_sha256: str = Field("", pattern="^([0-9a-f]{64})?$")
    """SHA-256 of the file with its code; empty if it is in no file, as in a notebook."""


ModelConfig = Annotated[
    FashionCNNConfig | BatchNormCNNConfig | ResidualCNNConfig | CustomConfig,
    Field(discriminator="name"),
]


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
    """Folder of the IDX files for ``rehearsal``; by default the cache, then a download."""

    @field_validator("map", mode="before")
    @classmethod
    def _accept_a_single_class(cls, classes: Any) -> Any:
        if not isinstance(classes, dict):
            return classes
        return {name: (c,) if isinstance(c, str) else c for name, c in classes.items()}

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


class AugmentationConfig(Section):
    """Augmentation of training images, drawn anew in every epoch; 0 switches one off.

    "Up to" means that a value is drawn uniformly for each image.
    """

    flip: float = Field(0.0, ge=0, le=1)
    """Probability of a horizontal flip."""
    shift: int = Field(0, ge=0, le=64)
    """Translation by up to this many whole pixels in each direction, as by padding and cropping."""
    crop: float = Field(0.0, ge=0, lt=1)
    """A random square crop is resized to the image size; its side is smaller by up to this
    fraction."""
    rotation: float = Field(0.0, ge=0, le=180)
    """Rotation by up to this many degrees in either direction."""
    scale: float = Field(0.0, ge=0, le=4)
    """Scaling by up to the factor 1 + scale or its inverse, log-uniform."""
    shear: float = Field(0.0, ge=0, le=60)
    """Horizontal shear by up to this many degrees in either direction."""
    brightness: float = Field(0.0, ge=0, le=1)
    """Pixels are multiplied by 1 - brightness to 1 + brightness."""
    contrast: float = Field(0.0, ge=0, le=1)
    """Differences to the image mean are multiplied by 1 - contrast to 1 + contrast."""
    blur: float = Field(0.0, ge=0, le=5)
    """Gaussian blur with a standard deviation of up to this many pixels."""
    noise: float = Field(0.0, ge=0, le=1)
    """Gaussian noise with a standard deviation of up to this fraction of the value range."""
    erasing: float = Field(0.0, ge=0, le=1)
    """Probability of random erasing (arXiv:1708.04896)."""
    erasing_fill: Literal["noise", "zero"] = "noise"
    """Fill of erased rectangles: random values per pixel, or 0 (the background)."""
    cutout: float = Field(0.0, ge=0, lt=1)
    """Side of a black square, as a fraction of the image side (arXiv:1708.04552)."""
    mixup: float = Field(0.0, ge=0, le=100)
    """Mixup with λ drawn from Beta(mixup, mixup) (arXiv:1710.09412)."""
    cutmix: float = Field(0.0, ge=0, le=100)
    """CutMix with λ drawn from Beta(cutmix, cutmix) (arXiv:1905.04899); together with mixup, each
    is applied to half of the images."""
    photograph: float = Field(0.0, ge=0, le=1)
    """Probability that an image is rendered as a photograph: other pose, cloth and light, shoes in
    pairs, imperfect segmentation; applied before everything above."""
    outlier_exposure: float = Field(0.0, ge=0, lt=1)
    """Probability that an image is replaced by an out-of-distribution one, whose target is the
    uniform distribution (arXiv:1812.04606); applied first."""

    @property
    def is_off(self) -> bool:
        """Whether no augmentation is applied."""
        return self == AugmentationConfig(erasing_fill=self.erasing_fill)


class AdamConfig(Section):
    """Adam (arXiv:1412.6980), or AdamW with decoupled weight decay (arXiv:1711.05101)."""

    name: Literal["adam", "adamw"]
    learning_rate: float = Field(gt=0)
    """Peak learning rate."""
    backbone_lr_factor: float = Field(1.0, ge=0, le=1000)
    """The learning rate of every layer but the last is multiplied by this."""
    weight_decay: float = Field(0.0, ge=0)
    """Weight decay: an L2 penalty for ``adam``, decoupled for ``adamw``."""
    betas: Annotated[
        tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]],
        Field(strict=False),
    ] = (0.9, 0.999)
    """Decay rates of the running averages of the gradient and its square."""


class SGDConfig(Section):
    """Stochastic gradient descent, with Nesterov momentum unless momentum is 0."""

    name: Literal["sgd"]
    learning_rate: float = Field(gt=0)
    """Peak learning rate."""
    backbone_lr_factor: float = Field(1.0, ge=0, le=1000)
    """The learning rate of every layer but the last is multiplied by this."""
    weight_decay: float = Field(0.0, ge=0)
    """L2 penalty."""
    momentum: float = Field(0.9, ge=0, lt=1)
    """Nesterov momentum."""


class MuonConfig(Section):
    """Muon for the weights of hidden convolutions, AdamW for all other parameters."""

    name: Literal["muon"]
    learning_rate: float = Field(gt=0)
    """Peak learning rate of Muon; the spectral norm of an update is this times
    sqrt(max(1, rows / columns))."""
    adam_learning_rate: float = Field(gt=0)
    """Peak learning rate of AdamW; follows the same schedule."""
    backbone_lr_factor: float = Field(1.0, ge=0, le=1000)
    """The learning rate of every layer but the last is multiplied by this."""
    weight_decay: float = Field(0.0, ge=0)
    """Decoupled weight decay."""
    momentum: float = Field(0.9, ge=0, lt=1)
    """Nesterov momentum of Muon."""


OptimizerConfig = Annotated[AdamConfig | SGDConfig | MuonConfig, Field(discriminator="name")]


class ConstantSchedule(Section):
    """A constant learning rate."""

    name: Literal["constant"] = "constant"


class DecaySchedule(Section):
    """Linear warmup, then linear or cosine decay to 0 after the last step."""

    name: Literal["linear", "cosine"]
    warmup: float = Field(0.0, ge=0, lt=1)
    """Fraction of all steps over which the learning rate rises from 0."""


class TrainingConfig(Section):
    """Duration, loss and selection of weights."""

    epochs: Annotated[int, Field(ge=1, le=1_000_000)] | Literal["auto"] = 20
    """Passes over the training split; ``auto`` is 15, and more where that is fewer than 200
    optimizer steps."""
    batch_size: int = Field(128, ge=1, le=1_000_000)
    """Images per optimizer step."""
    seed: int = Field(0, ge=0, lt=2**32)
    """Seed of initial weights, data order, dropout and augmentation."""
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    """Label smoothing of the cross-entropy (arXiv:1512.00567)."""
    logit_adjustment: Annotated[float, Field(gt=0, le=2)] | None = None
    """Weight of the logarithm of the class frequencies that is added to the logits in the loss
    (arXiv:2007.07314), for classes of different size; 1 trains for balanced classes."""
    freeze: Literal["none", "features"] = "none"
    """``features`` trains only the last layer; all others, their batch norm statistics included,
    stay as they are in the model that training starts from."""
    ema_decay: float = Field(0.0, ge=0, lt=1)
    """Decay per step of an exponential moving average (EMA) of the weights, which is then
    evaluated and kept; 0 keeps the raw weights."""
    temperature: Annotated[float, Field(ge=0.001, le=1000)] | Literal["auto"] = "auto"
    """Softmax temperature of the model (arXiv:1706.04599); ``auto`` fits it to the validation
    split, else by cross-validation (``calibration_folds``), else it is 1."""
    calibration_folds: int = Field(0, ge=0, le=20)
    """Without a validation split, ``auto`` temperature and abstention threshold are fitted in a
    cross-validation with this many folds, each trained with the same settings; 0 for none."""
    abstain_below: Annotated[float, Field(ge=0, lt=1)] | Literal["auto"] = 0.0
    """Confidence below which ``predict`` abstains; ``auto`` is the threshold that loses one tenth
    of the correct answers on the validation split or in the cross-validation, 0 without one."""
    patience: int = Field(0, ge=0, le=1_000_000)
    """Early stopping: training ends after this many epochs without a new best value of
    ``select_by`` on the validation split; 0 is off. ``select`` decides which weights are kept."""
    select: Literal["last", "best_val"] = "last"
    """Weights to keep: of the last epoch, or of the best validation epoch."""
    select_by: Literal["loss", "accuracy"] = "loss"
    """Validation metric that ``best_val`` and ``patience`` compare."""
    track_test: bool = False
    """Also record the test curve; it influences nothing."""
    checkpoint_seconds: float = Field(60.0, gt=0)
    """A checkpoint is written after every epoch, and within an epoch at this interval."""


class DistillationConfig(Section):
    """Knowledge distillation: training on the teachers' outputs beside the labels.

    The teachers see the same augmented images as the student (arXiv:1503.02531,
    arXiv:2106.05237).
    """

    teachers: Annotated[
        tuple[Annotated[str, Field(min_length=1)], ...], Field(strict=False, max_length=64)
    ] = ()
    """Trained models to use as teachers: run or model folders, or names of bundled models. They may
    have been trained on what is held out here for validation."""
    ensemble_size: int = Field(0, ge=0, le=64)
    """Number of teachers to train first, with this recipe and other seeds; the mean of their
    probabilities is the target."""
    epochs: Annotated[int, Field(ge=1, le=1_000_000)] | Literal["auto"] = "auto"
    """Epochs of each teacher trained first; ``auto`` is the student's."""
    alpha: float = Field(0.8, gt=0, le=1)
    """Weight of the teachers' probabilities in the target; the label has the rest."""
    temperature: float = Field(1.0, gt=0, le=100)
    """Softmax temperature of teachers and student in the distillation loss."""

    @property
    def is_off(self) -> bool:
        """Whether there are no teachers."""
        return not (self.teachers or self.ensemble_size)

    @field_validator("teachers", mode="before")
    @classmethod
    def _accept_a_single_name(cls, teachers: Any) -> Any:
        return (teachers,) if isinstance(teachers, str) else teachers


KernelsName = Literal["native", "mixed", "torch"]
"""CPU kernels that a network computes with; see `RuntimeConfig.kernels`."""


class RuntimeConfig(Section):
    """Hardware and numerics."""

    device: str = "auto"
    """``auto``, ``cpu``, ``mps``, ``cuda``, or one GPU of several as ``cuda:1``."""
    precision: Literal["auto", "fp32", "bf16"] = "fp32"
    """Numeric precision; ``auto`` is bf16 where the processor has instructions for it and, on the
    CPU, a measurement on the network does not find fp32 faster."""
    threads: Annotated[int, Field(ge=1, le=1024)] | Literal["auto"] = "auto"
    """CPU threads; ``auto`` is one per core available to the process."""
    kernels: Literal["auto", "native", "mixed", "torch"] = "auto"
    """CPU kernels: compiled for this processor at first use (``native``), the same with PyTorch's
    convolutions in bf16 (``mixed``), or PyTorch's. ``auto`` is the first where it can be compiled;
    in bf16 ``mixed`` if a measurement on the network finds it faster."""

    @field_validator("device")
    @classmethod
    def _device_is_known(cls, device: str) -> str:
        if not DEVICE_NAME.fullmatch(device):
            raise ValueError(f"should be {DEVICE_NAMES}")
        return device


class Settings(Section):
    """All settings of a training run."""

    recipe: str
    description: str = ""
    model: ModelConfig = FashionCNNConfig()
    data: DataConfig = DataConfig()
    augmentation: AugmentationConfig = AugmentationConfig()
    optimizer: OptimizerConfig
    schedule: Annotated[ConstantSchedule | DecaySchedule, Field(discriminator="name")] = (
        ConstantSchedule()
    )
    training: TrainingConfig = TrainingConfig()
    distillation: DistillationConfig = DistillationConfig()
    runtime: RuntimeConfig = RuntimeConfig()

    @field_validator("model", mode="before")
    @classmethod
    def _fashion_cnn_needs_no_name(cls, model: Any) -> Any:
        return {"name": DEFAULT_NAMES["model"], **model} if isinstance(model, dict) else model

    @model_validator(mode="after")
    def _best_val_needs_validation(self) -> Settings:
        if self.training.select == "best_val" and not self.data.holds_out:
            raise ValueError("select = 'best_val' needs a validation split; set validation above 0")
        return self

    @property
    def data_augmentation(self) -> AugmentationConfig:
        """Augmentation of the images of the data; with rehearsal, they are not rendered."""
        if not self.data.rehearsal:
            return self.augmentation
        return self.augmentation.model_copy(update={"photograph": 0.0, "outlier_exposure": 0.0})

    def to_toml(self) -> str:
        """Return the settings as TOML that `fashioncnn.config.read_settings` reads back."""
        values = self.model_dump(mode="json", exclude_none=True)
        return tomli_w.dumps({"schema": SCHEMA, **values})


SECTIONS: dict[str, tuple[type[Section], ...]] = {
    "model": (FashionCNNConfig, BatchNormCNNConfig, ResidualCNNConfig, CustomConfig),
    "data": (DataConfig,),
    "augmentation": (AugmentationConfig,),
    "optimizer": (AdamConfig, SGDConfig, MuonConfig),
    "schedule": (ConstantSchedule, DecaySchedule),
    "training": (TrainingConfig,),
    "distillation": (DistillationConfig,),
    "runtime": (RuntimeConfig,),
}
"""The kinds of each section, by its name in a recipe."""
