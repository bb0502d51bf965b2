"""Modules that take seconds to import and that training does not need."""

import subprocess
import sys

import pytest

from fashioncnn.kernels import unavailable_reason

SCRIPT = """
import sys
import numpy as np
from fashioncnn.config import resolve
from fashioncnn.data.dataset import Dataset
from fashioncnn.training.prepare import prepare_settings
from fashioncnn.training.run import train_model

images, labels = np.zeros((20, 28, 28), np.uint8), np.arange(20) % 10
dataset = Dataset.from_arrays(images, labels, test=(images, labels))
for recipe, *assignments in (
    ("baseline", "data.validation=0"),
    ("accurate", "model.flip_equivariant=true", "model.channels=[16, 32, 32]"),
):
    flags = {"epochs": 1, "batch_size": 10, "kernels": "native", "precision": "fp32"}
    settings = resolve(recipe, flags=flags, assignments=assignments, environment={})
    train_model(prepare_settings(settings, dataset), dataset)
print(*sorted({"sympy", "torch._dynamo"} & set(sys.modules)))
"""


@pytest.mark.slow
@pytest.mark.usefixtures("compiled")
def test_training_with_native_kernels_imports_no_compiler_of_torch():
    if reason := unavailable_reason():
        pytest.skip(f"needs native kernels: {reason}")
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []
