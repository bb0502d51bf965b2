"""Limits of the system, unusable folders, and two processes at once."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable
from typing import Any

from attacks.lab import Lab, Outcome, finish, is_error, require
from attacks.scenarios import (
    EXPORT,
    FIRST,
    NETWORK,
    SCENARIOS,
    TRAIN,
    difference,
    products,
)

MEMORY = [2**28, 2**29, 2**30, 3 * 2**29, 2**31, 3 * 2**30]
DESCRIPTORS = [6, 8, 12, 16, 24, 32, 64]
COLUMNS = [0, 1, 5, 20, 40, 500]
LIMITED = ("train", "evaluate", "report", "predict")
OPENBLAS = "OpenBLAS error: Memory allocation still failed"
"""With which NumPy's library ends the process itself."""
PAIRS = 3
"""Attempts to run each command twice at once."""


def system_limits(lab: Lab) -> Outcome:
    """Run commands with little memory, few file descriptors, odd terminals, closed streams."""
    cases: list[tuple[str, str, dict[str, Any]]] = []
    for name in LIMITED:
        cases += [(name, f"{n >> 20} MB", _limit(resource.RLIMIT_AS, n)) for n in MEMORY]
        cases += [(name, f"{n} files", _limit(resource.RLIMIT_NOFILE, n)) for n in DESCRIPTORS]
        cases += [(name, f"{n} columns", {"environment": {"COLUMNS": str(n)}}) for n in COLUMNS]
        cases += [(name, f"stream {n} closed", {"preexec_fn": _closing(n)}) for n in (0, 1, 2)]
    outcome = Outcome()
    for name, label, options in lab.shuffled(cases):
        prepared = lab.prepare(name, SCENARIOS[name], process=True)
        work = lab.new_folder(prepared.before)
        ended = lab.run(prepared.scenario.command, work, **options)
        accepted = "stream" in label and ended.code in (0, 1)
        accepted |= ended.code == 1 and OPENBLAS in ended.err
        problem = None if accepted else is_error(ended)
        problem = problem or lab.proceed(prepared, work, process=True)
        outcome.add(f"{name}, {label}", problem)
        lab.remove(work)
    return outcome


def unusable_folders(lab: Lab) -> Outcome:
    """Name missing, read-only and other unusable folders and files to every command."""
    outcome = Outcome()
    work = lab.new_folder()
    require(lab.run_here(FIRST, work))
    (work / "file").write_text("text")
    (work / "empty").mkdir()
    (work / "loop").symlink_to("loop")
    bad = ["missing", "file", "file/inner", "empty", "loop", "/proc/new", "/dev/null", "x" * 300]
    unwritable = ["file/inner", "loop/inner", "/proc/new", "/dev/null/x", "/sys/new", "x" * 300]
    commands = [
        *([*TRAIN, "--out", path, *NETWORK] for path in [*unwritable, "file"]),
        *(["tune", *SCENARIOS["tune"].command[1:], "--out", path] for path in unwritable),
        *(["report", "first", "--out", path] for path in [*unwritable, "file"]),
        *(["predict", "{data}/images", "--model", "first", "--out", p] for p in unwritable),
        *(["data", "--data", "{data}", "--sheet", path] for path in unwritable),
        *(["train", "--resume", path] for path in bad),
        *(["train", "--from", path, "--data", "{data}", "--out", "new"] for path in bad),
        *(["train", "--config", path] for path in bad),
        *(["train", "--data", path, "--out", "new"] for path in bad),
        *(["evaluate", path, "--offline"] for path in bad),
        *(["evaluate", "first", "--data", path] for path in bad),
        *(["report", path] for path in bad),
        *(["compare", "first", path] for path in bad),
        *(["predict", path, "--model", "first"] for path in bad),
        *(["predict", "{data}/images", "--model", path] for path in bad),
    ]
    for command in lab.shuffled(commands):
        ended = lab.run_here(command, work)
        problem = is_error(ended) or ("accepted" if ended.code == 0 else None)
        outcome.add(" ".join(command)[:120], problem)
    lab.remove(work)
    return outcome


def two_at_once(lab: Lab) -> Outcome:
    """Run every command twice at once; one succeeds, the other too or with a plain error."""
    outcome = Outcome()
    scenarios = {**SCENARIOS, "export": EXPORT}
    for name in lab.shuffled([name for name in scenarios for _ in range(PAIRS)]):
        prepared = lab.prepare(name, scenarios[name], process=True)
        work = lab.new_folder(prepared.before)
        processes = [lab.start(prepared.scenario.command, work)]
        time.sleep(lab.random.choice((0, 0.03, 0.3)))
        processes.append(lab.start(prepared.scenario.command, work))
        ended = [finish(process) for process in processes]
        problem = next(filter(None, map(is_error, ended)), None)
        if problem is None and all(e.code for e in ended):
            problem = f"both failed: {ended[0].err.strip()[-150:]} | {ended[1].err.strip()[-150:]}"
        found = products(work, prepared.scenario.ignored)
        outcome.add(name, problem or difference(prepared.expected, found))
        lab.remove(work)
    return outcome


def _limit(kind: int, value: int) -> dict[str, Any]:
    return {"preexec_fn": lambda: resource.setrlimit(kind, (value, value))}


def _closing(descriptor: int) -> Callable[[], None]:
    return lambda: os.close(descriptor)
