"""Real signals at random moments."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from attacks.lab import REAL, Lab, Outcome, Prepared, finish
from attacks.scenarios import (
    FIRST,
    SCENARIOS,
    Ended,
    Scenario,
    read_folder,
    same_command,
)

KILLS = {"train": 30, "train --from": 20, "train --resume": 15, "distillation": 15, "tune": 10}
WORKER_KILLS = 10
MOMENTS = (0.25, 0.45, 0.65, 0.8, 0.95)
"""Of a signal, as fractions of the duration of the command."""
SHEET = ["data", "--data", "{data}", "--sheet", "sheet.png"]
SIGNALLED = {
    **{name: SCENARIOS[name] for name in ("train", "tune", "evaluate", "report", "predict")},
    "compare": Scenario(
        ["compare", "first", "second"],
        before=(FIRST, [*(w if w != "first" else "second" for w in FIRST), "seed=1"]),
        proceed=same_command,
    ),
    "data": Scenario(SHEET, proceed=same_command),
    "bench train": Scenario(["bench", "train", "--threads", "1"], proceed=same_command),
}


def sigkill(lab: Lab) -> Outcome:
    """Kill commands at random moments, then continue them."""
    outcome = Outcome()
    for name in lab.shuffled([name for name, n in KILLS.items() for _ in range(n)]):
        prepared = lab.prepare(name, SCENARIOS[name], process=True)
        work = lab.new_folder(prepared.before)
        process = lab.start(prepared.scenario.command, work)
        delay = _wait(lab, prepared, work)
        workers = children_of(process.pid)
        process.kill()
        process.communicate()
        problem = lab.proceed(prepared, work, process=True) or _survivors(workers)
        outcome.add(f"{name} killed {delay}", problem)
        lab.remove(work)
    return outcome


def sigkill_worker(lab: Lab) -> Outcome:
    """Kill the worker of a search, which replaces it."""
    outcome = Outcome()
    prepared = lab.prepare("tune", SCENARIOS["tune"], process=True)
    for _ in lab.shuffled(range(WORKER_KILLS)):
        work = lab.new_folder(prepared.before)
        process = lab.start(prepared.scenario.command, work)
        time.sleep(lab.random.uniform(0.3, 0.95) * prepared.seconds)
        workers = children_of(process.pid)
        for worker in workers[-1:]:
            os.kill(worker, signal.SIGKILL)
        ended = finish(process)
        problem = f"exit code {ended.code}: {ended.err[-200:]}" if ended.code else None
        outcome.add("worker killed", problem or lab.proceed(prepared, work, process=True))
        lab.remove(work)
    return outcome


def terminate(lab: Lab) -> Outcome:
    """Send SIGTERM and SIGINT to every command at five moments, then repeat it."""
    outcome = Outcome()
    numbers = (signal.SIGTERM, signal.SIGINT)
    cases = [(name, number, at) for name in SIGNALLED for number in numbers for at in MOMENTS]
    for name, number, moment in lab.shuffled(cases):
        prepared = lab.prepare(name, SIGNALLED[name], process=True)
        work = lab.new_folder(prepared.before)
        process = lab.start(prepared.scenario.command, work, REAL)
        time.sleep(moment * prepared.seconds)
        process.send_signal(number)
        problem = _exit_problem(finish(process), number)
        if problem is None and not name.startswith("bench"):
            problem = _repeat(lab, prepared, work)
        outcome.add(f"{name}, {number.name} at {moment:.0%}", problem)
        lab.remove(work)
    return outcome


def children_of(pid: int) -> list[int]:
    """Return the ids of the children of a process, in the order of their start."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    return [int(word) for word in text.split()]


def _wait(lab: Lab, prepared: Prepared, work: Path) -> str:
    """Wait for a random moment: of the whole command, or just after its folder appears."""
    names = {path.name for path in prepared.before.iterdir()}
    if lab.random.random() < 0.5:
        delay = lab.random.uniform(0.1, 1.0) * prepared.seconds
        time.sleep(delay)
        return f"after {delay:.2f} s"
    deadline = time.monotonic() + prepared.seconds
    while time.monotonic() < deadline and {path.name for path in work.iterdir()} == names:
        time.sleep(0.001)
    delay = lab.random.uniform(0, 0.03)
    time.sleep(delay)
    return f"{1000 * delay:.0f} ms after a new file"


def _survivors(workers: list[int]) -> str | None:
    """Return whether worker processes still run."""
    alive = [pid for pid in workers if _runs_worker(pid)]
    return f"workers still run: {alive}" if alive else None


def _runs_worker(pid: int) -> bool:
    try:
        return b"multiprocessing" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def _exit_problem(ended: Ended, number: signal.Signals) -> str | None:
    if "Traceback" in ended.err:
        return f"traceback, exit code {ended.code}: {ended.err.strip()[-150:]}"
    # A process that the signal ends before it handles it has the same exit code in a shell.
    allowed = {0, 128 + number, -number}
    return None if ended.code in allowed else f"exit code {ended.code}: {ended.err[-150:]}"


def _repeat(lab: Lab, prepared: Prepared, work: Path) -> str | None:
    scenario = prepared.scenario
    os.chdir(work)
    ended = lab.run(scenario.proceed(scenario.command), work, REAL)
    if ended.code:
        return f"repeated: exit code {ended.code}: {ended.err.strip()[-200:]}"
    names = {n for n in read_folder(work) if "checkpoints/" not in n and not n.endswith(".lock")}
    return (
        f"files: {sorted(names ^ set(prepared.expected))}"
        if names != set(prepared.expected)
        else None
    )
