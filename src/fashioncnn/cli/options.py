"""Types of command-line options, and messages about unknown ones.

This module is imported by ``--help``, so pydantic is imported only where settings are needed.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import (
    CycloptsError,
    MissingArgumentError,
    Parameter,
    Token,
    UnknownOptionError,
)
from cyclopts.exceptions import UnusedCliTokensError

from fashioncnn.errors import UsageError, nearest

if TYPE_CHECKING:
    from fashioncnn.tracking.options import TrackerOption

Switch = Annotated[bool, Parameter(negative=(), show_default=False)]
"""An option without a value and without ``--no-…``."""
Assignments = Annotated[
    list[str] | None, Parameter(name="--set", negative=(), metavar="KEY=VALUE...")
]
"""The option ``--set``; see `split_assignments`."""
Trackers = Annotated[list[str] | None, Parameter(name="--track", negative=(), metavar="TRACKER")]
"""The option ``--track``; see `track_option`."""

Backend = Literal["auto", "onnx", "torch"]
"""The option ``--backend``; see `fashioncnn.loading.BackendChoice`."""

RENAMED_FLAGS = {
    "--fit": "--views",
    "--save-seen": "--save-views",
    "--unsure-below": "--abstain-below",
}
"""Flags of version 0.1 and their names since 0.2."""
_ASSIGNMENT = re.compile(r"[\w.]+=.*", re.DOTALL)


def number(
    kind: type[int] | type[float],
    *,
    minimum: float = -math.inf,
    above: float = -math.inf,
    maximum: float = math.inf,
) -> Parameter:
    """Return the parameter of an option that takes a number; integers are never rounded.

    Args:
        kind: int or float.
        minimum: smallest value.
        above: lower bound that is not a valid value itself.
        maximum: largest value.
    """

    def convert(_: Any, tokens: Sequence[Token]) -> float:
        token = tokens[0]
        expected = "an integer" if kind is int else "a number"
        try:
            value = kind(token.value)
            if not math.isfinite(value):
                expected = "a finite number"
            elif value < minimum:
                expected = f"greater than or equal to {minimum:g}"
            elif value <= above:
                expected = f"greater than {above:g}"
            elif value > maximum:
                expected = f"less than or equal to {maximum:g}"
            else:
                return value
        except (ValueError, OverflowError):
            pass
        raise UsageError(f"{token.keyword} {token.value}: should be {expected}")

    return Parameter(converter=convert)


def track_option(values: list[str] | None) -> list[TrackerOption]:
    """Return the places given with ``--track``; raises `UsageError` or `MissingExtraError`."""
    if not values:
        return []
    from fashioncnn.tracking.options import parse_trackers

    return parse_trackers(values)


def split_assignments(arguments: Iterable[str]) -> list[str]:
    """Return the arguments with ``--set`` repeated before each ``key=value`` that follows another.

    >>> split_assignments(["--set", "model.hidden=64", "seed=1", "--json"])
    ['--set', 'model.hidden=64', '--set', 'seed=1', '--json']
    """
    result: list[str] = []
    expects_value = follows_assignment = False
    for argument in arguments:
        if follows_assignment and _ASSIGNMENT.fullmatch(argument):
            result.append("--set")
        else:
            follows_assignment = expects_value or argument.startswith("--set=")
        expects_value = argument == "--set"
        result.append(argument)
    return result


def option_names(command: Callable[..., Any]) -> list[str]:
    """Return the options of a command as they are typed."""
    parameters = inspect.signature(command).parameters.values()
    return [option_name(p.name) for p in parameters if p.kind is p.KEYWORD_ONLY]


def option_name(parameter: str) -> str:
    """Return the option of a parameter: ``--batch-size`` for ``batch_size``."""
    return f"--{parameter.strip('_').replace('_', '-')}"


def unknown_option(option: str, known: Iterable[str]) -> UsageError:
    """Return the error for an option that a command does not have.

    Args:
        option: as it was typed, perhaps with ``=value``.
        known: the options of the command.
    """
    name, known = option.partition("=")[0], list(known)
    if RENAMED_FLAGS.get(name) in known:
        return UsageError(f"{name}: renamed to {RENAMED_FLAGS[name]} in version 0.2")
    return UsageError(f"{name}: unknown option{nearest(name, known)}")


def usage_error(error: CycloptsError) -> UsageError:
    """Return an error of cyclopts as one line."""
    if isinstance(error, UnknownOptionError):
        known = (name for argument in error.argument_collection for name in argument.names)
        return unknown_option(error.token.keyword or error.token.value, known)
    command = " ".join(["fashioncnn", *(error.command_chain or ())])
    if isinstance(error, MissingArgumentError) and error.argument is not None:
        return UsageError(f"{error.argument.name}: value missing; see {command} --help")
    if isinstance(error, UnusedCliTokensError):
        unexpected = " ".join(error.unused_tokens or ())
        return UsageError(f"{unexpected}: unexpected argument; see {command} --help")
    return UsageError(" ".join(str(error).split()))
