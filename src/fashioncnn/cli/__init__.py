"""The command line: the one place that catches errors and turns them into exit codes."""

from __future__ import annotations

import os
import sys

from cyclopts import App, CycloptsError

from fashioncnn import __version__
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
# Commands are named by their paths, so that a command imports only what it needs.
app.command("fashioncnn.cli.train:train", name="train")
app.command("fashioncnn.cli.evaluate:evaluate", name="evaluate")
app.command("fashioncnn.cli.report:report", name="report")
app.command("fashioncnn.cli.predict:predict", name="predict")
app.command("fashioncnn.cli.data:data", name="data")


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code."""
    try:
        app(arguments, exit_on_error=False, print_error=False, result_action="return_none")
        sys.stdout.flush()
    except CycloptsError as error:
        return _fail(UsageError(" ".join(str(error).split())))
    except FashionCNNError as error:
        return _fail(error)
    except KeyboardInterrupt:
        note("fashioncnn: interrupted")
        return 130
    except BrokenPipeError:
        # The reader of our output went away, as `head` does; Python must not flush to it again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0


def _fail(error: FashionCNNError) -> int:
    note(f"fashioncnn: {error}")
    return error.exit_code
