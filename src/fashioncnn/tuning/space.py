"""What is searched: a range or choices for each of some settings of a recipe.

A space is a TOML file built like a recipe, in ``fashioncnn/recipes/spaces`` or a person's own; in
the place of a value stands ``{ low = 1e-4, high = 1e-2, log = true }`` or ``{ choices = [3, 5] }``.
Whole numbers are searched as whole numbers. Everything is checked before anything runs.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from importlib import resources
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fashioncnn.config import override, read_toml, setting_key
from fashioncnn.errors import ConfigError, FashionCNNError, UsageError, nearest
from fashioncnn.settings import Settings

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

Number = int | float
NOT_SEARCHED = {
    "data.source": "losses on other images are not comparable",
    "data.validation": "losses on other images are not comparable",
    "data.image_size": "losses on other images are not comparable",
    "training.epochs": "trials are compared after the same epochs; see --epochs",
    "training.seed": "the luckiest seed is not the best recipe",
    "training.temperature": "it does not change the loss that is searched for",
    "training.abstain_below": "it does not change the loss that is searched for",
    "distillation.ensemble_size": "trials have none; the recipe that comes out has the recipe's",
    "distillation.epochs": "trials have no teachers",
    "distillation.alpha": "trials have no teachers",
    "distillation.teachers": "trials have no teachers",
    "training.track_test": "nothing is decided by the test part",
    "training.checkpoint_seconds": "it does not change what is learnt",
}
"""Settings that no search may vary, with the reason; and none of [runtime]."""
RANGE_KEYS = ("low", "high", "log", "step")


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included.

    Attributes:
        low: the least; whole numbers are searched where both ends are whole.
        high: the greatest.
        log: whether a factor counts, and not a difference.
        step: distance of the values that may be taken; None is 1 for whole numbers, else any.
    """

    low: Number
    high: Number
    log: bool = False
    step: Number | None = None

    @property
    def whole(self) -> bool:
        """Whether whole numbers are searched."""
        return all(isinstance(v, int) for v in (self.low, self.high, self.step or 1))

    @property
    def extremes(self) -> tuple[Any, ...]:
        """The values at the ends."""
        return self.low, self.high

    def holds(self, value: Any) -> bool:
        """Whether the search could come to this value."""
        if isinstance(value, bool) or not isinstance(value, int if self.whole else int | float):
            return False
        if self.step is not None and (_decimal(value) - _decimal(self.low)) % _decimal(self.step):
            return False
        return self.low <= value <= self.high

    def encode(self, value: Any) -> Any:
        """Return the value as the journal keeps it."""
        return value

    def decode(self, value: Any) -> Any:
        """Return the value as a setting takes it."""
        return value

    def distribution(self) -> BaseDistribution:
        """Return the same for Optuna."""
        from optuna.distributions import FloatDistribution, IntDistribution

        if self.whole:
            return IntDistribution(
                int(self.low), int(self.high), log=self.log, step=int(self.step or 1)
            )
        step = None if self.step is None else float(self.step)
        return FloatDistribution(float(self.low), float(self.high), log=self.log, step=step)

    def to_dict(self) -> dict[str, Any]:
        """Return it as its file has it."""
        step = {} if self.step is None else {"step": self.step}
        return {"low": self.low, "high": self.high, "log": self.log, **step}


@dataclass(frozen=True)
class Choices:
    """One of a few values, between which there is no order."""

    choices: tuple[Any, ...]

    @property
    def extremes(self) -> tuple[Any, ...]:
        """Every value: there is none between others."""
        return self.choices

    def holds(self, value: Any) -> bool:
        """Whether it is one of the choices."""
        return _plain(value) in self.choices

    def encode(self, value: Any) -> Any:
        """Return the value as the journal keeps it: a list as text."""
        value = _plain(value)
        return json.dumps(value) if isinstance(value, list | dict) else value

    def decode(self, value: Any) -> Any:
        """Return the value as a setting takes it."""
        return {self.encode(choice): choice for choice in self.choices}[value]

    def distribution(self) -> BaseDistribution:
        """Return the same for Optuna."""
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution([self.encode(choice) for choice in self.choices])

    def to_dict(self) -> dict[str, Any]:
        """Return it as its file has it."""
        return {"choices": list(self.choices)}


