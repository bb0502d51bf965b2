"""Where settings come from: recipes, files, environment, flags.

A recipe is a TOML file in ``fashioncnn/recipes``. `resolve` lays the layers over each other
(flag > environment > ``--config`` file > recipe > default), checks the result once, and
returns frozen models (`fashioncnn.settings`) that the rest of the package trusts.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from fashioncnn.errors import ConfigError, UsageError, nearest
from fashioncnn.settings import (
    UNNAMED_KINDS,
    AdamConfig,
    AugmentationConfig,
    BatchNormCNNConfig,
    ConstantSchedule,
    DataConfig,
    DecaySchedule,
    FashionCNNConfig,
    MuonConfig,
    ResidualCNNConfig,
    RuntimeConfig,
    Section,
    Settings,
    SGDConfig,
    TrainingConfig,
)

ENVIRONMENT_PREFIX = "FASHIONCNN_"
NOT_SETTINGS = frozenset({"FASHIONCNN_HOME"})
"""Variables with our prefix that are not settings: the cache folder."""


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
        layers.append(read_toml(config))
    variables = _from_environment(environment)
    layers.append(_nested({key: value for key, (_, value) in variables.items()}))
    given = {FLAGS[k]: v for k, v in (flags or {}).items() if v not in (None, "")}
    given |= dict(_parse_assignment(a) for a in assignments or [])
    layers.append(_nested(given))
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


def override(settings: Settings, values: Mapping[str, Any]) -> Settings:
    """Return the settings with other `values`, by dotted key, or raise `ConfigError`."""
    base = settings.model_dump(exclude_none=True)
    return validate(_merge(base, _nested({setting_key(k): v for k, v in values.items()})))


def setting_key(name: str) -> str:
    """Return the dotted key that a name as ``--set`` takes it stands for."""
    return FLAGS.get(name, name)


def told_keys(
    config: Path | None, assignments: list[str], environment: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """Return the dotted keys that are set besides the recipe and the flags, and who says so."""
    told = {key: variable for key, (variable, _) in _from_environment(environment).items()}
    told |= {key: f"{config}: {key}" for key in _leaves(read_toml(config) if config else {})}
    return told | {key: f"--set {key}" for key in assigned_keys(assignments)}


def _leaves(values: Mapping[str, Any], section: str = "") -> Iterator[str]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{section}{key}.")
        else:
            yield f"{section}{key}"


def assigned_keys(assignments: list[str]) -> set[str]:
    """Return the dotted keys that ``key=value`` assignments set."""
    return {_parse_assignment(text)[0] for text in assignments}


def cache_folder() -> Path:
    """Return the cache, where it is or would be: ``FASHIONCNN_HOME``, else the XDG cache's.

    Raises:
        UsageError: it is in the home of somebody whom the system does not know.
    """
    home = os.environ.get("FASHIONCNN_HOME")
    if home:
        return expanded(home, "FASHIONCNN_HOME")
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return expanded(cache, "the cache, which FASHIONCNN_HOME names,") / "fashioncnn"


def expanded(path: str, name: str) -> Path:
    """Return a path whose ``~`` is somebody's home.

    Args:
        path: as it was given.
        name: what was given so.

    Raises:
        UsageError: the system knows no such person, or no home of theirs.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise UsageError(f"{name} = {path}: there is no such home; write it out") from None


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
    try:
        return validate(_merge({"runtime": {"kernels": "torch"}}, read_toml(path)))
    except ConfigError as error:
        told = str(error)
        raise ConfigError(told if str(path) in told else f"{path}: {told}") from None


def _read_recipe(recipe: str) -> dict[str, Any]:
    if recipe.endswith(".toml"):
        return {"recipe": Path(recipe).stem, **read_toml(Path(recipe))}
    if recipe not in recipe_names():
        known = ", ".join(recipe_names())
        raise UsageError(
            f"no recipe '{recipe}'{nearest(recipe, recipe_names())} (there are {known})"
        )
    text = (resources.files("fashioncnn") / "recipes" / f"{recipe}.toml").read_text("utf-8")
    return {"recipe": recipe, **tomllib.loads(text)}


def read_toml(path: Path) -> dict[str, Any]:
    """Return the content of a TOML file.

    Raises:
        UsageError: there is no such file.
        ConfigError: it is no TOML.
    """
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
    known = [*FLAGS, *(key.replace(".", "__") for key in _known_keys() if "." in key)]
    variables = [ENVIRONMENT_PREFIX + setting.upper() for setting in known]
    return nearest(ENVIRONMENT_PREFIX + name.upper(), variables)


def _parse_assignment(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"--set {text}: write key=value, as in --set model.hidden=256")
    key = key.strip()
    return setting_key(key), _parse_value(value.strip())


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
        if key in _known_keys():
            return key, f"no such setting of this kind of {parts[0]}"
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
        "model": (FashionCNNConfig, BatchNormCNNConfig, ResidualCNNConfig),
        "data": (DataConfig,),
        "augmentation": (AugmentationConfig,),
        "optimizer": (AdamConfig, SGDConfig, MuonConfig),
        "schedule": (ConstantSchedule, DecaySchedule),
        "training": (TrainingConfig,),
        "runtime": (RuntimeConfig,),
    }
    for section, models in sections.items():
        keys += [section, *(f"{section}.{field}" for m in models for field in m.model_fields)]
    return keys
