import ast
from pathlib import Path

import pytest

import fashioncnn
from fashioncnn.api.messages import in_python

PACKAGE = Path(fashioncnn.__file__).parent
COMMAND_LINE = {"cli", "tuning", "bench"}
"""Packages that the API does not use."""


def error_messages():
    """Yield every constant piece of text in the layers that the API uses that has an option."""
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.relative_to(PACKAGE).parts[0] in COMMAND_LINE:
            continue
        tree = ast.parse(path.read_text("utf-8"))
        for raised in (node for node in ast.walk(tree) if isinstance(node, ast.Raise)):
            text = "".join(
                node.value
                for node in ast.walk(raised)
                if isinstance(node, ast.Constant) and isinstance(node.value, str)
            )
            if "--" in text:
                yield text


@pytest.mark.parametrize("message", sorted(error_messages()))
def test_no_message_recommends_an_option(message):
    assert "--" not in in_python(message)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("try a lower --learning-rate", "try a lower learning_rate"),
        ("use another --batch-size", "use another batch_size"),
        ("train with --no-track-test", "train with track_test=False"),
        ("try --device cpu", "try device='cpu'"),
        ("--set distillation.ensemble_size=0", "distillation__ensemble_size=0"),
        (
            "r: not finished; resume it with --resume r",
            "r: not finished; it has to be resumed first",
        ),
        ("resize it, or raise the limit with predict --max-megapixels", "resize it"),
        ("no option -- here", "no option -- here"),
    ],
)
def test_options_become_arguments(message, expected):
    assert in_python(message) == expected
