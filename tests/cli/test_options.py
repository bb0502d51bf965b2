from typing import Annotated

import pytest
from cyclopts import App

from fashioncnn.cli.options import RENAMED_FLAGS, number, option_names, split_assignments
from fashioncnn.cli.predict import predict
from fashioncnn.errors import UsageError


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("--set a=1 b=2", "--set a=1 --set b=2"),
        ("--set a.b=[1,2] b=2 c=3 --json", "--set a.b=[1,2] --set b=2 --set c=3 --json"),
        ("--set=a=1 b=2", "--set=a=1 --set b=2"),
        ("--set a=1 baseline b=2", "--set a=1 baseline b=2"),
        ("--set a=1 --out b=2", "--set a=1 --out b=2"),
        ("--config a=1 b=2", "--config a=1 b=2"),
        ("", ""),
    ],
)
def test_assignments_after_one_set_are_separated(arguments, expected):
    assert split_assignments(arguments.split()) == expected.split()


def run(text, parameter, kind):
    app = App()
    values = []

    @app.default
    def command(*, count: Annotated[kind, parameter]):
        values.append(count)

    app(["--count", text], exit_on_error=False, print_error=False, result_action="return_none")
    return values[0]


@pytest.mark.parametrize(("text", "value"), [("1", 1), ("10", 10)])
def test_integers_within_bounds(text, value):
    assert run(text, number(int, minimum=1, maximum=10), int) == value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", "greater than or equal to 1"),
        ("11", "less than or equal to 10"),
        ("1.5", "an integer"),
        ("many", "an integer"),
        ("9" * 400, "an integer"),
    ],
)
def test_other_integers_are_rejected_and_not_rounded(text, expected):
    with pytest.raises(UsageError, match=f"^--count {text}: should be {expected}$"):
        run(text, number(int, minimum=1, maximum=10), int)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", "greater than 0"),
        ("nan", "a finite number"),
        ("inf", "a finite number"),
        ("x", "a nu"),
    ],
)
def test_numbers_out_of_bounds_are_rejected(text, expected):
    with pytest.raises(UsageError, match=f"^--count {text}: should be {expected}"):
        run(text, number(float, above=0), float)
    assert run(".5", number(float, above=0), float) == 0.5


@pytest.mark.parametrize("old", RENAMED_FLAGS)
@pytest.mark.parametrize("value", [[], ["=x"]], ids=["", "="])
def test_renamed_flags_are_rejected_with_the_new_name(cli, old, value):
    message = cli.fails(2, "predict", "a.png", "".join([old, *value]))
    assert message == f"fashioncnn: {old}: renamed to {RENAMED_FLAGS[old]} in version 0.2"
    assert RENAMED_FLAGS[old] in option_names(predict)


def test_renamed_flags_are_unknown_to_commands_without_the_new_one(cli):
    assert "--fit: unknown option" in cli.fails(2, "train", "--fit", "pad")
