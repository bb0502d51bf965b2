"""Settings, model folders and documents of runs are read as written; anything else is an error."""

import contextlib
import dataclasses
import json
import math

import pytest
import tomli_w
from hypothesis import assume, given
from hypothesis import strategies as st

from fashioncnn.artifacts.model_folder import read_description, write_model_folder
from fashioncnn.artifacts.preprocessing import Preprocessing
from fashioncnn.checksum import ChecksumError, with_checksum, without_checksum
from fashioncnn.config import known_keys, override, read_settings, resolve, setting_key
from fashioncnn.errors import FashionCNNError, ModelError, OtherVersionError, RunError, UsageError
from fashioncnn.files import write_json
from fashioncnn.reading import parse_json, parse_toml
from fashioncnn.runs import RunFolder

from .strategies import JSON, OBJECTS, TEXT, damaged

TOML_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
SCALARS = st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | TOML_TEXT
TOML = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TOML_TEXT, inner, max_size=3),
    max_leaves=8,
)
"""Values of TOML documents."""
LIKELY = st.sampled_from([0, 1, 2, -1, 0.5, 1e-3, 28, True, "auto", "none", "all", "cpu", [8, 16]])
KEYS = st.sampled_from(known_keys())


@given(values=OBJECTS)
def test_document_is_read_as_written(tmp_path, values):
    write_json(tmp_path / "file.json", with_checksum(values))
    read = parse_json((tmp_path / "file.json").read_bytes())
    assume("checksum" not in values)
    assert without_checksum(read) == values


@given(values=OBJECTS, data=st.data())
def test_damaged_document_has_the_same_values_or_is_rejected(values, data):
    assume("checksum" not in values)
    content = json.dumps(with_checksum(values), indent=1).encode()
    changed = data.draw(damaged(content))
    try:
        read = parse_json(changed)
        if isinstance(read, dict) and read.get("checksum", "") is not None:
            assert without_checksum(read) == values
    except ChecksumError:
        pass
    except ValueError as error:
        assert "\n" not in str(error)


@given(values=st.dictionaries(TOML_TEXT, TOML, max_size=4))
def test_toml_is_read_as_written(values):
    assert parse_toml(tomli_w.dumps(values)) == values


@given(text=TEXT | TOML_TEXT.map(lambda text: f'[a]\nb = "{text}"\nc = [1, {text}]'))
def test_any_toml_is_read_or_rejected(text):
    try:
        assert isinstance(parse_toml(text), dict)
    except ValueError as error:
        assert str(error)


VALUES = SCALARS | st.lists(SCALARS, max_size=3) | LIKELY


def in_toml(value):
    return tomli_w.dumps({"x": value}).partition("=")[2].strip()


@given(assigned=st.dictionaries(KEYS | TOML_TEXT, VALUES.map(in_toml) | TOML_TEXT, max_size=3))
def test_any_assignment_is_accepted_or_named_in_one_error(tmp_path, assigned):
    assignments = [f"{key}={value}" for key, value in assigned.items()]
    try:
        settings = resolve(assignments=assignments, environment={})
    except UsageError as error:
        assert len(str(error)) < 5000
        return
    path = tmp_path / "config.toml"
    path.write_text(settings.to_toml(), "utf-8")
    assert read_settings(path) == settings


@given(key=KEYS, value=VALUES)
def test_override_and_assignment_of_a_setting_are_the_same(key, value):
    text = f"{key}={in_toml(value)}"
    assert outcome(lambda: resolve(assignments=[text], environment={})) == outcome(
        lambda: override(resolve(environment={}), {setting_key(key): value})
    )


def outcome(function):
    try:
        return function()
    except UsageError:
        return "rejected"


@given(values=st.dictionaries(st.sampled_from(["model", "data", "training", "x"]), JSON))
def test_any_recipe_is_accepted_or_rejected(tmp_path, values):
    path = tmp_path / "recipe.toml"
    path.write_bytes(json.dumps(values).encode())
    with contextlib.suppress(TypeError, ValueError):  # null: it stays JSON, which is invalid, too
        path.write_text(tomli_w.dumps(values), "utf-8")
    try:
        resolve(str(path), environment={})
    except FashionCNNError as error:
        assert str(error)


