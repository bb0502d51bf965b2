"""Flags whose type, range and help are those of a setting."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

from cyclopts import Parameter, Token

from fashioncnn.cli.options import option_name
from fashioncnn.config import FLAGS, override, recipe_names, resolve
from fashioncnn.settings import Settings
from fashioncnn.settings_reference import Setting, find_setting

Command = TypeVar("Command", bound=Callable[..., Any])

Recipe = Annotated[
    str, Parameter(help=f"Name of a recipe ({', '.join(recipe_names())}), or a .toml file.")
]
METAVARS = {"integer": "INT", "number": "FLOAT", "string": "STR"}


def setting_flags(*names: str) -> Callable[[Command], Command]:
    """Replace ``**flags`` in the signature of a command by a flag for each setting.

    The command is called with the flags that were given. `resolve_settings` validates them.

    Args:
        names: of `fashioncnn.config.FLAGS`.
    """

    def expand(command: Command) -> Command:
        signature = inspect.signature(command)
        kinds = inspect.Parameter
        own = signature.parameters.values()
        arguments = [p for p in own if p.kind not in (kinds.KEYWORD_ONLY, kinds.VAR_KEYWORD)]
        options = [p for p in own if p.kind is kinds.KEYWORD_ONLY]
        parameters = [*arguments, *map(_parameter, names), *options]
        command.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        return command

    return expand


def resolve_settings(
    recipe: str,
    flags: Mapping[str, Any],
    *,
    config: Path | None = None,
    assignments: list[str] | None = None,
    own_network: bool = False,
) -> Settings:
    """Return the settings of a command; see `fashioncnn.config.resolve`.

    Raises:
        ConfigError: settings are unknown or invalid; flags are named as they are typed.
        UsageError: the recipe or the file does not exist.
    """
    names = _names(flags)
    return resolve(
        recipe,
        config=config,
        flags=flags,
        flag_names=names,
        assignments=assignments,
        own_network=own_network,
    )


def override_settings(settings: Settings, flags: Mapping[str, Any]) -> Settings:
    """Return the settings with those that have a flag replaced.

    Raises:
        ConfigError: a value is invalid.
    """
    origins = {FLAGS[flag]: name for flag, name in _names(flags).items()}
    return override(settings, flags, origins)


def _names(flags: Iterable[str]) -> dict[str, str]:
    return {flag: option_name(flag) for flag in flags}


def _parameter(name: str) -> inspect.Parameter:
    """Return the keyword-only parameter of a flag."""
    setting = find_setting(FLAGS[name])
    types: Any
    if setting.types == ("boolean",):
        types, parameter = bool, Parameter(help=_help(setting))
    else:
        metavar = "|".join([*(METAVARS[kind] for kind in setting.types), *setting.choices])
        is_number = bool({"integer", "number"} & set(setting.types))
        is_number |= any(choice.isdecimal() for choice in setting.choices)
        converter = _number_or_text if is_number else None
        types = int | float | str if is_number else str
        parameter = Parameter(help=_help(setting), metavar=metavar, converter=converter)
    annotation = Annotated[types | None, parameter]
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, kind, default=None, annotation=annotation)


def _help(setting: Setting) -> str:
    bounds = f" [{setting.bounds}]" if setting.bounds else ""
    return setting.description.replace("``", "") + bounds


def _number_or_text(_: Any, tokens: Sequence[Token]) -> int | float | str:
    """Return what was typed as a number if it is one; whether it is valid is decided later."""
    for kind in (int, float):
        try:
            return kind(tokens[0].value)
        except ValueError:
            continue
    return tokens[0].value
