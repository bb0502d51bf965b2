"""Attacks every promise about crashes, damaged files and limits, and counts what fails.

Kills processes, fills the disk, changes bytes, mutates inputs. With less time than an attack needs,
a random sample of its attempts is made. The results are in `docs/guide/reliability.md`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import re
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attacks import documents, faults, kills, limits, mirrors, parsers, small_disk
from attacks.lab import Lab, Outcome
from attacks.scenarios import (
    constant_times,
    no_figures,
    thread_workers,
)
from common import RESULTS, ROOT, make_parser, measurement_context

RECORDED = RESULTS / "torture.json"
GUIDE = ROOT / "docs" / "guide" / "reliability.md"
MARKS = ("<!-- table of benchmarks/torture.py -->\n", "<!-- end of the table -->\n")
MINUTES = 50.0
"""Of attacks; preparation takes a few more."""
FAILURES_STORED = 20
"""Failures of an attack that are described in the results."""


@dataclass(frozen=True)
class Attack:
    """An attack on a promise.

    Attributes:
        promise: which the guide makes.
        attack: in words.
        run: carries it out.
        fraction: of the time.
    """

    promise: str
    attack: str
    run: Callable[[Lab], Outcome]
    fraction: float


ATTACKS = {
    "kill": Attack(
        "A killed command continues, with the same bytes in the end",
        "SIGKILL at a random moment: `train`, `--from`, `--resume`, distillation, `tune`",
        kills.sigkill,
        0.25,
    ),
    "worker": Attack(
        "A search replaces a worker that died",
        "SIGKILL of a worker of `tune`",
        kills.sigkill_worker,
        0.04,
    ),
    "signals": Attack(
        "SIGTERM and SIGINT end every command cleanly: code 143 or 130, no partial file",
        "signals at five moments of 10 commands, which are then repeated",
        kills.terminate,
        0.2,
    ),
    "disk": Attack(
        "A full disk is one error; the command continues once there is space",
        "no space at the n-th file operation, for every n",
        faults.disk_full,
        0.06,
    ),
    "small": Attack(
        "The same on a real file system",
        "file systems in memory of random sizes that are too small",
        small_disk.small_disk,
        0.02,
    ),
    "manifest": Attack(
        "A damaged checkpoint is noticed, and the previous one is used",
        "each byte of a manifest changed",
        faults.corrupt_manifest,
        0.05,
    ),
    "config": Attack(
        "A damaged `config.json` never changes a result silently",
        "each byte of `config.json` changed",
        faults.corrupt_config,
        0.02,
    ),
    "documents": Attack(
        "A damaged document of a run never changes a result silently",
        "each byte of settings, environment, history, metrics and predictions changed",
        documents.corrupt_documents,
        0.05,
    ),
    "weights": Attack(
        "Damaged weights are rejected",
        "2,000 bytes of `model.safetensors` changed",
        faults.corrupt_weights,
        0.03,
    ),
    "journal": Attack(
        "A damaged journal is continued or rejected with one error",
        "each byte of `journal.log` changed",
        faults.corrupt_journal,
        0.04,
    ),
    "inputs": Attack(
        "Any input is read or rejected with one error, in bounded time and memory",
        "mutated images, IDX and gzip files, model folders, TOML files, journals",
        faults.mutate_inputs,
        0.06,
    ),
    "properties": Attack(
        "Files are read as written; anything else is one error",
        "property tests of all parsers and settings (hypothesis)",
        parsers.properties,
        0.03,
    ),
    "fuzz": Attack(
        "No input of a parser ends in another exception",
        "inputs that reach new code of eleven parsers (atheris)",
        parsers.fuzz,
        0.02,
    ),
    "mirrors": Attack(
        "A faulty mirror is given up within its limits, and leaves no file",
        "mirrors that truncate, stall, drip, redirect or lie about the length",
        mirrors.faulty_mirrors,
        0.02,
    ),
    "folders": Attack(
        "A missing, read-only or unusable path is one error",
        "unusable paths for every command",
        limits.unusable_folders,
        0.01,
    ),
    "limits": Attack(
        "Limits of the system are one error",
        "little memory, few file descriptors, narrow terminals, closed streams",
        limits.system_limits,
        0.05,
    ),
    "two": Attack(
        "Two processes do not disturb each other",
        "every command twice at once",
        limits.two_at_once,
        0.04,
    ),
    "clock": Attack(
        "The clock has no influence on results",
        "the clock goes back by an hour at each look",
        faults.clock_set_back,
        0.01,
    ),
}


def main() -> None:
    """Run the attacks, store the results and update the table of the guide."""
    options = parse_arguments()
    started = time.monotonic()
    names = options.repeat or options.add or options.only or list(ATTACKS)
    results = run_attacks(names, options.minutes, options.seed)
    words = f"--minutes {options.minutes:g} --seed {options.seed}"
    if options.add:
        words = f"--add {' '.join(options.add)} {words}"
    command = f"make torture ARGS='{words}'"
    minutes = round((time.monotonic() - started) / 60, 1)
    document = {"command": command, **measurement_context(), "minutes": minutes, "attacks": results}
    if options.repeat:
        document = merged(json.loads(RECORDED.read_text("utf-8")), document)
    if options.add:
        document = added(json.loads(RECORDED.read_text("utf-8")), document)
    if not options.only:
        RECORDED.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", "utf-8")
        write_table(document)
    print(table(document))
    if any(result["failed"] for result in results.values()):
        raise SystemExit(1)


def parse_arguments() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = make_parser(__doc__)
    parser.add_argument("--minutes", type=float, default=MINUTES, help="of attacks (default: 50)")
    selection = parser.add_mutually_exclusive_group()
    selection.add_argument(
        "--only", nargs="+", choices=ATTACKS, help="these, without recording them"
    )
    selection.add_argument("--repeat", nargs="+", choices=ATTACKS, help="replace recorded results")
    selection.add_argument(
        "--add", nargs="+", choices=ATTACKS, help="more attempts, with another --seed"
    )
    parser.add_argument("--seed", type=int, default=0, help="of moments and mutations")
    return parser.parse_args()


def run_attacks(names: list[str], minutes: float, seed: int) -> dict[str, dict[str, Any]]:
    """Return attempts and failures by attack.

    Args:
        names: of the attacks.
        minutes: total time, which the attacks share.
        seed: of moments and mutations.
    """
    total = sum(ATTACKS[name].fraction for name in names)
    results = {}
    environment = {"FASHIONCNN_KERNELS": "torch", "COLUMNS": "120", "NO_COLOR": "1"}
    os.environ.update(environment)
    home = Path.cwd()
    with tempfile.TemporaryDirectory() as folder, comparable_results():
        os.environ["FASHIONCNN_HOME"] = f"{folder}/cache"
        lab = Lab(Path(folder).resolve(), random.Random(seed))
        for name in names:
            attack = ATTACKS[name]
            lab.deadline = time.monotonic() + 60 * minutes * attack.fraction / total
            outcome = attack.run(lab)
            results[name] = {
                "attempts": outcome.attempts,
                "failed": len(outcome.failures),
                "failures": outcome.failures[:FAILURES_STORED],
            }
            print(f"{name}: {outcome.attempts} attempts, {len(outcome.failures)} failed")
            for failure in outcome.failures[:FAILURES_STORED]:
                print(f"  {failure}", file=sys.stderr)
        os.chdir(home)
    return results


def merged(recorded: dict[str, Any], repeated: dict[str, Any]) -> dict[str, Any]:
    """Return recorded results with those of attacks that were repeated, and a note of them."""
    attacks = {**recorded["attacks"], **repeated["attacks"]}
    names = sorted({*recorded.get("repeated", []), *repeated["attacks"]}, key=list(ATTACKS).index)
    return {
        **recorded,
        "minutes": round(recorded["minutes"] + repeated["minutes"], 1),
        "repeated": names,
        "note": f"{', '.join(names)} were repeated alone, after changes",
        "attacks": {name: attacks[name] for name in ATTACKS if name in attacks},
    }


def added(recorded: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """Return recorded results with the attempts of another run added to them, and a note."""
    attacks = dict(recorded["attacks"])
    for name, result in more["attacks"].items():
        before = attacks[name]
        attacks[name] = {
            "attempts": before["attempts"] + result["attempts"],
            "failed": before["failed"] + result["failed"],
            "failures": [*before["failures"], *result["failures"]][:FAILURES_STORED],
        }
    notes = [recorded.get("note"), f"{', '.join(more['attacks'])} include `{more['command']}`"]
    return {
        **recorded,
        "minutes": round(recorded["minutes"] + more["minutes"], 1),
        "note": "; ".join(filter(None, notes)),
        "attacks": attacks,
    }


@contextlib.contextmanager
def comparable_results() -> Any:
    """Let commands in this process produce equal bytes, without drawing figures."""
    with constant_times(), thread_workers(), no_figures():
        yield


def table(document: dict[str, Any]) -> str:
    """Return the results as a table in Markdown, with their provenance."""
    lines = ["| promise | attack | attempts | outcome |", "| --- | --- | ---: | --- |"]
    for name, result in document["attacks"].items():
        attack = ATTACKS[name]
        failed = result["failed"]
        held = "held" if result["attempts"] else "not attempted"
        outcome = f"**{failed:,} failed**" if failed else held
        lines.append(f"| {attack.promise} | {attack.attack} | {result['attempts']:,} | {outcome} |")
    provenance = (
        f"`{document['command']}`, {document['date']}, {document['minutes']:g} minutes on "
        f"{document['cores']} cores of {document['cpu']}."
    )
    if "note" in document:
        provenance += f" Note: {document['note']}."
    provenance = textwrap.fill(provenance, 110, break_on_hyphens=False)
    return "\n".join([*lines, "", provenance, ""])


def write_table(document: dict[str, Any]) -> None:
    """Replace the table in the guide."""
    begin, end = map(re.escape, MARKS)
    text = GUIDE.read_text("utf-8")
    content = f"{MARKS[0]}\n{table(document)}\n{MARKS[1]}"
    GUIDE.write_text(re.sub(f"{begin}.*{end}", lambda _: content, text, flags=re.DOTALL), "utf-8")


if __name__ == "__main__":
    main()
