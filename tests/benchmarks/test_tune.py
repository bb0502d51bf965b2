import json

import pytest


@pytest.fixture
def folder(tmp_path):
    """A search of two trials of 10 s, half a second between them, and one that was killed."""
    entries = [
        {"op_code": 0},
        {"op_code": 8, "trial_id": 0, "user_attr": {"seconds": 10.0}},
        {"op_code": 6, "trial_id": 0, "datetime_complete": "2026-01-02T00:00:10+00:00"},
        {"op_code": 6, "trial_id": 1, "datetime_complete": "2026-01-02T00:00:15+00:00"},
        {"op_code": 8, "trial_id": 2, "user_attr": {"again_of": 1}},
        {"op_code": 8, "trial_id": 2, "user_attr": {"seconds": 10.0}},
        {"op_code": 6, "trial_id": 2, "datetime_complete": "2026-01-02T00:00:20.500000+00:00"},
    ]
    lines = [json.dumps(entry) + "\n" for entry in entries]
    (tmp_path / "journal.log").write_text("".join(lines) + '{"op_code": 8, "tri')
    return tmp_path


def test_overhead_is_what_passed_without_training(folder):
    import tune

    assert tune.overhead_seconds(folder) == pytest.approx([0.5])


def test_rate_and_time_spent(folder, tmp_path):
    import tune

    assert tune.trials_per_hour(folder) == pytest.approx(3600 * 2 / 20.5)
    assert tune.spent_seconds(folder) == 20
    assert tune.spent_seconds(tmp_path / "nowhere") == 0
