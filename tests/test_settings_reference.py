from pathlib import Path

import pytest

from fashioncnn.config import known_keys
from fashioncnn.settings_reference import Setting, find_setting, to_markdown

REFERENCE = Path(__file__).parents[1] / "docs" / "guide" / "settings.md"


def test_reference_in_the_guide_is_up_to_date():
    assert REFERENCE.read_text() == to_markdown(), "run `make settings`"


def test_every_setting_is_documented():
    text = to_markdown()
    for key in known_keys():
        if "." in key and not key.endswith(".name"):
            assert f"| `{key}` |" in text
            assert find_setting(key).description


@pytest.mark.parametrize(
    ("key", "types", "choices", "bounds", "default"),
    [
        ("training.epochs", ("integer",), ("auto",), "≥ 1, ≤ 1,000,000", "20"),
        ("runtime.threads", ("integer",), ("auto",), "≥ 1, ≤ 1,024", '"auto"'),
        ("optimizer.learning_rate", ("number",), (), "> 0", None),
        ("optimizer.betas", ("2 numbers",), (), "≥ 0, < 1", "[0.9, 0.999]"),
        ("model.channels", ("list of integers",), (), "≥ 1, ≤ 4,096", "[32, 64]"),
        ("training.select", (), ("last", "best_val"), "", '"last"'),
        ("training.track_test", ("boolean",), (), "", "false"),
        ("data.source", ("string",), (), "", ""),
        ("model.name", (), ("fashion_cnn",), "", '"fashion_cnn"'),
    ],
)
def test_settings_are_described_by_their_models(key, types, choices, bounds, default):
    setting = find_setting(key)
    assert setting == Setting(key, types, choices, bounds, default, setting.description)
