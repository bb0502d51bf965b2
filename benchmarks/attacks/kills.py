"""Real signals at random moments."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import requests

from attacks.lab import REAL, TIMEOUT, Lab, Outcome, Prepared, finish
from attacks.scenarios import (
    EXPORT,
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
    "export": EXPORT,
}
SERVE = ["serve", "photo", "--port", "0"]
SERVE_MOMENTS = (0.25, 0.5, 0.75, 1.0, 1.5)
"""Of a signal, as fractions of the time until the server is ready."""


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
    cases += [("serve", number, at) for number in numbers for at in SERVE_MOMENTS]
    for name, number, moment in lab.shuffled(cases):
        if name == "serve":
            outcome.add(f"serve, {number.name} at {moment:.0%}", _end_server(lab, number, moment))
            continue
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


def _end_server(lab: Lab, number: signal.Signals, moment: float) -> str | None:
    """Signal a server while it starts or when it is ready, and return what is wrong."""
    seconds = _seconds_until_ready(lab)
    work = lab.new_folder()
    process = lab.start(SERVE, work, REAL)
    if moment < 1:
        time.sleep(moment * seconds)
    else:
        problem = await_ready(process)
        if problem:
            return problem
        time.sleep(moment - 1)
    workers = children_of(process.pid)
    process.send_signal(number)
    problem = _exit_problem(finish(process), number) or _survivors(workers)
    left = [path.name for path in work.iterdir()]
    lab.remove(work)
    return problem or (f"files: {left}" if left else None)


def _seconds_until_ready(lab: Lab) -> float:
    """Return how long a server takes until it is ready, measured once."""
    if not lab.server_seconds:
        work = lab.new_folder()
        started = time.monotonic()
        process = lab.start(SERVE, work, REAL)
        problem = await_ready(process)
        lab.server_seconds = time.monotonic() - started
        process.terminate()
        ended = finish(process)
        if problem or ended.code:
            raise SystemExit(f"torture: an undisturbed server failed: {problem or ended.err}")
        lab.remove(work)
    return lab.server_seconds


def await_ready(process: subprocess.Popen[str]) -> str | None:
    """Wait until a server is ready, and return what is wrong."""
    line = process.stderr.readline() if process.stderr else ""
    address = re.search(r"http://\S+(?=;)", line)
    if address is None:
        process.kill()
        return f"no address: {line.strip()[-150:]}"
    deadline = time.monotonic() + TIMEOUT
    while time.monotonic() < deadline:
        with contextlib.suppress(requests.RequestException):
            if requests.get(f"{address.group()}/readyz", timeout=5).ok:
                return None
        time.sleep(0.05)
    process.kill()
    return f"not ready within {TIMEOUT:.0f} s"


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