@pytest.fixture(scope="module")
def described():
    from fashioncnn.artifacts.model_folder import bundled_models

    return read_description(bundled_models()["photo"])


@given(
    labels=st.lists(TEXT, min_size=2, max_size=9).map(tuple),
    temperature=st.floats(0.001, 1000),
    abstain_below=st.floats(0, 1, exclude_max=True),
    mean=st.floats(0, 1),
    tta=st.sampled_from(["none", "flip"]),
)
def test_model_description_is_read_as_written(
    tmp_path, described, labels, temperature, abstain_below, mean, tta
):
    written = described.model_copy(
        update={
            "labels": labels,
            "temperature": temperature,
            "abstain_below": abstain_below,
            "preprocessing": dataclasses.replace(described.preprocessing, mean=mean),
            "tta": tta,
        }
    )
    write_model_folder(tmp_path, b"", written, "")
    assert read_description(tmp_path) == written


@given(data=st.data())
def test_damaged_model_description_is_the_same_or_rejected(tmp_path, described, data):
    write_model_folder(tmp_path, b"", described, "")
    path = tmp_path / "config.json"
    changed = data.draw(damaged(path.read_bytes()))
    assume(b"null" not in changed[-300:])
    path.write_bytes(changed)
    try:
        assert read_description(tmp_path) == described
    except ModelError as error:
        assert "\n" not in str(error)


@given(key=st.sampled_from(["labels", "architecture", "temperature", "schema"]), value=JSON)
def test_any_edited_model_description_is_valid_or_rejected(tmp_path, described, key, value):
    values = {**described.to_json(), key: value, "checksum": None}
    (tmp_path / "config.json").write_text(json.dumps(values))
    try:
        read = read_description(tmp_path)
    except ModelError as error:
        assert "\n" not in str(error)
    else:
        assert isinstance(read.preprocessing, Preprocessing)
        assert len(read.labels) >= 2
        assert math.isfinite(read.temperature)


@pytest.fixture
def run(tmp_path):
    run = RunFolder(tmp_path)
    run.config.write_text(resolve(environment={}).to_toml())
    return run


RECORDS = st.lists(OBJECTS, max_size=4).map(
    lambda records: [{**record, "epoch": at} for at, record in enumerate(records, 1)]
)


@given(records=RECORDS, metrics=OBJECTS)
def test_history_and_metrics_are_read_as_written(run, records, metrics):
    run.write_history(records)
    assert run.read_history() == records
    written = {**metrics, "schema": 2, "validation": None, "test": None, "summary": {}}
    written = {key: value for key, value in written.items() if key not in ("sha256", "checksum")}
    run.write_metrics(written)
    assert run.require_intact() == written


@given(data=st.data(), name=st.sampled_from(["config.toml", "history.jsonl", "metrics.json"]))
def test_damaged_documents_of_a_run_are_as_written_or_rejected(run, data, name):
    metrics = {"schema": 2, "validation": {"n": 3}, "test": None, "summary": {"epochs": 1}}
    run.config.write_text('[data]\nsource = "a"\n[training]\nepochs = 1\n')
    run.write_history([{"epoch": 1, "train_loss": 0.5}])
    run.write_metrics(metrics)
    path = run.path / name
    path.write_bytes(data.draw(damaged(path.read_bytes())))
    try:
        assert run.require_intact() == metrics
    except (RunError, OtherVersionError, UsageError) as error:
        assert "\n" not in str(error)


@given(content=st.binary(max_size=80) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_history_and_environment_is_read_or_rejected(run, content):
    run.history.write_bytes(content)
    run.environment.write_bytes(content)
    for read in (run.read_history, run.read_environment):
        try:
            read()
        except (RunError, OtherVersionError) as error:
            assert "\n" not in str(error)
