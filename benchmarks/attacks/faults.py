"""Faults in this process: a full disk, changed bytes, mutated inputs, the clock."""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

from attacks import mutations
from attacks.lab import Lab, Outcome, is_error, require, same_or_error
from attacks.scenarios import (
    FIRST,
    SCENARIOS,
    TRAIN,
    Ended,
    full_disk,
    products,
)

WEIGHT_BYTES = 2000
MUTATED_INPUTS = 10_000
IMAGES_PER_CALL = 50
MEMORY_LIMIT = 8 * 2**30
"""Address space of this process while it reads mutated inputs."""


def disk_full(lab: Lab) -> Outcome:
    """Let the disk be full at every write of every command, then continue."""
    outcome = Outcome()
    cases = []
    for name, scenario in SCENARIOS.items():
        prepared = lab.prepare(name, scenario, process=False)
        work = lab.new_folder(prepared.before)
        with full_disk(work, sys.maxsize) as disk:
            require(lab.run_here(scenario.command, work))
        cases += [(name, number) for number in range(disk.count)]
        lab.remove(work)
    for name, number in lab.shuffled(cases):
        prepared = lab.prepare(name, SCENARIOS[name], process=False)
        work = lab.new_folder(prepared.before)
        with full_disk(work, number) as disk:
            ended = lab.run_here(prepared.scenario.command, work)
        failed = disk.has_failed and not ended.is_plain_error
        problem = is_error(ended) or "success reported" if failed else None
        problem = problem or lab.proceed(prepared, work, process=False)
        outcome.add(f"{name}, full at write {number}", problem)
        lab.remove(work)
    return outcome


def corrupt_manifest(lab: Lab) -> Outcome:
    """Change every byte of the newest manifest of an unfinished run, then resume it."""
    outcome = Outcome()
    prepared = lab.prepare("train", SCENARIOS["train"], process=False)
    whole = lab.new_folder(prepared.before)
    require(lab.run_here(prepared.scenario.command, whole))
    expected = products(whole)
    for name in ("metrics.json", "report.html"):
        (whole / "run" / name).unlink()
    manifest = max((whole / "run" / "checkpoints").glob("*.json"))
    for at in lab.shuffled(range(manifest.stat().st_size)):
        work = lab.new_folder(whole)
        change_byte(lab, work / manifest.relative_to(whole), at)
        ended = lab.run_here(["train", "--resume", "run"], work)
        problem = f"exit code {ended.code}: {ended.err[-200:]}" if ended.code else None
        outcome.add(f"byte {at}", problem or ended.problem(expected, products(work)))
        lab.remove(work)
    return outcome


def corrupt_config(lab: Lab) -> Outcome:
    """Change every byte of the ``config.json`` of a model, then evaluate it."""
    return _corrupt(lab, "first/model/config.json", None)


def corrupt_weights(lab: Lab) -> Outcome:
    """Change bytes of the weights of a model, then evaluate it."""
    return _corrupt(lab, "first/model/model.safetensors", WEIGHT_BYTES)


def corrupt_journal(lab: Lab) -> Outcome:
    """Change every byte of the journal of a search, then continue it."""
    outcome = Outcome()
    work = lab.new_folder()
    command = SCENARIOS["tune"].command
    require(lab.run_here(command, work))
    journal = work / "search" / "journal.log"
    intact = journal.read_bytes()
    for at in lab.shuffled(range(len(intact))):
        journal.write_bytes(intact)
        change_byte(lab, journal, at)
        outcome.add(f"byte {at}", is_error(lab.run_here(command, work)))
    lab.remove(work)
    return outcome


def mutate_inputs(lab: Lab) -> Outcome:
    """Read mutated images, IDX and gzip files, model folders, TOML files and journals."""
    outcome = Outcome()
    work = lab.new_folder()
    require(lab.run_here(FIRST, work))
    require(lab.run_here(SCENARIOS["tune"].command, work))
    attacks: list[Callable[[Lab, Path, Outcome], None]] = [
        _images, _images, _idx, _config, _model, _journal,
    ]  # fmt: skip
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, limits[1]))
    try:
        while lab.has_time and outcome.attempts < MUTATED_INPUTS:
            for attack in attacks:
                attack(lab, work, outcome)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
    lab.remove(work)
    return outcome


