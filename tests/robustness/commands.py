"""The commands whose kill points are tested, and how each of them is continued."""

import contextlib
import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from fashioncnn.cli import main
from fashioncnn.data.dataset import Dataset

from ..idx import write_idx
from .comparable import difference
from .recorder import Content

NETWORK = ["--set", "model.channels=[4, 8]", "model.hidden=16", "kernels=torch"]
STEPS = ["--batch-size", "20", "--validation", "20", "--device", "cpu", "--threads", "1"]
TRAIN = ["train", *STEPS, "--epochs", "2", "--data", "{data}"]
EVERY_STEP = "training.checkpoint_seconds=0.000001"
SEARCH = [
    "tune", "--space", "{data}/space.toml", "--data", "{data}", "--out", "search", "--trials", "2",
    "--epochs", "1", "--device", "cpu", *NETWORK, "threads=1", "data.validation=20",
]  # fmt: skip
HOW_TO_CONTINUE = re.compile(r"--from|--resume|--out|new run|same command|remove|again|free ")
SPACE = "[model]\ndropout = { low = 0.0, high = 0.7 }\n"


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def is_plain_error(self) -> bool:
        """Whether it ended with one line that reports an error, and no traceback."""
        lines = self.err.strip().splitlines()
        errors = [line for line in lines if line.startswith("fashioncnn: ")]
        return self.code in (1, 2) and lines[-1:] == errors and "Traceback" not in self.err

    def problem(self, expected: dict[str, Content], found: dict[str, Content]) -> str | None:
        """Return why this end of a continued command is not acceptable; None if it is."""
        last = (self.err.strip().splitlines() or [""])[-1]
        if self.code == 0:
            problem = difference(expected, found)
            return f"{problem} ({last})" if problem else None
        if not self.is_plain_error:
            return f"exit code {self.code}: {last}"
        return None if HOW_TO_CONTINUE.search(last) else f"no way to continue: {last}"


def write_data(folder: Path, drawings: Dataset, n: int = 60) -> None:
    """Write what the commands read: `n` training and 20 test images, a search space, images."""
    folder.mkdir()
    for prefix, split, size in (
        ("train", drawings.train, n),
        ("t10k", drawings.require_test(), 20),
    ):
        write_idx(folder / f"{prefix}-images-idx3-ubyte", split.images[:size])
        write_idx(folder / f"{prefix}-labels-idx1-ubyte", split.labels[:size])
    (folder / "space.toml").write_text(SPACE)
    (folder / "images").mkdir()
    for number, image in enumerate(drawings.require_test().images[:3]):
        Image.fromarray(255 - image).save(folder / "images" / f"{number}.png")


def run_command(arguments: list[str], data: Path) -> Ended:
    """Run a command in this process; ``{data}`` stands for the folder of the data."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main([argument.replace("{data}", str(data)) for argument in arguments])
        except SystemExit as stop:
            code = int(stop.code or 0)
    return Ended(code, out.getvalue(), err.getvalue())


def same_command(command: list[str]) -> list[str]:
    """Continue with the same command."""
    return command


def resume_if_run(command: list[str]) -> list[str]:
    """Continue with ``--resume`` if the folder of ``--out`` is a run, else as before."""
    run = command[command.index("--out") + 1]
    if not Path(run, "config.toml").exists():
        return command
    return ["train", "--resume", run]


@dataclass(frozen=True)
class Scenario:
    """A command in a folder.

    Attributes:
        command: whose kill points are tested.
        before: commands that prepare the folder.
        proceed: returns the command that continues, in the folder after a kill.
        ignored: suffixes of names whose content is not compared: an interrupted trial is repeated
            with a new number, which the files of a search contain.
        stride: the slow tests attack every so many operations.
    """

    command: list[str]
    before: tuple[list[str], ...] = ()
    proceed: Callable[[list[str]], list[str]] = resume_if_run
    ignored: tuple[str, ...] = ()
    stride: int = 1


FIRST = [*TRAIN, "--out", "first", *NETWORK]
GROUP = [
    "train", *STEPS, "--data", "{data}", "--seeds", "0-1", "--out", "group", *NETWORK,
    "training.epochs=1", "training.track_test=false",
]  # fmt: skip
GROUP_STRIDE = 4
"""A group consists of runs, each operation of which is attacked in the scenario "train"; of a whole
group, every fourth is."""
SCENARIOS = {
    "train": Scenario([*TRAIN, "--out", "run", *NETWORK, EVERY_STEP]),
    "train --from": Scenario(
        [*TRAIN, "--out", "run", "--from", "first", "--set", "kernels=torch"], before=(FIRST,)
    ),
    "distillation": Scenario(
        [
            *TRAIN, "--out", "run", *NETWORK,
            "distillation.ensemble_size=1", "distillation.epochs=1",
        ]
    ),
    "train --resume": Scenario(
        ["train", "--resume", "first", "--epochs", "3"],
        before=([*FIRST, "schedule.name=constant"],),
        proceed=same_command,
    ),
    "train --seeds": Scenario(GROUP, proceed=same_command, stride=GROUP_STRIDE),
    "train --resume GROUP": Scenario(
        ["train", "--resume", "group", "--epochs", "2"],
        before=([*GROUP, "schedule.name=constant"],),
        proceed=same_command,
        stride=GROUP_STRIDE,
    ),
    "evaluate GROUP": Scenario(["evaluate", "group"], before=(GROUP,), proceed=same_command),
    "report GROUP": Scenario(["report", "group"], before=(GROUP,), proceed=same_command),
    "tune": Scenario(
        SEARCH,
        proceed=same_command,
        ignored=("journal.log", "finalists.log", "report.html", "report.md"),
    ),
    "evaluate": Scenario(
        ["evaluate", "first"],
        before=([*FIRST, "training.track_test=false"],),
        proceed=same_command,
    ),
    "report": Scenario(["report", "first"], before=(FIRST,), proceed=same_command),
    "predict": Scenario(
        ["predict", "{data}/images", "--model", "first", "--out", "table.csv"],
        before=(FIRST,),
        proceed=same_command,
    ),
}  # fmt: skip
