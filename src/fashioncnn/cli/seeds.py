"""The option ``--seeds``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from fashioncnn.config import assignment_keys
from fashioncnn.errors import UsageError

MAX_SEED = 2**32 - 1
MAX_RUNS = 1000
"""Limit on the seeds of a group, against a mistyped range."""
SYNTAX = "should be a range or a list of seeds, as in 0-4 or 0,3,7"


def parse_seeds(
    text: str, flags: Mapping[str, Any] | None = None, assignments: list[str] | None = None
) -> tuple[int, ...]:
    """Return the seeds in a text such as ``0-4``, ``0,3,7`` or ``0-4,9``, in its order.

    Args:
        text: value of the option.
        flags: further flags that were given; ``seed`` contradicts it.
        assignments: of ``--set``, likewise.

    Raises:
        UsageError: the text is not a list of distinct seeds, or a single seed is given, too.
    """
    for option in _single_seeds(flags or {}, assignments or []):
        raise UsageError(f"{option}: contradicts --seeds {text}; give only one of them")
    seeds: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d{1,10})(?:-(\d{1,10}))?", part.strip())
        if match is None:
            raise UsageError(f"--seeds {text}: {SYNTAX}")
        first, last = int(match[1]), int(match[2] or match[1])
        if first > last or last > MAX_SEED:
            limit = f"from 0 to {MAX_SEED}, the smaller one first"
            raise UsageError(f"--seeds {text}: {part} should be {limit}")
        if last - first >= MAX_RUNS or len(seeds) >= MAX_RUNS:
            raise UsageError(f"--seeds {text}: more than {MAX_RUNS:,} seeds")
        seeds += range(first, last + 1)
    repeated = [seed for seed in seeds if seeds.count(seed) > 1]
    if repeated:
        raise UsageError(f"--seeds {text}: seed {repeated[0]} is given twice")
    return tuple(seeds)


def _single_seeds(flags: Mapping[str, Any], assignments: list[str]) -> list[str]:
    given = [f"--seed {flags['seed']}"] if flags.get("seed") is not None else []
    return given + ["--set training.seed"] * ("training.seed" in assignment_keys(assignments))