def clock_set_back(lab: Lab) -> Outcome:
    """Run every command while the clock goes back by an hour at each look."""
    outcome = Outcome()
    now = time.time
    for name in lab.shuffled(list(SCENARIOS)):
        prepared = lab.prepare(name, SCENARIOS[name], process=False)
        work = lab.new_folder(prepared.before)
        looks = iter(range(10**9))
        with patch("time.time", lambda looks=looks: now() - 3600 * next(looks)):
            ended = lab.run_here(prepared.scenario.command, work)
        found = products(work, prepared.scenario.ignored)
        outcome.add(name, ended.problem(prepared.expected, found))
        lab.remove(work)
    return outcome


def change_byte(lab: Lab, path: Path, at: int) -> None:
    """Replace one byte of a file by another one."""
    content = bytearray(path.read_bytes())
    content[at] ^= lab.random.randrange(1, 256)
    path.write_bytes(content)


def _corrupt(lab: Lab, name: str, limit: int | None) -> Outcome:
    outcome = Outcome()
    work = lab.new_folder()
    require(lab.run_here(FIRST, work))
    arguments = ["evaluate", "first/model", "--data", "{data}", "--json"]
    whole = lab.run_here(arguments, work)
    require(whole)
    check, path = same_or_error(whole.out), work / name
    intact = path.read_bytes()
    positions = list(range(len(intact)))
    if limit is not None:
        positions = sorted(lab.random.sample(positions, min(limit, len(positions))))
    for at in lab.shuffled(positions):
        path.write_bytes(intact)
        change_byte(lab, path, at)
        outcome.add(f"{name}, byte {at}", check(lab.run_here(arguments, work)))
    lab.remove(work)
    return outcome


def _images(lab: Lab, work: Path, outcome: Outcome) -> None:
    folder = work / "mutated"
    folder.mkdir(exist_ok=True)
    for number in range(IMAGES_PER_CALL):
        suffix, content = mutations.image(lab.random)
        (folder / f"{number}.{suffix}").write_bytes(content)
    ended = lab.run_here(["predict", "mutated", "--model", "first"], work)
    problem = is_error_of_images(ended)
    for number in range(IMAGES_PER_CALL):
        outcome.add("images", problem if number == 0 else None)
    for path in folder.iterdir():
        path.unlink()


def is_error_of_images(ended: Ended) -> str | None:
    """Return what is wrong; images that cannot be read are reported, one line for each."""
    if ended.code in (0, 1, 2) and "Traceback" not in ended.err:
        return None
    return f"exit code {ended.code}: {ended.err.strip()[-200:]}"


def _idx(lab: Lab, work: Path, outcome: Outcome) -> None:
    folder = work / "idx"
    folder.mkdir(exist_ok=True)
    for path in lab.data.glob("*ubyte"):
        name, content = path.name, path.read_bytes()
        mutations.write_idx_file(lab.random, folder / name, content)
    ended = lab.run_here(["evaluate", "first/model", "--data", "idx"], work)
    outcome.add("IDX files", is_error(ended))
    for path in folder.iterdir():
        path.unlink()


def _config(lab: Lab, work: Path, outcome: Outcome) -> None:
    text = (work / "first" / "config.toml").read_bytes()
    (work / "mutated.toml").write_bytes(mutations.mutate(lab.random, text))
    # The data does not exist, so that no training starts.
    arguments = [*TRAIN[:1], "--config", "mutated.toml", "--data", "missing", "--out", "new"]
    ended = lab.run_here(arguments, work)
    outcome.add("TOML file", is_error(ended) or (None if ended.code else "missing data accepted"))


def _model(lab: Lab, work: Path, outcome: Outcome) -> None:
    config = work / "first" / "model" / "config.json"
    intact = config.read_bytes()
    values = json.loads(intact)
    values["checksum"] = None  # edited on purpose, so that the values themselves are validated
    config.write_bytes(json.dumps(mutations.mutate_json(lab.random, values)).encode())
    ended = lab.run_here(["predict", "{data}/images", "--model", "first/model"], work)
    outcome.add("model folder", is_error(ended))
    config.write_bytes(intact)


def _journal(lab: Lab, work: Path, outcome: Outcome) -> None:
    journal = work / "search" / "journal.log"
    intact = journal.read_bytes()
    journal.write_bytes(mutations.mutate_lines(lab.random, intact))
    outcome.add("journal", is_error(lab.run_here(SCENARIOS["tune"].command, work)))
    journal.write_bytes(intact)
