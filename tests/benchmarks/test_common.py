import json
from pathlib import Path

import pytest

import common
from fashioncnn.config import validate


def test_result_is_read_back_with_schema(tmp_path, tiny_settings, small):
    path = tmp_path / "new" / "seed0.json"
    common.write_result(path, common.provenance(tiny_settings(), small))
    result = common.read_result(path)
    assert json.loads(path.read_text())["schema"] == result["schema"] == 2
    assert validate(result["settings"]).recipe == "baseline"
    assert result["environment"]["data"]["sha256"] == small.hashes


def test_keys_of_version_0_1_are_renamed(tmp_path):
    path = tmp_path / "result.json"
    settings = {"data": {"pictures": "photo"}, "training": {"averaging": 0.9}}
    points = [{"pictures": 5}]
    path.write_text(json.dumps({"parts": {"a/seed0": {"points": points}}, "settings": settings}))
    result = common.read_result(path)
    assert result["runs"] == {"a/seed0": {"points": [{"images": 5}]}}
    assert result["settings"]["data"] == {"views": "photo"}
    assert result["settings"]["training"] == {"ema_decay": 0.9}


def test_every_recorded_result_has_valid_settings():
    results = [common.read_result(path) for path in common.RESULTS.rglob("*.json")]
    settings = [validate(result["settings"]) for result in results if "settings" in result]
    assert len(settings) > 150


def test_portable_settings_contain_no_absolute_path(tiny_settings, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    settings = tiny_settings()
    distillation = settings.distillation.model_copy(
        update={"teachers": (f"{tmp_path}/runs/seeds/a/seed0", "accurate")}
    )
    values = common.portable_settings(settings.model_copy(update={"distillation": distillation}))
    assert values["distillation"]["teachers"] == ["runs/seeds/a/seed0", "accurate"]
    assert "source" not in values["data"]


@pytest.mark.parametrize("key", ["teachers", "taught_by"])
def test_teacher_hashes_are_read_from_environments_of_both_versions(key):
    path = f"{Path.cwd()}/runs/a"
    assert common.teacher_hashes({key: {path: "1f"}}) == {"runs/a": "1f"}
    assert common.teacher_hashes({}) is None


def test_missing_official_data_is_reported():
    with pytest.raises(SystemExit, match="set FASHIONCNN_DATA"):
        common.require_official_data()


def test_failed_command_is_reported(monkeypatch):
    monkeypatch.setattr(common.sys, "executable", "false")
    with pytest.raises(SystemExit, match=r"^fashioncnn train x: failed with status 1$"):
        common.run_fashioncnn("train", "x")


def test_last_line_ignores_empty_lines():
    assert common.last_line("first\nno such setting\n\n") == "no such setting"
    assert common.last_line("\n") == "no message"


def test_hardware_names_the_gpu_if_there_is_one():
    environment = {"gpu": None, "cpu": "X Processor", "threads": 2, "precision": "bf16"}
    assert common.describe_hardware(environment) == "X, 2 threads, bf16"
    environment |= {"gpu": "H100", "threads": 1}
    assert common.describe_hardware(environment) == "H100, 1 thread, bf16"
