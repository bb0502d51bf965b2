"""Without torch, scipy and matplotlib work: modules below `models/`, every ``--help``, prediction.

Prediction needs a model with an ONNX file.
"""

import json
import pkgutil
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fashioncnn.artifacts.model_folder import bundled_models
from fashioncnn.cli import COMMANDS, GROUPS

BLOCKED = ("torch", "scipy", "matplotlib")


def modules_of(package):
    """The names of a package and of all modules in it."""
    path = import_module(package).__path__
    return [package, *(f"{package}.{module.name}" for module in pkgutil.iter_modules(path))]


MODULES = [
    "fashioncnn",
    "fashioncnn.errors",
    "fashioncnn.settings",
    "fashioncnn.config",
    "fashioncnn.files",
    "fashioncnn.runs",
    "fashioncnn.migration",
    "fashioncnn.environment",
    "fashioncnn.cgroups",
    "fashioncnn.loading",
    "fashioncnn.api.classifier",
    *modules_of("fashioncnn.data"),
    *modules_of("fashioncnn.images"),
    *modules_of("fashioncnn.artifacts"),
    *modules_of("fashioncnn.evaluation"),
    *modules_of("fashioncnn.inference"),
    "fashioncnn.cli",
    "fashioncnn.cli.data",
    "fashioncnn.cli.datasets",
    "fashioncnn.cli.evaluate_data",
    "fashioncnn.cli.models",
    "fashioncnn.cli.predict_output",
]
HELP = [
    (),
    *((command,) for command in COMMANDS),
    *((group, command) for group, commands in GROUPS.items() for command in commands),
]
SCRIPT = """
import contextlib, importlib, importlib.abc, io, json, sys, traceback

blocked, modules, commands = json.loads(sys.argv[1])

class Blocker(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in blocked:
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Blocker())

def error_of(function, *arguments):
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            code = function(*arguments)
    except BaseException:
        return traceback.format_exc()
    return f"exit code {code}" if isinstance(code, int) and code else None

errors = {name: error_of(importlib.import_module, name) for name in modules}

from fashioncnn.cli import main

for command in commands:
    errors[" ".join(command)] = error_of(main, [*command, "--help"])
print(json.dumps(errors))
"""


@pytest.fixture(scope="module")
def errors():
    """The error, or None, of each import and each ``--help``, from one process for all."""
    arguments = json.dumps([BLOCKED, [*BLOCKED, *MODULES], HELP])
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, arguments], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize("module", BLOCKED)
def test_blocked_module_cannot_be_imported(errors, module):
    assert f"ImportError: {module} is blocked" in errors[module]


@pytest.mark.parametrize("module", MODULES)
def test_module_imports_without_torch(errors, module):
    assert errors[module] is None, errors[module]


@pytest.mark.parametrize("command", HELP, ids=lambda c: " ".join(c) or "none")
def test_help_needs_no_torch(errors, command):
    error = errors[" ".join(command)]
    assert error is None, error


