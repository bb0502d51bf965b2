"""Ranges and choices: the values that a search may give to a setting."""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

Number = int | float


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included.

    Attributes:
        low: smallest value.
        high: largest value; if all attributes are integers, only integers are searched.
        log: whether values are drawn on a logarithmic scale.
        step: distance between values; None is 1 for integers, and continuous for floats.
    """

    low: Number
    high: Number
    log: bool = False
    step: Number | None = None

    @property
    def is_integer(self) -> bool:
        """Whether only integers are searched."""
        return all(isinstance(v, int) for v in (self.low, self.high, self.step or 1))

    @property
    def extremes(self) -> tuple[Any, ...]:
        """The smallest and the largest value."""
        return self.low, self.high

    def contains(self, value: Any) -> bool:
        """Return whether the search can draw this value."""
        number = int if self.is_integer else int | float
        if isinstance(value, bool) or not isinstance(value, number):
            return False
        if self.step is not None and not is_multiple(value, self.low, self.step):
            return False
        return bool(self.low <= value <= self.high)

    def encode(self, value: Any) -> Any:
        """Return the value as Optuna stores it."""
        return value

    def decode(self, value: Any) -> Any:
        """Return the setting for a value that Optuna stored."""
        return value

    def distribution(self) -> BaseDistribution:
        """Return the range as an Optuna distribution."""
        from optuna.distributions import FloatDistribution, IntDistribution

        if self.is_integer:
            low, high, step = int(self.low), int(self.high), int(self.step or 1)
            return IntDistribution(low, high, log=self.log, step=step)
        step_size = None if self.step is None else float(self.step)
        return FloatDistribution(float(self.low), float(self.high), log=self.log, step=step_size)

    def to_dict(self) -> dict[str, Any]:
        """Return the range as a table of a space file."""
        step = {} if self.step is None else {"step": self.step}
        return {"low": self.low, "high": self.high, "log": self.log, **step}


@dataclass(frozen=True)
class Choices:
    """One of several values without an order."""

    choices: tuple[Any, ...]

    @property
    def extremes(self) -> tuple[Any, ...]:
        """All choices."""
        return self.choices

    def contains(self, value: Any) -> bool:
        """Return whether the value is one of the choices."""
        return _as_list(value) in self.choices

    def encode(self, value: Any) -> Any:
        """Return the value as Optuna stores it: lists as JSON."""
        value = _as_list(value)
        return json.dumps(value) if isinstance(value, list | dict) else value

    def decode(self, value: Any) -> Any:
        """Return the setting for a value that Optuna stored."""
        return {self.encode(choice): choice for choice in self.choices}[value]

    def distribution(self) -> BaseDistribution:
        """Return the choices as an Optuna distribution."""
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution([self.encode(choice) for choice in self.choices])

    def to_dict(self) -> dict[str, Any]:
        """Return the choices as a table of a space file."""
        return {"choices": list(self.choices)}


def is_multiple(value: Number, low: Number, step: Number) -> bool:
    """Return whether `value` is a whole number of steps above `low`, in decimal arithmetic.

    In binary floating point, 0.3 would not be three steps of 0.1.
    """
    return (Decimal(str(value)) - Decimal(str(low))) % Decimal(str(step)) == 0


def _as_list(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
