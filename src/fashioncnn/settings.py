"""What can be set, and what it may be: frozen models, checked when they are made."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

DEVICE_NAME = re.compile(r"auto|cpu|mps|cuda(:\d{1,3})?")
DEVICE_NAMES = "auto, cpu, mps, cuda or, for one GPU of several, cuda:1"

UNNAMED_KINDS = {"model": "fashion_cnn"}
"""What a section is that does not name its kind."""


class Section(BaseModel):
    """A frozen group of settings; unknown keys and wrong types are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class FashionCNNConfig(Section):
    """The described network: two convolutions, two linear layers."""

    name: Literal["fashion_cnn"] = "fashion_cnn"
    channels: Annotated[
        tuple[Annotated[int, Field(ge=1, le=4096)], ...], Field(strict=False, min_length=1)
    ] = (32, 64)
    """Output channels of each convolution, each followed by ReLU and 2×2 max pooling."""
    kernel_size: int = Field(3, ge=1, le=11)
    """Side of the square convolution kernels, in pixels."""
    padding: int = Field(1, ge=0, le=5)
    """Zeros added on each side before each convolution, in pixels."""
    hidden: int = Field(256, ge=1, le=65536)
    """Units of the first linear layer."""
    dropout: float = Field(0.5, ge=0, lt=1)
    """Share of hidden units dropped in training."""


class BatchNormCNNConfig(Section):
    """Convolutions, each pooled, rectified and batch-normalised, then one linear layer."""

    name: Literal["batchnorm_cnn"]
    channels: Annotated[
        tuple[Annotated[int, Field(ge=1, le=4096)], ...], Field(strict=False, min_length=1)
    ] = (32, 64, 128)
    """Output channels of each 3×3 convolution."""
    whitening: bool = False
    """Whether the first convolution begins as one that whitens the training pictures' patches."""


class ResidualCNNConfig(Section):
    """Stages of residual blocks, each stage at half the side of the one before."""

    name: Literal["residual_cnn"]
    channels: Annotated[
        tuple[Annotated[int, Field(ge=1, le=4096)], ...], Field(strict=False, min_length=1)
    ] = (16, 64, 96)
    """Channels of each stage; the first is at the picture's own size."""
    blocks: Annotated[tuple[Annotated[int, Field(ge=0, le=100)], ...], Field(strict=False)] = (
        0,
        2,
        2,
    )
    """Blocks of each stage, of two 3×3 convolutions each; the first stage can do without."""
    symmetry: Literal["none", "mirror"] = "none"
    """``mirror``: half the channels see in the mirror what the others see, by the same weights."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Share of the last stage's mean values dropped in training."""


ModelConfig = Annotated[
    FashionCNNConfig | BatchNormCNNConfig | ResidualCNNConfig, Field(discriminator="name")
]


class DataConfig(Section):
    """Which pictures are learnt from, and how they are fed."""

    source: str | None = None
    """A folder, or ``sketches``; none looks in the cache and then downloads."""
    validation: Annotated[int, Field(ge=0)] | Literal["auto"] = "auto"
    """Pictures of the training part held out, stratified; ``auto`` is one sixth."""
    image_size: int | None = Field(None, ge=8, le=256)
    """Side that pictures of class folders are brought to, in pixels; none is 28."""
    scaling: Literal["unit", "symmetric", "standard"] = "unit"
    """Pixels to [0, 1], to [-1, 1], or to the training part's mean 0 and deviation 1."""
    pictures: Literal["auto", "fashion", "plain", "photo", "cutout"] = "auto"
    """What is done to picture files before the network sees them (`fashioncnn.data.conversions`);
    ``auto`` is what suits the data, ``photo`` and ``cutout`` are for networks that are to see
    photographs."""
    class_weights: Literal["none", "auto"] = "none"
    """``auto`` weighs the loss of each class by n / (classes · n_class)."""