Space = dict[str, Range | Choices]
"""What is searched, by the dotted key of the setting."""


def space_names() -> list[str]:
    """Return the names of the spaces that come with the package."""
    return sorted(f.name[:-5] for f in _folder().iterdir() if f.name.endswith(".toml"))


def default_space(settings: Settings) -> str:
    """Return the name of the recipe's own space, or else of its kind of network and optimiser.

    Raises:
        UsageError: none comes with the package.
    """
    if settings.recipe in space_names():
        return settings.recipe
    name = f"{settings.model.name}-{settings.optimizer.name}"
    if name not in space_names():
        raise UsageError(
            f"no search space comes for {settings.model.name} with {settings.optimizer.name}; "
            f"name one with --space (there are {', '.join(space_names())}) or write a file"
        )
    return name


def read_space(name: str) -> Space:
    """Read a space by its name, or from a file ending in ``.toml``.

    Raises:
        UsageError: there is no such space.
        ConfigError: ranges or choices are wrong; all faults are named together.
    """
    if name.endswith(".toml"):
        values = read_toml(Path(name))
    elif name in space_names():
        values = tomllib.loads((_folder() / f"{name}.toml").read_text("utf-8"))
    else:
        known = ", ".join(space_names())
        raise UsageError(f"no space '{name}'{nearest(name, space_names())} (there are {known})")
    values.pop("description", None)
    return parse_space(values, name)


def parse_space(values: Mapping[str, Any], name: str) -> Space:
    """Return the space that nested tables describe; `name` is for messages.

    Raises:
        ConfigError: ranges or choices are wrong; all faults are named together.
    """
    space: Space = {}
    faults: list[str] = []
    for written, table in _leaves(values):
        key = setting_key(written)
        try:
            _refuse_what_decides_the_measure(key)
            if key in space:
                raise ValueError("named twice")
            space[key] = _parse(table)
        except ValueError as error:
            faults.append(f"{key}: {error}")
    if not space and not faults:
        faults.append("nothing to search; write { low = …, high = … } or { choices = […] }")
    if faults:
        raise ConfigError(f"{name}: {'; '.join(faults)}")
    return space


def check_space(
    space: Space, settings: Settings, name: str, check: Callable[[Settings], object] = lambda s: s
) -> None:
    """Refuse a space whose corners are no settings of this recipe.

    Args:
        space: what is searched.
        settings: of the recipe.
        name: of the space, for the message.
        check: what else every corner has to pass; raises where it does not.

    Raises:
        ConfigError: a setting is unknown, or one of its values not possible; all are named.
    """
    faults = dict.fromkeys(filter(None, (_too_coarse(*pair, settings) for pair in space.items())))
    for corner in _corners(space):
        try:
            check(override(settings, corner))
        except FashionCNNError as error:
            faults.update(dict.fromkeys(str(error).split("; ")))
    if faults:
        raise ConfigError(f"{name}: {_join(faults)}")


def point_of(settings: Settings, space: Space) -> dict[str, Any] | None:
    """Return where a recipe's own values lie in the space, encoded; None where they do not."""
    point = {}
    for key, parameter in space.items():
        value = _value_of(settings, key)
        if not parameter.holds(value):
            return None
        point[key] = parameter.encode(value)
    return point


def _value_of(settings: Settings, key: str) -> Any:
    """Return a setting by its dotted key; None where these settings have none of that name."""
    value: Any = settings
    for part in key.split("."):
        value = getattr(value, part, None)
    return value


def _too_coarse(key: str, parameter: Range | Choices, settings: Settings) -> str | None:
    """Return the fault of a range that would leave out all between whole numbers, if it has it."""
    if not isinstance(parameter, Range) or not parameter.whole:
        return None
    if not isinstance(_value_of(settings, key), float):
        return None
    low, high = float(parameter.low), float(parameter.high)
    return (
        f"{key}: low = {parameter.low}, high = {parameter.high} are whole numbers alone, and this "
        f"setting takes all between them; write low = {low}, high = {high}"
    )


