"""What the attacks share with the tests: commands, comparable results, faults."""

from __future__ import annotations

import sys

from common import ROOT

if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))

from tests.data.faulty_server import CONTENT, faulty_server
from tests.robustness.commands import (
    FIRST,
    NETWORK,
    SCENARIOS,
    TRAIN,
    Ended,
    Scenario,
    run_command,
    same_command,
    write_data,
)
from tests.robustness.comparable import (
    constant_times,
    difference,
    no_figures,
    products,
    thread_workers,
)
from tests.robustness.faults import full_disk
from tests.robustness.recorder import Content, read_folder

EXPORT = Scenario(["export", "first", "--out", "model.onnx"], before=(FIRST,), proceed=same_command)

__all__ = [
    "CONTENT",
    "EXPORT",
    "FIRST",
    "NETWORK",
    "SCENARIOS",
    "TRAIN",
    "Content",
    "Ended",
    "Scenario",
    "constant_times",
    "difference",
    "faulty_server",
    "full_disk",
    "no_figures",
    "products",
    "read_folder",
    "run_command",
    "same_command",
    "thread_workers",
    "write_data",
]
