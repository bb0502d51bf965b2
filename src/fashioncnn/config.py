"""Settings: what can be set, what it may be, and where a value comes from.

A recipe is a TOML file in ``fashioncnn/recipes``. `resolve` lays the layers over each other
(flag > environment > ``--config`` file > recipe > default), checks the result once, and
returns frozen models that the rest of the package trusts.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails

from fashioncnn.errors import ConfigError, UsageError, nearest

ENVIRONMENT_PREFIX = "FASHIONCNN_"
NOT_SETTINGS = frozenset({"FASHIONCNN_HOME"})
"""Variables with our prefix that are not settings: the cache folder."""


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


ModelConfig = Annotated[FashionCNNConfig | BatchNormCNNConfig, Field(discriminator="name")]


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
    class_weights: Literal["none", "auto"] = "none"
    """``auto`` weighs the loss of each class by n / (classes · n_class)."""


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
    select: Literal["last", "best_val"] = "last"
    """Which weights are kept: the last, or those of the best validation epoch."""
    select_by: Literal["loss", "accuracy"] = "loss"
    """What ``best_val`` compares, on the validation part."""
    track_test: bool = False
    """Also draw the test curve. Nothing is ever decided by it."""
    checkpoint_seconds: float = Field(60.0, gt=0)
    """A checkpoint is written at every epoch's end, and within an epoch this often."""


class RuntimeConfig(Section):
    """What it runs on."""

    device: str = "auto"
    """``auto``, ``cpu``, ``mps``, ``cuda``, or one GPU of several as ``cuda:1``."""
    precision: Literal["auto", "fp32", "bf16"] = "fp32"
    """``auto`` takes bf16 where the processor has the instructions for it."""
    threads: Annotated[int, Field(ge=1, le=1024)] | Literal["auto"] = "auto"
    """CPU threads; ``auto`` is one for each core this process may use."""
    kernels: Literal["auto", "native", "torch"] = "auto"
    """What convolves on the CPU: kernels compiled for this processor at their first use, in fp32,
    or PyTorch's; ``auto`` takes the compiled ones for fp32 where they can be had."""

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


FLAGS = {
    "data": "data.source",
    "epochs": "training.epochs",
    "batch_size": "training.batch_size",
    "learning_rate": "optimizer.learning_rate",
    "seed": "training.seed",
    "device": "runtime.device",
    "precision": "runtime.precision",
    "threads": "runtime.threads",
    "kernels": "runtime.kernels",
    "validation": "data.validation",
    "select": "training.select",
    "track_test": "training.track_test",
    "class_weights": "data.class_weights",
    "image_size": "data.image_size",
}
"""Settings with a flag of their own, and the dotted key each stands for."""


def recipe_names() -> list[str]:
    """Return the names of the recipes that come with the package."""
    folder = resources.files("fashioncnn") / "recipes"
    return sorted(f.name.removesuffix(".toml") for f in folder.iterdir() if f.name[-5:] == ".toml")


