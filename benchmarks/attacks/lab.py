"""Folders, commands and processes of `torture.py`, and what counts as a failure."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from attacks.scenarios import (
    Content,
    Ended,
    Scenario,
    products,
    run_command,
    write_data,
)
from common import ROOT

TIMEOUT = 120.0
"""Seconds after which a command counts as hanging."""
REAL = [sys.executable, "-m", "fashioncnn"]
CONSTANT_TIMES = [sys.executable, "-m", "tests.robustness.child"]
"""The command with constant times, so that equal runs have equal reports."""
Products = dict[str, Content]


@dataclass
class Outcome:
    """The outcome of one attack.

    Attributes:
        attempts: so far.
        failures: one line for each failed attempt.
    """

    attempts: int = 0
    failures: list[str] = field(default_factory=list)

    def add(self, label: str, problem: str | None) -> None:
        """Count an attempt, and record its problem if there is one."""
        self.attempts += 1
        if problem:
            self.failures.append(f"{label}: {problem}"[:500])


@dataclass(frozen=True)
class Prepared:
    """A scenario whose uninterrupted result is known.

    Attributes:
        scenario: the command.
        before: folder in which it can run, to be copied.
        expected: products of an uninterrupted run.
        seconds: duration of the uninterrupted run.
    """

    scenario: Scenario
    before: Path
    expected: Products
    seconds: float


@dataclass
class Lab:
    """A temporary folder and the data in it.

    Attributes:
        folder: everything is written there.
        random: source of moments and mutations.
        deadline: `time.monotonic` at which the present attack ends.
        server_seconds: until a server is ready; 0 until that was measured.
    """

    folder: Path
    random: random.Random
    deadline: float = 0.0
    server_seconds: float = 0.0
    _prepared: dict[str, Prepared] = field(default_factory=dict)
    _before: dict[str, Path] = field(default_factory=dict)
    _count: int = 0

    def __post_init__(self) -> None:
        from fashioncnn.data.sketches import draw_sketches

        drawings = draw_sketches()
        write_data(self.folder / "data", drawings)
        write_data(self.folder / "more-data", drawings, 1200)

    @property
    def data(self) -> Path:
        """A folder with 60 training images."""
        return self.folder / "data"

    @property
    def more_data(self) -> Path:
        """A folder with 1,200 training images, for trainings of a second."""
        return self.folder / "more-data"

    @property
    def has_time(self) -> bool:
        """Whether the attack may continue."""
        return time.monotonic() < self.deadline

    def shuffled(self, cases: Sequence[Any]) -> Iterator[Any]:
        """Yield cases in random order until the time is over."""
        for case in self.random.sample(cases, len(cases)):
            if not self.has_time:
                return
            yield case

    def new_folder(self, source: Path | None = None) -> Path:
        """Return a new folder, a copy of `source`; it becomes the working folder."""
        self._count += 1
        path = self.folder / f"work-{self._count}"
        path.mkdir()
        if source is not None:
            shutil.copytree(source, path, dirs_exist_ok=True, symlinks=True)
        os.chdir(path)
        return path

    def remove(self, path: Path) -> None:
        """Remove a working folder."""
        os.chdir(self.folder)
        shutil.rmtree(path)

    def prepare(self, name: str, scenario: Scenario, *, process: bool) -> Prepared:
        """Run a scenario once without interruption; the time of the attack does not count this.

        Args:
            name: of the scenario.
            scenario: the command.
            process: run it in a process of its own, on more data, instead of in this process.
        """
        key = f"{name} {process}"
        if key not in self._prepared:
            begun = time.monotonic()
            work = self.new_folder()
            run = self.run if process else self.run_here
            before = self._prepare_before(scenario, process=process)
            shutil.copytree(before, work, dirs_exist_ok=True)
            started = time.monotonic()
            require(run(scenario.command, work))
            seconds = time.monotonic() - started
            expected = products(work, scenario.ignored)
            self._prepared[key] = Prepared(scenario, before, expected, seconds)
            self.remove(work)
            self.deadline += time.monotonic() - begun
        return self._prepared[key]

    def _prepare_before(self, scenario: Scenario, *, process: bool) -> Path:
        """Return a folder in which the commands before a scenario have run."""
        key = f"{scenario.before} {process}"
        if key not in self._before:
            folder = self.folder / f"before-{len(self._before)}"
            folder.mkdir()
            for command in scenario.before:
                require((self.run if process else self.run_here)(command, folder))
            self._before[key] = folder
        return self._before[key]

    def start(
        self, arguments: list[str], work: Path, program: list[str] = CONSTANT_TIMES, **options: Any
    ) -> subprocess.Popen[str]:
        """Start a command in a process of its own."""
        words = [word.replace("{data}", str(self.more_data)) for word in arguments]
        path = os.pathsep.join([str(ROOT), str(ROOT / "src"), str(ROOT / "benchmarks")])
        environment = {**os.environ, "PYTHONPATH": path, **options.pop("environment", {})}
        return subprocess.Popen(
            [*program, *words], cwd=work, env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options,
        )  # fmt: skip

    def run(
        self, arguments: list[str], work: Path, program: list[str] = CONSTANT_TIMES, **options: Any
    ) -> Ended:
        """Run a command in a process of its own."""
        return finish(self.start(arguments, work, program, **options))

    def run_here(self, arguments: list[str], work: Path) -> Ended:
        """Run a command in this process; an exception that leaves it is a traceback."""
        os.chdir(work)
        try:
            with time_limit(TIMEOUT):
                return run_command(arguments, self.data)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            return Ended(70, "", f"Traceback: {type(error).__name__}: {error}")

    def proceed(self, prepared: Prepared, work: Path, *, process: bool) -> str | None:
        """Continue a scenario in a folder, and return what is wrong."""
        scenario = prepared.scenario
        os.chdir(work)
        run = self.run if process else self.run_here
        ended = run(scenario.proceed(scenario.command), work)
        return ended.problem(prepared.expected, products(work, scenario.ignored))


def finish(process: subprocess.Popen[str]) -> Ended:
    """Wait for a process, which is killed if it hangs."""
    try:
        out, err = process.communicate(timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return Ended(70, "", f"no end within {TIMEOUT:.0f} s")
    return Ended(process.returncode, out, err)


def require(ended: Ended) -> None:
    """Exit if a command that nothing disturbs fails."""
    if ended.code != 0:
        raise SystemExit(f"torture: an undisturbed command failed: {ended.err}")


def is_error(ended: Ended) -> str | None:
    """Return what is wrong unless a command succeeded or ended with a plain error."""
    if ended.code == 0 or ended.is_plain_error:
        return None
    return f"exit code {ended.code}: {ended.err.strip()[-200:]}"


def same_or_error(expected: str) -> Callable[[Ended], str | None]:
    """Return a check that a command printed `expected` or ended with a plain error."""

    def check(ended: Ended) -> str | None:
        if ended.code == 0 and ended.out != expected:
            return "accepted, with another result"
        return is_error(ended)

    return check


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise `TimeoutError` in this process after `seconds`."""

    def stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        raise TimeoutError(f"no end within {seconds:.0f} s")

    previous = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
