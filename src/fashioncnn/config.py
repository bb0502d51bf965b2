"""Settings from recipes, files, environment variables and flags.

A recipe is a TOML file in ``fashioncnn/recipes``. `resolve` merges the layers
(flag > environment > ``--config`` file > recipe > default), validates the result once, and returns
the frozen models of `fashioncnn.settings`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from fashioncnn.errors import ConfigError, UsageError, nearest
from fashioncnn.migration import RENAMED, migrate_settings
from fashioncnn.reading import missing, parse_toml, reason
from fashioncnn.reading import read_toml as read_toml_file
from fashioncnn.settings import DEFAULT_NAMES, SCHEMA, SECTIONS, CustomConfig, Settings
from fashioncnn.settings.effects import has_default_value, without_effect

ENVIRONMENT_PREFIX = "FASHIONCNN_"
NOT_SETTINGS = frozenset({"FASHIONCNN_HOME", "FASHIONCNN_STORAGE"})
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
    "fold": "data.fold",
    "fraction": "data.fraction",
    "label_noise": "data.label_noise",
    "patience": "training.patience",
    "select": "training.select",
    "track_test": "training.track_test",
    "class_weights": "data.class_weights",
    "image_size": "data.image_size",
    "channels": "data.channels",
    "freeze": "training.freeze",
    "skip_broken": "data.skip_broken",
}
"""Settings with a flag of their own: its name, and the dotted key it sets."""


def recipe_names() -> list[str]:
    """Return the names of the recipes that come with the package."""
    folder = resources.files("fashioncnn") / "recipes"
    return sorted(f.name.removesuffix(".toml") for f in folder.iterdir() if f.name[-5:] == ".toml")


def resolve(
    recipe: str = "baseline",
    *,
    config: Path | None = None,
    flags: Mapping[str, Any] | None = None,
    flag_names: Mapping[str, str] | None = None,
    assignments: list[str] | None = None,
    environment: Mapping[str, str] = os.environ,
    own_network: bool = False,
) -> Settings:
    """Merge all layers and validate the result.

    Args:
        recipe: name of a recipe, or path of a recipe file ending in ``.toml``.
        config: a TOML file with some of the settings.
        flags: values by the names in `FLAGS`, or by dotted key; None is not given.
        flag_names: what messages call a flag that was given, such as ``--epochs``; by default its
            dotted key.
        assignments: ``key=value`` with dotted keys, values in TOML notation.
        environment: source of the ``FASHIONCNN_<SETTING>`` variables.
        own_network: whether a network of the user replaces the recipe's.

    Raises:
        ConfigError: settings are unknown or invalid; all of them are reported together. Or one was
            given that has no effect.
        UsageError: the recipe or the file does not exist.
    """
    layers = [_read_recipe(recipe)]
    from_file = {} if config is None else _read_settings_file(config)
    layers.append(from_file)
    variables = _from_environment(environment)
    layers.append(_nested({key: value for key, (_, value) in variables.items()}))
    given = {setting_key(k): v for k, v in (flags or {}).items() if v not in (None, "")}
    assigned = dict(_parse_assignment(a) for a in assignments or [])
    given |= assigned
    layers.append(_nested(given))
    merged: dict[str, Any] = {}
    for layer in layers:
        merged = _merge(merged, layer)
    origins = {key: name for key, (name, _) in variables.items() if key not in given}
    names = {FLAGS[flag]: name for flag, name in (flag_names or {}).items()}
    origins |= {key: name for key, name in names.items() if key not in assigned}
    in_file, typed = _leaf_origins(from_file, config), {key: key for key in given}
    typed |= {key: f"--set {key}" for key in assigned}
    _reject_validation_with_fold(merged, from_file, {**in_file, **typed, **origins})
    settings = validate(merged, origins)
    # The settings of a run contain all of them.
    own_file = {} if _is_resolved(from_file) else in_file
    _reject_without_effect(settings, {**own_file, **typed, **origins}, own_network=own_network)
    return settings


def _leaf_origins(values: Mapping[str, Any], path: Path | None) -> dict[str, str]:
    return {key: f"{path}: {key}" for key in _leaves(values)}


def _is_resolved(values: Mapping[str, Any]) -> bool:
    """Return whether these are the settings of a run, from a file."""
    data = values.get("data")
    return "recipe" in values and isinstance(data, dict) and "source" in data


def _reject_without_effect(
    settings: Settings, explicit: Mapping[str, str], *, own_network: bool
) -> None:
    """Reject settings that were given and have no effect; `explicit` has where, by dotted key."""
    for key, why in without_effect(settings, own_network=own_network).items():
        if key in explicit and not has_default_value(settings, key):
            raise ConfigError(f"{explicit[key]}: has no effect {why}")


def _reject_validation_with_fold(
    merged: Mapping[str, Any], from_file: Mapping[str, Any], explicit: Mapping[str, str]
) -> None:
    """Reject a size of the validation split beside a fold, which is one.

    That of a recipe is replaced. The resolved settings of a run have both: the fold and its size.
    """
    data, in_file = merged.get("data"), from_file.get("data")
    fold = data.get("fold") if isinstance(data, dict) else None
    origin = explicit.get("data.validation")
    is_resolved = isinstance(in_file, dict) and "fold" in in_file and "source" in in_file
    if fold is None or origin is None or (is_resolved and origin.endswith(": data.validation")):
        return
    raise ConfigError(
        f"{origin}: the fold {fold} is the validation split (data.fold); give only one of them"
    )


def validate(values: Mapping[str, Any], origins: Mapping[str, str] | None = None) -> Settings:
    """Return validated settings, or raise `ConfigError` that reports every invalid value.

    Args:
        values: nested, as in a recipe.
        origins: the flag or environment variable that set a dotted key, for messages.
    """
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        raise ConfigError("; ".join(_error_messages(error, origins or {}))) from None


def override(
    settings: Settings, values: Mapping[str, Any], origins: Mapping[str, str] | None = None
) -> Settings:
    """Return the settings with `values` replaced, by dotted key; may raise `ConfigError`.

    Args:
        settings: to start from.
        values: by dotted key or name of a flag.
        origins: see `validate`.
    """
    base = settings.model_dump(exclude_none=True)
    changes = _nested({setting_key(k): v for k, v in values.items()})
    return validate(_merge(base, changes), origins)


def setting_key(name: str) -> str:
    """Return the dotted key of a flag's name or of a dotted key itself."""
    return FLAGS.get(name, name)


