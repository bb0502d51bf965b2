import json
import subprocess
import sys
from pathlib import Path

import pytest

import common
from fashioncnn.config import validate
from fashioncnn.errors import UsageError


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


def test_measured_processes_do_not_compile_the_package(monkeypatch):
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    common.make_parser("A benchmark.")
    start = "import sys; print(sys.dont_write_bytecode)"
    done = subprocess.run([sys.executable, "-c", start], stdout=subprocess.PIPE, check=True)
    assert done.stdout.strip() == b"False"


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


@pytest.fixture
def parser(monkeypatch):
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    parser = common.make_parser("Measure.")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--sizes", type=int, nargs="+")
    parser.add_argument("--load", type=int, nargs="+")
    parser.add_argument("--data")
    return parser


@pytest.mark.parametrize(
    "option",
    [
        *(("--rounds", number) for number in ("0", "-1")),
        *(("--seconds", number) for number in ("0", "-1.5", "nan", "inf")),
        ("--sizes", "3", "0"),
        ("--load", "0", "-1"),
    ],
    ids=" ".join,
)
def test_numbers_without_meaning_are_usage_errors(parser, capsys, option):
    with pytest.raises(SystemExit) as caught:
        parser.parse_args(option)
    assert caught.value.code == 2
    assert f"{option[0]} " in capsys.readouterr().err.splitlines()[-1]


def test_other_numbers_are_accepted(parser):
    arguments = "--rounds 1 --seconds 0.1 --sizes 1 2 --load 0 2 --data x"
    options = parser.parse_args(arguments.split())
    assert vars(options) == {
        "rounds": 1,
        "seconds": 0.1,
        "sizes": [1, 2],
        "load": [0, 2],
        "data": "x",
    }
    assert set(vars(parser.parse_args([])).values()) == {None}


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (UsageError("recipe basline: unknown"), "script.py: recipe basline: unknown\n"),
        (KeyboardInterrupt(), "script.py: interrupted\n"),
    ],
)
def test_errors_of_the_user_are_one_line(parser, capsys, monkeypatch, error, message):
    monkeypatch.setattr(sys, "argv", ["benchmarks/script.py"])
    sys.excepthook(type(error), error, None)
    assert capsys.readouterr().err == message


def test_other_errors_have_a_traceback(parser, capsys):
    sys.excepthook(KeyError, KeyError("x"), None)
    assert "KeyError: 'x'" in capsys.readouterr().err


@pytest.mark.parametrize("content", [None, "", "{", "\x00"])
def test_missing_or_damaged_result_is_one_line(tmp_path, content):
    path = tmp_path / "result.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(SystemExit, match="no result can be read there"):
        common.read_result(path)


def test_measurements_continue_where_they_were_interrupted(capsys):
    first = common.Measurements("busy", trials=8)
    assert first.measure("trial 1", lambda: {"1": 2.0}) == {"1": 2.0}
    again = common.Measurements("busy", trials=8)
    assert "continuing the measurements of " in capsys.readouterr().err
    assert again.started == first.started
    assert again.measure("trial 1", pytest.fail) == {"1": 2.0}
    again.finish()
    assert common.Measurements("busy", trials=8).values == {}


@pytest.mark.parametrize("other", ["options", "machine", "version", "benchmark"])
def test_measurements_of_other_conditions_are_not_continued(monkeypatch, other):
    common.Measurements("busy", trials=8).measure("trial 1", lambda: 1.0)
    if other == "machine":
        monkeypatch.setattr(common, "measurement_context", lambda: {"date": "", "cpu": "other"})
    if other == "version":
        monkeypatch.setattr("fashioncnn.__version__", "9.9.9")
    name = "scaling" if other == "benchmark" else "busy"
    trials = 7 if other == "options" else 8
    assert common.Measurements(name, trials=trials).values == {}