def short_names(space: Space) -> dict[str, str]:
    """Return the last part of each key, or the whole of it where that names two or is ``name``."""
    last = [key if key.endswith(".name") else key.rpartition(".")[2] for key in space]
    return {k: s if last.count(s) == 1 else k for k, s in zip(space, last, strict=True)}


def _folder() -> Any:
    return resources.files("fashioncnn") / "recipes" / "spaces"


def _leaves(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield dotted keys with what stands there, in sections as a recipe has, or without one."""
    for key, value in values.items():
        if isinstance(value, dict) and not value.keys() & {"choices", *RANGE_KEYS}:
            yield from ((f"{key}.{field}", table) for field, table in value.items())
        else:
            yield key, value


def _refuse_what_decides_the_measure(key: str) -> None:
    why = NOT_SEARCHED.get(key)
    if key.split(".", maxsplit=1)[0] == "runtime":
        why = "it is of the machine, not of the recipe"
    if why:
        raise ValueError(f"cannot be searched: {why}")


def _parse(table: Any) -> Range | Choices:
    """Return a parameter, or raise `ValueError` that says what is wrong with its table."""
    if not isinstance(table, dict):
        raise ValueError(f"is {table!r}; write {{ low = …, high = … }} or {{ choices = […] }}")
    if "choices" in table:
        known: tuple[str, ...] = ("choices",)
    else:
        known = RANGE_KEYS
    for key in table:
        if key not in known:
            raise ValueError(f"{key}: not one of {', '.join(known)}{nearest(key, known)}")
    return _choices(table["choices"]) if "choices" in table else _range(table)


def _choices(values: Any) -> Choices:
    if not isinstance(values, list) or len(values) < 2:
        raise ValueError(f"choices = {values!r}: should be a list of two or more")
    if any(values.count(v) > 1 for v in values):
        raise ValueError(f"choices = {values!r}: names one twice")
    return Choices(tuple(values))


def _range(table: Mapping[str, Any]) -> Range:
    for key in ("low", "high"):
        if key not in table:
            raise ValueError(f"has no {key}")
    log = table.get("log", False)
    if not isinstance(log, bool):
        raise ValueError(f"log = {log!r}: should be true or false")
    for key in ("low", "high", "step"):
        value = table.get(key)
        if key in table and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise ValueError(f"{key} = {value!r}: should be a number")
    found = Range(table["low"], table["high"], log, table.get("step"))
    _check_range(found)
    return found


def _check_range(r: Range) -> None:
    between = f"low = {r.low}, high = {r.high}"
    if not r.low < r.high:  # a NaN is neither
        raise ValueError(f"{between}: an empty range; low must be less than high")
    if _decimal(r.low).is_infinite() or _decimal(r.high).is_infinite():
        raise ValueError(f"{between}: both ends must be finite")
    if r.log and r.low <= 0:
        raise ValueError(f"{between}: a range on a logarithmic scale begins above 0")
    if r.step is None:
        return
    if r.log:
        raise ValueError("log and step: a range has one of them")
    if r.step <= 0 or (_decimal(r.high) - _decimal(r.low)) % _decimal(r.step):
        raise ValueError(f"{between}, step = {r.step}: high must lie whole steps above low")


def _corners(space: Space) -> Iterator[dict[str, Any]]:
    """Yield each extreme with the others at their first, and the last of all together."""
    first = {key: parameter.extremes[0] for key, parameter in space.items()}
    yield first
    yield from chain.from_iterable(
        ({**first, key: value} for value in parameter.extremes[1:])
        for key, parameter in space.items()
    )
    yield {key: parameter.extremes[-1] for key, parameter in space.items()}


def _join(faults: Mapping[str, None], shown: int = 5) -> str:
    named = list(faults)
    more = [f"and {len(named) - shown} more"] if len(named) > shown else []
    return "; ".join(named[:shown] + more)


def _decimal(value: Number) -> Decimal:
    """Return the number as it is written, so that 0.3 is three steps of 0.1."""
    return Decimal(str(value))


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
