"""Attacks on parsers that choose inputs by themselves: property tests, and Atheris."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from attacks import mutations
from attacks.lab import Lab, Outcome, require
from attacks.scenarios import FIRST, SCENARIOS
from common import ROOT

EXAMPLES = 400
"""Of each property."""
EXECUTIONS = 100_000
"""Of each parser."""
SEEDS = {
    "idx": "train-images-idx3-ubyte",
    "settings": "first/config.toml",
    "model": "first/model/config.json",
    "history": "first/history.jsonl",
    "metrics": "first/metrics.json",
    "predictions": "first/predictions.npz",
    "journal": "search/journal.log",
    "list": "list",
    "table": "table.csv",
    "archive": "arrays.npz",
}
"""A valid file of each parser but that of images."""
PATIENCE = 60
"""Seconds that a process may take longer than it was told to."""


def properties(lab: Lab) -> Outcome:
    """Run the property tests with many random examples."""
    outcome = Outcome()
    command = [
        sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/properties",
        f"--hypothesis-seed={lab.random.randrange(10**6)}", "--hypothesis-show-statistics",
    ]  # fmt: skip
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT / "benchmarks")])
    environment = {**os.environ, "PROPERTY_EXAMPLES": str(EXAMPLES), "PYTHONPATH": path}
    ended = subprocess.run(
        command, cwd=ROOT, env=environment, text=True, capture_output=True, check=False
    )
    outcome.attempts = sum(map(int, re.findall(r"(\d+) passing, ", ended.stdout)))
    failed = re.findall(r"^(?:FAILED|ERROR) .*", ended.stdout, re.MULTILINE)
    for line in failed or ([ended.stderr[-300:]] if ended.returncode else []):
        outcome.add("properties", line)
    return outcome


def fuzz(lab: Lab) -> Outcome:
    """Let Atheris look for inputs of each parser that reach new code."""
    outcome = Outcome()
    if importlib.util.find_spec("atheris") is None:
        print("atheris: skipped, the module is missing; pip install atheris")
        return outcome
    work = lab.new_folder()
    require(lab.run_here(FIRST, work))
    require(lab.run_here(SCENARIOS["tune"].command, work))
    write_seeds(lab, work)
    seconds = int(max(1, lab.deadline - time.monotonic())) // (len(SEEDS) + 1)
    for name in [*SEEDS, "image"]:
        attempts, problem = _fuzz(work / name, name, seconds)
        outcome.attempts += attempts - 1
        outcome.add(f"atheris, {name}", problem)
    lab.remove(work)
    return outcome


def write_seeds(lab: Lab, work: Path) -> None:
    """Write small valid files, from which the mutations start, to ``PARSER/seeds``."""
    (work / "list").write_text("a.png\nb c.jpg\nfolder/d.webp\n")
    pixels = [[label, *range(label, label + 9)] for label in (0, 1, 2, 0, 1, 2)]
    lines = [["label", *(f"pixel{n}" for n in range(9))], *pixels]
    (work / "table.csv").write_text("".join(",".join(map(str, line)) + "\n" for line in lines))
    images = np.arange(6 * 9, dtype=np.uint8).reshape(6, 3, 3)
    np.savez(work / "arrays.npz", images=images, labels=np.array([0, 1, 2] * 2))
    contents = {name: [(work / path).read_bytes()] for name, path in SEEDS.items() if name != "idx"}
    contents["idx"] = [(lab.data / SEEDS["idx"]).read_bytes()[: 16 + 784 * 2]]
    contents["image"] = [mutations.intact_image(lab.random)[1] for _ in range(30)]
    (work / "list").unlink()
    for name, files in contents.items():
        folder = work / name / "seeds"
        folder.mkdir(parents=True)
        for number, content in enumerate(files):
            (folder / str(number)).write_bytes(content)
    for name in ("config.toml", "history.jsonl"):  # of which metrics.json has the SHA-256
        shutil.copy(work / "first" / name, work / "metrics" / name)


def _fuzz(folder: Path, name: str, seconds: int) -> tuple[int, str | None]:
    """Return the number of executions, and what is wrong."""
    options = [
        f"-runs={EXECUTIONS}", f"-max_total_time={seconds}", "-max_len=20000", "-timeout=20",
        "-rss_limit_mb=4096", "-seed=1", "-print_final_stats=1",
    ]  # fmt: skip
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT / "benchmarks")])
    program = str(Path(__file__).with_name("fuzz.py"))
    try:
        ended = subprocess.run(
            [sys.executable, program, name, str(folder), *options],
            env={**os.environ, "PYTHONPATH": path}, text=True, errors="replace",
            capture_output=True, check=False, timeout=seconds + PATIENCE,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return 0, "no end"
    found = re.search(r"stat::number_of_executed_units: (\d+)", ended.stderr)
    output = f"{ended.stdout}\n{ended.stderr}"  # Atheris prints exceptions to stdout
    lines = [line for line in output.splitlines() if re.match(r"\s*\w*(Error|Exception)", line)]
    problem = " | ".join(lines[-2:]) or ended.stderr[-300:]
    return int(found[1]) if found else 0, problem if ended.returncode else None