def resolve(
    recipe: str = "baseline",
    *,
    config: Path | None = None,
    flags: Mapping[str, Any] | None = None,
    assignments: list[str] | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Settings:
    """Lay all layers over each other and check the result.

    Args:
        recipe: name of a recipe, or path of a recipe file ending in ``.toml``.
        config: a TOML file with some of the settings.
        flags: values by the names in `FLAGS`; None means not given.
        assignments: ``key=value`` with dotted keys, values in TOML notation.
        environment: where ``FASHIONCNN_<SETTING>`` is looked up.

    Raises:
        ConfigError: any setting is unknown or wrong; all faults are named together.
        UsageError: the recipe or the file does not exist.
    """
    layers = [_read_recipe(recipe)]
    if config is not None:
        layers.append(_read_toml(config))
    variables = _from_environment(environment)
    layers.append(_nested({key: value for key, (_, value) in variables.items()}))
    given = {FLAGS[k]: v for k, v in (flags or {}).items() if v not in (None, "")}
    layers.append(_nested({**given, **dict(_parse_assignment(a) for a in assignments or [])}))
    merged: dict[str, Any] = {}
    for layer in layers:
        merged = _merge(merged, layer)
    told_by = {key: name for key, (name, _) in variables.items() if key not in given}
    return validate(merged, told_by)


def validate(values: Mapping[str, Any], told_by: Mapping[str, str] | None = None) -> Settings:
    """Return checked settings, or raise `ConfigError` that names every fault.

    Args:
        values: nested, as a recipe is.
        told_by: environment variables by the dotted key that they set, for the message.
    """
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        raise ConfigError("; ".join(_faults(error, told_by or {}))) from None


def cache_folder() -> Path:
    """Return the cache, where it is or would be: ``FASHIONCNN_HOME``, else the XDG cache's."""
    home = os.environ.get("FASHIONCNN_HOME")
    if home:
        return Path(home).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "fashioncnn"


def source_from_environment() -> str | None:
    """Return ``FASHIONCNN_DATA``, for commands that take no other setting."""
    return os.environ.get("FASHIONCNN_DATA") or None


def kernels_from_environment() -> str:
    """Return ``FASHIONCNN_KERNELS``, for commands that take no other setting; else ``auto``.

    Raises:
        ConfigError: there are no kernels of that name.
    """
    name = os.environ.get("FASHIONCNN_KERNELS") or "auto"
    known = ("auto", "native", "torch")
    if name not in known:
        raise ConfigError(f"FASHIONCNN_KERNELS = {name}: should be one of {', '.join(known)}")
    return name


def read_settings(path: Path) -> Settings:
    """Read the ``config.toml`` of a run; those of version 0.1.0 knew PyTorch's kernels alone."""
    values = _read_toml(path)
    return validate({**values, "runtime": {"kernels": "torch", **values.get("runtime", {})}})


def _read_recipe(recipe: str) -> dict[str, Any]:
    if recipe.endswith(".toml"):
        return {"recipe": Path(recipe).stem, **_read_toml(Path(recipe))}
    if recipe not in recipe_names():
        known = ", ".join(recipe_names())
        raise UsageError(
            f"no recipe '{recipe}'{nearest(recipe, recipe_names())} (there are {known})"
        )
    text = (resources.files("fashioncnn") / "recipes" / f"{recipe}.toml").read_text("utf-8")
    return {"recipe": recipe, **tomllib.loads(text)}


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise UsageError(f"no such file: {path}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not readable as TOML ({error})") from None


def _from_environment(environment: Mapping[str, str]) -> dict[str, tuple[str, Any]]:
    """Return variable and value by the dotted key that the variable sets."""
    values: dict[str, tuple[str, Any]] = {}
    for variable, text in environment.items():
        if not variable.startswith(ENVIRONMENT_PREFIX) or variable in NOT_SETTINGS or not text:
            continue
        name = variable.removeprefix(ENVIRONMENT_PREFIX).lower()
        key = FLAGS.get(name, name.replace("__", "."))
        if "." not in key:
            raise ConfigError(f"{variable}: no such setting{_nearest_variable(name)}")
        values[key] = variable, text if key == "data.source" else _parse_value(text)
    return values


def _nearest_variable(name: str) -> str:
    return nearest(
        f"{ENVIRONMENT_PREFIX}{name.upper()}", [f"FASHIONCNN_{f.upper()}" for f in FLAGS]
    )


def _parse_assignment(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"--set {text}: write key=value, as in --set model.hidden=256")
    key = key.strip()
    return FLAGS.get(key, key), _parse_value(value.strip())


def _parse_value(text: str) -> Any:
    """Read a TOML value, or True and False; what is none (``adam``) is a string."""
    if text in ("True", "False"):
        return text == "True"
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        return text


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    root: dict[str, Any] = {}
    for key, value in values.items():
        *sections, leaf = key.split(".")
        node = root
        for section in sections:
            node = node.setdefault(section, {})
            if not isinstance(node, dict):
                raise ConfigError(f"{key}: '{section}' was set to a value before")
        node[leaf] = value
    return root


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Lay `over` on `base`. A section that names another kind replaces the whole section."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        if isinstance(value, dict) and isinstance(below, dict):
            kind = below.get("name", UNNAMED_KINDS.get(key))
            other_kind = "name" in value and value["name"] != kind
            merged[key] = value if other_kind else _merge(below, value)
        else:
            merged[key] = value
    return merged


def _faults(error: ValidationError, told_by: Mapping[str, str]) -> Iterator[str]:
    """Yield a phrase for each key at fault; what a union of types expects is told together."""
    faults: dict[str, list[str]] = {}
    for fault in error.errors():
        key, expected = _fault(fault)
        name, _, value = key.partition(" = ")
        if name in told_by:
            key = f"{told_by[name]} = {value}"
        faults.setdefault(key, []).append(expected)
    for key, expectations in faults.items():
        yield f"{key}: {', or '.join(expectations)}"


def _fault(fault: ErrorDetails) -> tuple[str, str]:
    """Return what is at fault, with its value, and what was expected."""
    parts = [str(p) for p in fault["loc"] if p not in _UNION_TAGS]
    if len(parts) > 1 and parts[0] in ("model", "optimizer", "schedule"):
        del parts[1]  # the kind that was chosen, which is no part of the key
    key = ".".join(parts) or "settings"
    if fault["type"] == "extra_forbidden":
        return key, f"no such setting{nearest(key, _known_keys())}"
    if fault["type"] == "missing":
        why = f" (another {parts[0]}.name keeps nothing of the recipe's)" if len(parts) > 1 else ""
        return key, f"not set{why}"
    if fault["type"] == "union_tag_invalid":
        context = fault["ctx"]
        return f"{key}.name = {context['tag']!r}", f"should be one of {context['expected_tags']}"
    if not isinstance(fault["input"], dict | BaseModel):
        key += f" = {fault['input']!r}"
    return key, fault["msg"].removeprefix("Value error, ").replace("Input should", "should")


_UNION_TAGS = frozenset({"int", "constrained-int", "literal['auto']"})


def _known_keys() -> list[str]:
    keys = ["recipe", "description"]
    sections: dict[str, tuple[type[Section], ...]] = {
        "model": (FashionCNNConfig, BatchNormCNNConfig),
        "data": (DataConfig,),
        "optimizer": (AdamConfig, SGDConfig, MuonConfig),
        "schedule": (ConstantSchedule, DecaySchedule),
        "training": (TrainingConfig,),
        "runtime": (RuntimeConfig,),
    }
    for section, models in sections.items():
        keys += [section, *(f"{section}.{field}" for m in models for field in m.model_fields)]
    return keys
