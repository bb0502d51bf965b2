"""The command line: the only place that catches errors and turns them into exit codes.

Other packages are imported by functions, where an interrupt is reported in one line.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from fashioncnn._version import __version__
from fashioncnn.cli.exits import run

if TYPE_CHECKING:
    from cyclopts import App

HELP = """\
Train, evaluate and use image classifiers for Fashion-MNIST and other small-image datasets.

Example: fashioncnn train --data sketches
"""
# Commands are registered by import path, so that each imports only what it needs and `--help`
# imports none of them. Therefore their help is here.
COMMANDS = {
    "train": """Train a network and write a run folder: runs/train-1, runs/train-2, …

Example: fashioncnn train baseline --data sketches --epochs 5

A setting comes from its flag, else from the environment variable FASHIONCNN_<SETTING>, else from
the --config file, else from the recipe.
""",
    "evaluate": """Evaluate a model: accuracy with interval, per-class metrics, confused pairs.

Example: fashioncnn evaluate runs/train-1

Stored predictions of a run are reused while its model and the images are unchanged.
""",
    "report": """Write a self-contained report.html, and the same tables as report.md.

Example: fashioncnn report runs/train-1 runs/train-2
""",
    "compare": """Test whether B is better than A, with confidence intervals.

Example: fashioncnn compare runs/train-1 runs/train-2

One run each: McNemar's test on the same images. Folders with several seeds each: a t test over
seeds and images.
""",
    "predict": """Predict the classes of images.

Example: fashioncnn predict closet/ shoe.jpg --out predictions.csv

Predictions are written as they are made. Files that cannot be read are reported and skipped; the
exit code is then 1, or 2 if there was no image at all.
""",
    "serve": """Serve a model over HTTP: an API and a web page.

Example: fashioncnn serve photo --port 8000

The page is at http://127.0.0.1:8000, the API at /v1/predict; /openapi.json describes it. SIGTERM
and Ctrl-C end the server when it has answered what it accepted; the exit code is then 0.
""",
    "export": """Write a model as one ONNX file, for other programs and to predict without PyTorch.

Example: fashioncnn export runs/train-1

The file is compared with PyTorch before it is written. If it differs, the exit code is 3 and
nothing is written.
""",
    "data": """Locate, download and verify the data; draw a contact sheet; count duplicates.

Example: fashioncnn data --sheet sheet.png
""",
    "tune": """Search hyper-parameters by the loss on the validation split.

Example: fashioncnn tune baseline --trials 20 --epochs 2

The same command resumes an interrupted search, or extends it with more --trials. It writes
report.html and best.toml, a recipe for train. The test split is never read.
""",
    "bench": """Measure speed on this machine, relative to its own limit.

Example: fashioncnn bench train
""",
}
GROUPS = {
    "bench": {
        "train": """Measure the speed of training. Nothing is written, and no data is needed.

Example: fashioncnn bench train --batch-size 256 --threads 2

Only training steps are measured, without evaluation. The limit is the machine's rate of matrix
multiplication, in bf16 if it has instructions for it and else in fp32.
""",
        "predict": """Measure the speed of prediction: single images, batches of 1,000, and files.

Example: fashioncnn bench predict runs/train-1
""",
    },
}
"""Subcommands; the module of the command has a function for each."""


def build_app() -> App:
    """Return the application with all commands."""
    from cyclopts import App

    from fashioncnn.cli.help import HelpFormatter

    app = App(
        name="fashioncnn",
        help=HELP,
        version=__version__,
        help_format="plaintext",
        help_formatter=HelpFormatter(),
        group_parameters="Options",
        suppress_keyboard_interrupt=False,
    )
    for position, (name, text) in enumerate(COMMANDS.items()):
        if name not in GROUPS:
            app.command(f"{__name__}.{name}:{name}", name=name, help=text, sort_key=position)
            continue
        group = App(name=name, help=text, help_format="plaintext", sort_key=position)
        for number, (inner, inner_text) in enumerate(GROUPS[name].items()):
            path = f"{__name__}.{name}:{inner}"
            group.command(path, name=inner, help=inner_text, sort_key=number)
        app.command(group)
    return app


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code.

    Args:
        arguments: of the command line; None takes those of the process.
    """
    tokens = sys.argv[1:] if arguments is None else arguments
    return run(lambda: _run_command(tokens), ends_process=arguments is None)


def _run_command(arguments: list[str]) -> None:
    import os
    import warnings

    os.environ.setdefault(
        "PYDANTIC_DISABLE_PLUGINS", "__all__"
    )  # which are searched on every start

    from cyclopts import CycloptsError

    from fashioncnn.cli.options import split_assignments, usage_error
    from fashioncnn.cli.ranks import require_one_process, silent_unless_first
    from fashioncnn.openmp import configure_openmp

    configure_openmp()
    warnings.filterwarnings("ignore", module="PIL")  # unreadable images are reported by predict
    require_one_process(arguments)
    try:
        with silent_unless_first():
            build_app()(
                split_assignments(arguments),
                exit_on_error=False,
                print_error=False,
                result_action="return_none",
            )
    except CycloptsError as error:
        raise usage_error(error) from None
