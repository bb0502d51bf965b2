"""Where to track: the values of ``--track``. Imports no tracker."""

from __future__ import annotations

import urllib.parse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from fashioncnn.environment import require_modules
from fashioncnn.errors import UsageError

Kind = Literal["tensorboard", "mlflow"]
KINDS = ("tensorboard", "mlflow")
SCHEMES = ("sqlite", "http", "https")
SYNTAX = "should be tensorboard[:DIR] or mlflow[:URI]"


@dataclass(frozen=True)
class TrackerOption:
    """One place to track to.

    Attributes:
        kind: ``tensorboard`` or ``mlflow``.
        target: folder of event files, or URI of a tracking server or SQLite file; None is a place
            beside the run.
    """

    kind: Kind
    target: str | None = None

    def __str__(self) -> str:
        """The option as it was given, without a password."""
        if self.target is None:
            return self.kind
        parts = urllib.parse.urlsplit(self.target)
        shown = self.target
        if parts.username or parts.password:
            shown = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        return f"{self.kind}:{shown}"


def parse_trackers(values: str | Sequence[str], name: str = "--track") -> list[TrackerOption]:
    """Return the places in ``tensorboard``, ``tensorboard:DIR``, ``mlflow`` or ``mlflow:URI``.

    Args:
        values: one or several.
        name: of the option or argument, for messages.

    Raises:
        UsageError: a value is of another form, or a kind is given twice.
        MissingExtraError: a package is not installed.
    """
    options: list[TrackerOption] = []
    given = [values] if isinstance(values, str) else values
    if not isinstance(given, Sequence) or not all(isinstance(value, str) for value in given):
        raise UsageError(f"{name} of type {type(values).__name__}: should be a string, or a list")
    for value in given:
        kind, colon, target = value.partition(":")
        if kind not in KINDS or (colon and not target.strip()):
            raise UsageError(f"{name} {kind}: {SYNTAX}")
        if any(option.kind == kind for option in options):
            raise UsageError(f"{name} {kind}: given twice")
        option = TrackerOption(cast(Kind, kind), target or None)
        _check(option, name)
        options.append(option)
    for option in options:
        require_modules(option.kind)
    return options


def _check(option: TrackerOption, name: str) -> None:
    if option.target is None:
        return
    if option.kind == "tensorboard":
        folder = Path(option.target)
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"{name} {option}: is a file; give a folder")
        return
    scheme, separator, rest = option.target.partition(":")
    if separator and (scheme not in SCHEMES or not rest.startswith("//")):
        raise UsageError(
            f"{name} mlflow: its URI should be sqlite:///FILE, http://HOST:PORT or "
            "https://HOST, or the path of a SQLite file"
        )
