"""The journal of a search after any damage: repaired to a valid start, or rejected."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fashioncnn.errors import RunError
from fashioncnn.tuning.journal import repair_journal

from .strategies import JSON, damaged

ENTRIES = [
    b'{"op_code": 0, "worker_id": "a", "study_name": "fashioncnn", "directions": [1]}\n',
    b'{"op_code": 4, "worker_id": "a", "study_id": 0, "datetime_start": "2026-11-26"}\n',
    b'{"op_code": 5, "worker_id": "a", "trial_id": 0, "param_name": "x"}\n',
    b'{"op_code": 7, "worker_id": "a", "trial_id": 0, "step": 1, "intermediate_value": 0.5}\n',
    b'{"op_code": 6, "worker_id": "a", "trial_id": 0, "state": 1, "values": [0.5]}\n',
]
INTACT = b"".join(ENTRIES)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "journal.log"


def check(path, content):
    """Repair a journal with `content`, which keeps a start of it, or is rejected unchanged."""
    path.write_bytes(content)
    try:
        removed = repair_journal(path)
    except RunError as error:
        assert "\n" not in str(error)
        assert path.read_bytes() == content
    else:
        assert path.read_bytes() == content[: len(content) - removed]
        assert repair_journal(path) == 0


def test_intact_journal_is_kept(path):
    path.write_bytes(INTACT)
    assert repair_journal(path) == 0


@given(content=damaged(INTACT))
def test_damaged_journal_is_repaired_or_rejected(path, content):
    check(path, content)


@given(lines=st.lists(st.sampled_from(ENTRIES), max_size=8))
def test_journal_of_any_order_is_repaired_or_rejected(path, lines):
    check(path, b"".join(lines))


@given(code=st.sampled_from([0, 2, 4, 5, 6, 7, 8, 9]), key=st.text(max_size=12), value=JSON)
def test_journal_with_any_entry_is_repaired_or_rejected(path, code, key, value):
    keys = ("trial_id", "study_id", "state", "values", "step", "intermediate_value")
    entry = {"op_code": code, "worker_id": "a", key: value, **dict.fromkeys(keys, value)}
    check(path, b"".join([*ENTRIES[:2], json.dumps(entry).encode() + b"\n"]))
