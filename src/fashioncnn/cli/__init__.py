"""The command line: the one place that catches errors and turns them into exit codes."""

from __future__ import annotations

import io
import os
import sys
import warnings

from cyclopts import App, CycloptsError
from cyclopts.exceptions import UnusedCliTokensError

from fashioncnn._version import __version__
from fashioncnn.cli.console import note
from fashioncnn.errors import FashionCNNError, UsageError

HELP = """\
Train, judge and use image classifiers for Fashion-MNIST.

Example: fashioncnn train --data sketches
"""

app = App(
    name="fashioncnn",
    help=HELP,
    version=__version__,
    help_format="plaintext",
    suppress_keyboard_interrupt=False,
    default_parameter=None,
)
# Commands are named by their paths, so that each imports only what it needs, and `--help`
# nothing; that is why their help stands here and not with them.
COMMANDS = {
    "train": """Learn, and leave a run folder: runs/train-1, train-2 …

Example: fashioncnn train baseline --data sketches --epochs 5

A setting is taken from its flag, else FASHIONCNN_<SETTING>, else --config, else the recipe.
""",
    "evaluate": """Judge a run or model on the test part: accuracy, intervals, classes, confusions.

Example: fashioncnn evaluate runs/train-1

Stored predictions are used again while model and images are the same.
""",
    "report": """Write one self-contained report.html, and the same tables as report.md.

Example: fashioncnn report runs/train-1 runs/train-2
""",
    "compare": """Is B better than A? Tests and intervals on the same images.

Example: fashioncnn compare runs/train-1 runs/train-2

With one run each, McNemar's test; with folders of several seeds each, a t test
in which seeds and images vary. What can be trusted is said in plain words.
""",
    "predict": """What is on these images? Images in, the likeliest classes out.

Example: fashioncnn predict closet/ shoe.jpg --out answers.csv

Files, folders, patterns, IDX files, and - for standard input, as many as there
are: answers come as they are found. A file that cannot be read is named and
skipped; the exit code is then 1, and 2 where nothing was found at all.
""",
    "data": """Find, fetch and verify the data; draw a sheet of it.

Example: fashioncnn data --sheet sheet.png
""",
    "tune": """Search the hyper-parameters of a recipe, by its loss on the validation part.

Example: fashioncnn tune baseline --trials 20 --epochs 2

Stopped at any moment and called again it goes on where it was; with more
--trials it goes further. It leaves report.html and best.toml, a recipe that
train takes as it is. The test part is never read.
""",
    "bench": """Speed here, against the machine's own limit.

Example: fashioncnn bench train
""",
}
GROUPS = {
    "bench": {
        "train": """How fast does training go here? Nothing is written, and no data needed.

Example: fashioncnn bench train --batch-size 256 --threads 2

Measured is learning alone, without judging. The limit is the machine's rate
of matrix products in the best precision that it has instructions for.
""",
        "predict": """How fast does prediction go here, one by one, by the thousand and from files?

Example: fashioncnn bench predict runs/train-1
""",
    },
}
"""Commands of their own beneath a command; its module has a function for each."""


def _register(parent: App, commands: dict[str, str], module: str = "") -> None:
    for position, (name, text) in enumerate(commands.items()):
        if name in GROUPS and not module:
            group = App(name=name, help=text, help_format="plaintext", sort_key=position)
            _register(group, GROUPS[name], name)
            parent.command(group)
        else:
            path = f"fashioncnn.cli.{module or name}:{name}"
            parent.command(path, name=name, help=text, sort_key=position)


_register(app, COMMANDS)


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code."""
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115, PTH123 - closed, as by `>&-`
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115, PTH123
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name is no reason to fail
    warnings.filterwarnings("ignore", module="PIL")  # what is wrong with an image is told by us
    try:
        app(arguments, exit_on_error=False, print_error=False, result_action="return_none")
        sys.stdout.flush()
    except CycloptsError as error:
        told = " ".join(str(error).split())
        if isinstance(error, UnusedCliTokensError):
            tokens = " ".join(error.unused_tokens or [])
            told = f"{tokens}: not understood here; every setting needs a --set of its own"
            if "=" not in tokens:
                told = f"{tokens}: not understood here; see --help"
        return _fail(UsageError(told))
    except FashionCNNError as error:
        return _fail(error)
    except KeyboardInterrupt:
        note("fashioncnn: interrupted")
        return 130
    except BrokenPipeError:  # the reader of our output went away, as `head` does
        _abandon_stdout()
        return 1
    except OSError as error:
        _abandon_stdout()
        what = error.filename or "output"
        return _fail(FashionCNNError(f"{what}: {error.strerror or error}"))
    return 0


def _abandon_stdout() -> None:
    """Send what is still to be flushed nowhere, so that Python does not fail on it at its end."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):  # it is no file, as in a test
        return


def _fail(error: FashionCNNError) -> int:
    note(f"fashioncnn: {error}")
    return error.exit_code