def explicit_keys(
    config: Path | None, assignments: list[str], environment: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """Return the keys set by environment, file or ``--set``, with their origin for messages."""
    origins = {key: variable for key, (variable, _) in _from_environment(environment).items()}
    origins |= {
        key: f"{config}: {key}" for key in _leaves(_read_settings_file(config) if config else {})
    }
    return origins | {key: f"--set {key}" for key in assignment_keys(assignments)}


def _leaves(values: Mapping[str, Any], section: str = "") -> Iterator[str]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{section}{key}.")
        else:
            yield f"{section}{key}"


def assignment_keys(assignments: list[str]) -> set[str]:
    """Return the dotted keys that ``key=value`` assignments set."""
    return {_parse_assignment(text)[0] for text in assignments}


def source_from_environment() -> str | None:
    """Return ``FASHIONCNN_DATA``, for commands that take no other setting."""
    return os.environ.get("FASHIONCNN_DATA") or None


def storage_from_environment() -> str | None:
    """Return ``FASHIONCNN_STORAGE``, the address of a database for searches."""
    return os.environ.get("FASHIONCNN_STORAGE") or None


def kernels_from_environment() -> str:
    """Return ``FASHIONCNN_KERNELS``, for commands that take no other setting; else ``auto``.

    Raises:
        ConfigError: there are no kernels of that name.
    """
    name = os.environ.get("FASHIONCNN_KERNELS") or "auto"
    known = ("auto", "native", "mixed", "torch")
    if name not in known:
        raise ConfigError(f"FASHIONCNN_KERNELS = {name}: should be one of {', '.join(known)}")
    return name


def read_settings(path: Path) -> Settings:
    """Return the settings of a run's ``config.toml``, of this version or of 0.1.

    Raises:
        UsageError: there is no such file.
        ConfigError: it is not valid, or of a later version.
    """
    try:
        return validate(migrate_settings(read_toml(path)))
    except ConfigError as error:
        message = str(error)
        raise ConfigError(message if str(path) in message else f"{path}: {message}") from None


def _read_recipe(recipe: str) -> dict[str, Any]:
    if recipe.endswith(".toml"):
        return {"recipe": Path(recipe).stem, **_read_settings_file(Path(recipe))}
    if recipe not in recipe_names():
        raise UsageError(
            f"recipe {recipe}: does not exist{nearest(recipe, recipe_names())} (available: "
            f"{', '.join(recipe_names())})"
        )
    text = (resources.files("fashioncnn") / "recipes" / f"{recipe}.toml").read_text("utf-8")
    return {"recipe": recipe, **parse_toml(text)}


def _read_settings_file(path: Path) -> dict[str, Any]:
    """Return the settings in a TOML file, which may be the ``config.toml`` of a run."""
    values = read_toml(path)
    schema = values.pop("schema", SCHEMA)
    if schema != SCHEMA:
        raise ConfigError(f"{path}: schema {schema}: written by another version of fashioncnn")
    return values


def read_toml(path: Path) -> dict[str, Any]:
    """Return the content of a TOML file.

    Raises:
        UsageError: there is no such file.
        ConfigError: it is not TOML, not a regular file, or too large.
    """
    try:
        return read_toml_file(path)
    except FileNotFoundError:
        raise UsageError(missing(path)) from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({reason(error)})") from None
    except ValueError as error:
        raise ConfigError(f"{path}: not readable as TOML ({error})") from None


def _from_environment(environment: Mapping[str, str]) -> dict[str, tuple[str, Any]]:
    """Return (variable, value) by dotted key."""
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


def _variable(name: str) -> str:
    return ENVIRONMENT_PREFIX + name.replace(".", "__").upper()


def _nearest_variable(name: str) -> str:
    known = [*FLAGS, *(key for key in known_keys() if "." in key)]
    return nearest(_variable(name), map(_variable, known))


def _parse_assignment(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"--set {text}: should be key=value, as in --set model.hidden=256")
    return setting_key(key.strip()), _parse_value(value.strip())


def _parse_value(text: str) -> Any:
    """Parse a TOML value, True or False; anything else is a string."""
    if text in ("True", "False"):
        return text == "True"
    try:
        return parse_toml(f"value = {text}")["value"]
    except ValueError:
        return text


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested dicts for values by dotted key."""
    root: dict[str, Any] = {}
    for key, value in values.items():
        *sections, leaf = key.split(".")
        node = root
        for section in sections:
            node = node.setdefault(section, {})
            if not isinstance(node, dict):
                raise ConfigError(f"{key}: '{section}' is not a section, it was set to a value")
        node[leaf] = value
    return root


def _merge(base: Mapping[str, Any], override: Mapping[str, Any]) -> dict[str, Any]:
    """Merge two layers. A section with another ``name`` replaces the whole section of `base`."""
    merged = dict(base)
    for key, value in override.items():
        current = merged.get(key)
        if isinstance(value, dict) and not isinstance(current, dict | None):
            raise ConfigError(f"{key} = {current!r}: should be a section")
        if isinstance(value, dict) and isinstance(current, dict):
            name = current.get("name", DEFAULT_NAMES.get(key))
            replaced = "name" in value and value["name"] != name
            merged[key] = value if replaced else _merge(current, value)
        else:
            merged[key] = value
    return merged


def _error_messages(error: ValidationError, origins: Mapping[str, str]) -> Iterator[str]:
    """Yield one message per invalid key; the expectations of a union are joined."""
    messages: dict[str, list[str]] = {}
    for details in error.errors():
        subject, expected = _describe_error(details, origins)
        messages.setdefault(subject, []).append(expected)
    for subject, expectations in messages.items():
        yield f"{subject}: {', or '.join(expectations)}"


def _describe_error(details: ErrorDetails, origins: Mapping[str, str]) -> tuple[str, str]:
    """Return the invalid key with its value, and what was expected."""
    parts = [str(p) for p in details["loc"] if p not in _UNION_TAGS]
    if len(parts) > 1 and parts[0] in ("model", "optimizer", "schedule"):
        del parts[1]  # pydantic's tag of the union, which is not part of the key
    key = ".".join(parts) or "settings"
    subject = origins.get(key, key)
    if details["type"] == "extra_forbidden":
        return subject, _why_unknown(key, in_environment=key in origins)
    if details["type"] == "missing":
        why = f" (another {parts[0]}.name keeps no value of the recipe)" if len(parts) > 1 else ""
        return subject, f"not set{why}"
    if details["type"] == "union_tag_invalid":
        context = details["ctx"]
        tags = context["expected_tags"]
        return f"{subject}.name = {context['tag']!r}", f"should be one of {tags}"
    if not isinstance(details["input"], dict | BaseModel):
        value = details["input"]
        subject += f" {value}" if subject.startswith("--") else f" = {value!r}"
    return subject, details["msg"].removeprefix("Value error, ").replace("Input should", "should")


def _why_unknown(key: str, *, in_environment: bool) -> str:
    if key in RENAMED:
        new = RENAMED[key]
        return f"renamed to {_variable(new) if in_environment else new} in version 0.2"
    if key in known_keys():
        section = key.partition(".")[0]
        return f"no setting of this {section}.name"
    return f"no such setting{nearest(key, known_keys())}"


_UNION_TAGS = frozenset({"int", "constrained-int", "constrained-float", "literal['auto']"})


def known_keys() -> list[str]:
    """Return every section and dotted key."""
    keys = ["recipe", "description"]
    for section, kinds in SECTIONS.items():
        given = (kind for kind in kinds if kind is not CustomConfig)  # which --network sets
        keys += [section, *(f"{section}.{field}" for kind in given for field in kind.model_fields)]
    return keys
