"""Changed bytes in the documents of a finished run."""

from __future__ import annotations

from pathlib import Path

from attacks.lab import Lab, Outcome, is_error, require
from attacks.scenarios import FIRST, Content, Ended, read_folder

DOCUMENTS = (
    "config.toml",
    "environment.json",
    "history.jsonl",
    "metrics.json",
    "predictions.npz",
)
COMMANDS = (
    ["evaluate", "first", "--json"],
    ["evaluate", "first", "--split", "validation", "--json"],
    ["report", "first"],
    ["compare", "first", "second", "--json"],
)
SECOND = [*("second" if word == "first" else word for word in FIRST), "training.seed=1"]


def corrupt_documents(lab: Lab) -> Outcome:
    """Change every byte of every document of a finished run, then use the run."""
    outcome = Outcome()
    work = lab.new_folder()
    for command in (FIRST, SECOND):
        require(lab.run_here(command, work))
    intact = read_folder(work)
    expected = {}
    for at, command in enumerate(COMMANDS):
        ended = lab.run_here(command, work)
        require(ended)
        expected[at] = _result(ended, work)
    cases = [
        (name, at) for name in DOCUMENTS for at in range((work / "first" / name).stat().st_size)
    ]
    for name, at in lab.shuffled(cases):
        _restore(work, intact)
        path = work / "first" / name
        changed = bytearray(path.read_bytes())
        changed[at] ^= lab.random.randrange(1, 256)
        path.write_bytes(changed)
        number = lab.random.randrange(len(COMMANDS))
        ended = lab.run_here(COMMANDS[number], work)
        problem = is_error(ended)
        if ended.code == 0 and _result(ended, work) != expected[number] and not ended.err:
            problem = "another result, and no message"
        outcome.add(f"{name}, byte {at}, {COMMANDS[number][0]}", problem)
    lab.remove(work)
    return outcome


def _result(ended: Ended, work: Path) -> tuple[str, dict[str, bytes]]:
    """Return what a command printed, and the report of the run."""
    reports = {name: (work / "first" / name).read_bytes() for name in ("report.html", "report.md")}
    return ended.out, reports


def _restore(work: Path, intact: dict[str, Content]) -> None:
    """Give the files of the run their content again."""
    for name, content in intact.items():
        path = work / name
        if isinstance(content, bytes) and not (path.exists() and path.read_bytes() == content):
            path.write_bytes(content)
