"""The public API and the exit codes of its exceptions."""

import subprocess
import sys

import pytest

import fashioncnn
from fashioncnn import errors


def run_python(code: str) -> str:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_public_names():
    assert sorted(fashioncnn.__all__) == ["Classifier", "FashionCNNError", "__version__"]
    public = {name for name in vars(fashioncnn.Classifier) if not name.startswith("_")}
    assert public == {"train", "load", "save", "predict", "predict_proba", "evaluate"}


def test_unknown_attribute_is_rejected():
    with pytest.raises(AttributeError, match="has no attribute 'Classifer'"):
        _ = fashioncnn.Classifer


def test_help_imports_neither_torch_nor_numpy():
    code = (
        "import sys; from fashioncnn.cli import COMMANDS, main; main(['--help']); "
        "[main([command, '--help']) for command in COMMANDS]; "
        "print([m for m in ('torch', 'numpy', 'PIL', 'optuna') if m in sys.modules])"
    )
    assert run_python(code).endswith("[]\n")


def test_exceptions_have_their_exit_codes():
    codes = {
        name: getattr(errors, name).exit_code
        for name in dir(errors)
        if isinstance(getattr(errors, name), type)
        and issubclass(getattr(errors, name), errors.FashionCNNError)
    }
    assert codes == {
        "FashionCNNError": 1,
        "UsageError": 2,
        "ConfigError": 2,
        "DataError": 1,
        "ImageError": 1,
        "ModelError": 1,
        "RunError": 1,
        "OtherVersionError": 1,
        "DivergedError": 1,
        "WriteError": 1,
        "KernelError": 1,
        "OutOfMemoryError": 1,
        "MissingExtraError": 1,
        "QualityGateError": 3,
        "InterruptedRun": 130,
        "TerminatedRun": 143,
    }


def test_missing_extra_is_reported_with_its_install_command():
    assert "pip install '.[train]'" in str(errors.MissingExtraError("train", "torch"))


def test_nearest_name_is_suggested():
    assert errors.nearest("epoch", ["epochs", "seed"]) == "; did you mean 'epochs'?"
    assert errors.nearest("xyz", ["epochs", "seed"]) == ""