class AugmentationConfig(Section):
    """What is done to training pictures, anew in every epoch; 0 is nothing.

    Where it says "up to", a value is drawn evenly for each picture.
    """

    flip: float = Field(0.0, ge=0, le=1)
    """Share of pictures that are mirrored left to right."""
    shift: int = Field(0, ge=0, le=64)
    """Up to so many whole pixels each way, as a random crop of a padded picture does."""
    crop: float = Field(0.0, ge=0, lt=1)
    """A random square part is enlarged to the whole; its side is shorter by up to this share."""
    rotation: float = Field(0.0, ge=0, le=180)
    """Up to so many degrees either way."""
    scale: float = Field(0.0, ge=0, le=4)
    """Larger or smaller by up to the factor 1 + scale, drawn evenly on a logarithmic scale."""
    shear: float = Field(0.0, ge=0, le=60)
    """Slanted by up to so many degrees either way."""
    brightness: float = Field(0.0, ge=0, le=1)
    """Pixels are multiplied by 1 - brightness to 1 + brightness."""
    contrast: float = Field(0.0, ge=0, le=1)
    """Distances to the picture's mean are multiplied by 1 - contrast to 1 + contrast."""
    blur: float = Field(0.0, ge=0, le=5)
    """A Gaussian of up to so many pixels' standard deviation."""
    noise: float = Field(0.0, ge=0, le=1)
    """Normal noise of up to so much of the full range's standard deviation."""
    erasing: float = Field(0.0, ge=0, le=1)
    """Share of pictures in which a rectangle is covered with random values (arXiv:1708.04896)."""
    cutout: float = Field(0.0, ge=0, lt=1)
    """Side of a black square, as a share of the picture's (arXiv:1708.04552)."""
    mixup: float = Field(0.0, ge=0, le=100)
    """Two pictures are blended, by a share drawn from Beta(mixup, mixup) (arXiv:1710.09412)."""
    cutmix: float = Field(0.0, ge=0, le=100)
    """A square of another picture is pasted in; what is left is drawn from Beta(cutmix, cutmix)
    (arXiv:1905.04899). With mixup too, either is done to half of the pictures."""
    photograph: float = Field(0.0, ge=0, le=1)
    """Share of pictures that are made to look cut out of photographs: laid out, crumpled, of any
    cloth, shoes in pairs, badly cut; done before all that is above."""
    outliers: float = Field(0.0, ge=0, lt=1)
    """Share of pictures in whose place comes one of no class, of which no class is to be likelier
    than another (arXiv:1812.04606); done first."""

    @property
    def is_off(self) -> bool:
        """Whether nothing is done."""
        return not any(self.model_dump().values())


class AdamConfig(Section):
    """Adam (arXiv:1412.6980), or AdamW with decoupled decay (arXiv:1711.05101)."""

    name: Literal["adam", "adamw"]
    learning_rate: float = Field(gt=0)
    weight_decay: float = Field(0.0, ge=0)
    betas: Annotated[
        tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]],
        Field(strict=False),
    ] = (0.9, 0.999)


class SGDConfig(Section):
    """Stochastic gradient descent with Nesterov's momentum where momentum is not 0."""

    name: Literal["sgd"]
    learning_rate: float = Field(gt=0)
    weight_decay: float = Field(0.0, ge=0)
    momentum: float = Field(0.9, ge=0, lt=1)


class MuonConfig(Section):
    """Muon for the inner convolutions, AdamW for everything else."""

    name: Literal["muon"]
    learning_rate: float = Field(gt=0)
    """Of Muon: a step's spectral norm is this, times the square root of max(1, rows / columns)."""
    adam_learning_rate: float = Field(gt=0)
    """Of AdamW; follows the same schedule."""
    weight_decay: float = Field(0.0, ge=0)
    momentum: float = Field(0.9, ge=0, lt=1)


OptimizerConfig = Annotated[AdamConfig | SGDConfig | MuonConfig, Field(discriminator="name")]


class ConstantSchedule(Section):
    """The learning rate stays as it is."""

    name: Literal["constant"] = "constant"


class DecaySchedule(Section):
    """A linear rise over the first steps, then a decay that reaches 0 after the last step."""

    name: Literal["linear", "cosine"]
    warmup: float = Field(0.0, ge=0, lt=1)
    """Share of all steps over which the learning rate rises from 0."""