WITHOUT_EXTRAS = """
import sys

missing = sys.argv.pop(1).split(",")

class HidingFinder:  # finds all modules but the missing ones
    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in missing:
            return self.finder.find_spec(name, path, target)

sys.meta_path[:] = [HidingFinder(finder) for finder in sys.meta_path]

from fashioncnn.cli import main

sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    ("command", "missing"),
    [
        (["report", "run"], "torch,optuna"),
        (["compare", "run", "other"], "torch,optuna,matplotlib,jinja2"),
    ],
    ids=["report", "compare"],
)
def test_command_needs_only_the_packages_that_it_uses(two_runs, command, missing):
    arguments = [sys.executable, "-c", WITHOUT_EXTRAS, missing, *command]
    done = subprocess.run(arguments, cwd=two_runs, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def run_without_torch(*command):
    """Run a command in a process that can import none of `BLOCKED`, jinja2 and onnx."""
    missing = ",".join((*BLOCKED, "jinja2", "onnx"))
    arguments = [sys.executable, "-c", WITHOUT_EXTRAS, missing, *map(str, command)]
    return subprocess.run(arguments, capture_output=True, text=True, check=False)


@pytest.fixture
def photo():
    """A JPEG like that of a phone: a dark shape on a light background."""
    pixels = np.full((120, 160, 3), 230, np.uint8)
    pixels[30:100, 50:110] = (40, 60, 120)
    Image.fromarray(pixels).save("photo.jpg")
    return "photo.jpg"


def models_with_onnx(onnx_folder):
    """The tiny model, and the bundled models."""
    bundled = [
        name for name, folder in bundled_models().items() if (folder / "model.onnx").exists()
    ]
    return [onnx_folder, *bundled]


def test_prediction_and_heat_maps_need_no_torch(onnx_folder, photo):
    for model in models_with_onnx(onnx_folder):
        done = run_without_torch("predict", photo, "--model", model, "--explain", "maps", "--json")
        assert done.returncode == 0, done.stderr
        (prediction,) = json.loads(done.stdout)["predictions"]
        assert 0.1 < prediction["confidence"] <= 1 or prediction["abstained"]
        assert len(list(Path("maps").iterdir())) == 1


def test_evaluation_needs_no_torch(onnx_folder):
    done = run_without_torch("evaluate", onnx_folder, "--data", "sketches", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["n"] == 1000


IN_PYTHON = """
import sys
import numpy as np
import fashioncnn

model, photo = sys.argv[1:]
classifier = fashioncnn.Classifier.load(model)
print(classifier.predict(photo), classifier.predictions(photo), classifier.explain(photo).size)
print(fashioncnn.explain(classifier, photo).size)
print(classifier.evaluate(np.zeros((2, 28, 28), np.uint8), [0, 1]))
classifier.save("saved")
saved = fashioncnn.Classifier.load("saved")
assert (saved.predict_proba(photo) == classifier.predict_proba(photo)).all()
images = np.zeros((2, 28, 28), np.uint8), [0, 1]
for train in (lambda: classifier.fit(*images), fashioncnn.Classifier.train):
    try:
        train()
    except fashioncnn.MissingExtraError as error:
        print(error)
"""


def test_python_api_needs_no_torch(onnx_folder, photo):
    code = WITHOUT_EXTRAS.partition("from fashioncnn.cli")[0] + IN_PYTHON
    missing = ",".join((*BLOCKED, "jinja2", "onnx"))
    arguments = [sys.executable, "-c", code, missing, onnx_folder, photo]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("torch is not installed; in a checkout") == 2


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["--model", "baseline_run"], "torch is not installed; in a checkout of fashioncnn, run"),
        (["--model", "model", "--backend", "torch"], "torch is not installed"),
        (["--model", "model", "--device", "cuda"], "torch is not installed"),
        (
            ["--model", "hidden", "--explain", "maps"],
            "the heat maps of its network need its weights and PyTorch",
        ),
    ],
    ids=["no ONNX file", "backend", "device", "explain"],
)
def test_what_needs_torch_says_so_in_one_line(onnx_folders, onnx_folder, photo, command, message):
    shutil.copytree(onnx_folders["hidden_head"], "hidden")
    shutil.copytree(onnx_folder, "baseline_run", ignore=shutil.ignore_patterns("*.onnx"))
    done = run_without_torch("predict", photo, *command)
    assert done.returncode in (1, 2)
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.fixture(scope="module")
def two_runs(tmp_path_factory, small, tiny_settings):
    """A folder with two finished runs."""
    from fashioncnn.runs import create_run
    from fashioncnn.training.run import train_model

    folder = tmp_path_factory.mktemp("runs")
    for seed, name in enumerate(("run", "other")):
        settings = tiny_settings(epochs=1, seed=seed)
        train_model(settings, small, run=create_run(folder / name, settings))
    return folder
