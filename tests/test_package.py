"""The public API and the exit codes of its exceptions."""

import inspect
import subprocess
import sys

import pytest

import fashioncnn
from fashioncnn import errors


def is_error(thing):
    return isinstance(thing, type) and issubclass(thing, errors.FashionCNNError)


def run_python(code: str) -> str:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


ERRORS = {name for name in dir(errors) if is_error(getattr(errors, name))}
FUNCTIONS = {
    "compare",
    "explain",
    "load_data",
    "plot_confusion_matrix",
    "plot_history",
    "plot_mistakes",
}
CLASSES = {"Classifier", "Comparison", "Dataset", "Evaluation", "Prediction"}


def test_public_names():
    assert set(fashioncnn.__all__) == {*ERRORS, *FUNCTIONS, *CLASSES, "__version__"}
    assert set(dir(fashioncnn)) == set(fashioncnn.__all__)
    for name in fashioncnn.__all__:
        assert getattr(fashioncnn, name) is not None


def test_public_methods():
    def public(kind):
        return {name for name in dir(kind) if not name.startswith("_")} - set(dir(dict))

    assert public(fashioncnn.Classifier) == {
        "class_names",
        "classes_",
        "evaluate",
        "explain",
        "fit",
        "get_params",
        "history",
        "load",
        "n_features_in_",
        "predict",
        "predict_proba",
        "predictions",
        "save",
        "score",
        "set_params",
        "train",
    }
    assert public(fashioncnn.Evaluation) == {
        "accuracy",
        "class_names",
        "confused_pairs",
        "confusion_matrix",
        "interval",
        "loss",
        "mistakes",
        "per_class",
        "to_latex",
        "to_pandas",
        "worst_mistakes",
    }
    assert public(fashioncnn.Comparison) == {"difference", "interval", "p", "verdict"}


def test_import_is_light():
    heavy = ("torch", "scipy", "matplotlib", "sklearn", "pandas", "IPython", "numpy")
    code = f"import sys, fashioncnn; print([m for m in {heavy} if m in sys.modules])"
    assert run_python(code) == "[]\n"


@pytest.mark.parametrize("name", sorted(FUNCTIONS | CLASSES))
def test_signatures_have_types_and_documentation(name):
    """The API page of the documentation is generated from them."""
    thing = getattr(fashioncnn, name)
    assert thing.__doc__
    if name != "Comparison":  # only created by `compare`
        assert inspect.signature(thing)


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
        if is_error(getattr(errors, name))
    }
    assert codes == {
        "FashionCNNError": 1,
        "UsageError": 2,
        "ConfigError": 2,
        "NotFittedError": 2,
        "DataError": 1,
        "ImageError": 1,
        "ModelError": 1,
        "RankError": 1,
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