class TrainingConfig(Section):
    """How long, how, and what is kept."""

    epochs: int = Field(20, ge=1, le=1_000_000)
    batch_size: int = Field(128, ge=1, le=1_000_000)
    seed: int = Field(0, ge=0, lt=2**32)
    """Decides the initial weights, the order of the pictures, dropout."""
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    teachers: int = Field(0, ge=0, le=64)
    """So many networks are trained first, as this one is but with other seeds, and their mean
    answer to each picture, as it is shown, is learnt beside its label (arXiv:1503.02531)."""
    teacher_epochs: Annotated[int, Field(ge=1, le=1_000_000)] | Literal["auto"] = "auto"
    """Of each teacher; ``auto`` is as many as its pupil's."""
    taught_by: Annotated[
        tuple[Annotated[str, Field(min_length=1)], ...], Field(strict=False, max_length=64)
    ] = ()
    """Models that teach likewise as they are: run or model folders, or names of models that come
    with the package. What they learnt from may be what is held out here for validation."""
    teacher_share: float = Field(0.8, gt=0, le=1)
    """Share of the teachers' answer in what is learnt of a picture; its label has the rest."""
    averaging: float = Field(0.0, ge=0, lt=1)
    """The weights that are judged and kept are a moving average, of which a step keeps this share;
    0 takes them as they are."""
    temperature: Annotated[float, Field(gt=0)] | Literal["auto"] = "auto"
    """What logits are divided by to make probabilities (arXiv:1706.04599); ``auto`` is what the
    validation part asks for, and 1 without one. Where training shows pictures as photographs, so
    is the validation part shown for this."""
    unsure_below: Annotated[float, Field(ge=0, lt=1)] | Literal["auto"] = 0.0
    """Confidence below which ``predict`` says that it is unsure: how probably a picture shows one
    of the classes at all, where training showed photographs and outliers, and else the probability
    of the likeliest class. ``auto`` is where a tenth of the right answers on the validation part is
    given up, and 0 without one."""
    select: Literal["last", "best_val"] = "last"
    """Which weights are kept: the last, or those of the best validation epoch."""
    select_by: Literal["loss", "accuracy"] = "loss"
    """What ``best_val`` compares, on the validation part."""
    track_test: bool = False
    """Also draw the test curve. Nothing is ever decided by it."""
    checkpoint_seconds: float = Field(60.0, gt=0)
    """A checkpoint is written at every epoch's end, and within an epoch this often."""

    @field_validator("taught_by", mode="before")
    @classmethod
    def _one_model_needs_no_list(cls, taught_by: Any) -> Any:
        return (taught_by,) if isinstance(taught_by, str) else taught_by


class RuntimeConfig(Section):
    """What it runs on."""

    device: str = "auto"
    """``auto``, ``cpu``, ``mps``, ``cuda``, or one GPU of several as ``cuda:1``."""
    precision: Literal["auto", "fp32", "bf16"] = "fp32"
    """``auto`` takes bf16 where the processor has the instructions for it."""
    threads: Annotated[int, Field(ge=1, le=1024)] | Literal["auto"] = "auto"
    """CPU threads; ``auto`` is one for each core this process may use."""
    kernels: Literal["auto", "native", "torch"] = "auto"
    """What computes on the CPU: kernels compiled for this processor at their first use, or
    PyTorch's; ``auto`` takes the compiled ones where they can be had. In bf16 convolutions are
    PyTorch's in any case."""

    @field_validator("device")
    @classmethod
    def _device_is_known(cls, device: str) -> str:
        if not DEVICE_NAME.fullmatch(device):
            raise ValueError(f"should be {DEVICE_NAMES}")
        return device


class Settings(Section):
    """Everything a training run is decided by."""

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
    runtime: RuntimeConfig = RuntimeConfig()

    @field_validator("model", mode="before")
    @classmethod
    def _fashion_cnn_needs_no_name(cls, model: Any) -> Any:
        return {"name": UNNAMED_KINDS["model"], **model} if isinstance(model, dict) else model

    @model_validator(mode="after")
    def _select_needs_validation(self) -> Settings:
        if self.training.select == "best_val" and self.data.validation == 0:
            raise ValueError("select = 'best_val' needs a validation part; set validation above 0")
        return self

    def to_toml(self) -> str:
        """Return the settings as TOML that `resolve` reads back to the same settings."""
        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True))
