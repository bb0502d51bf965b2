import re
import shutil
from pathlib import Path

import pytest

from fashioncnn.errors import WriteError

from .conftest import NO_EPOCHS, QUICK, command_id


def weights(run):
    return Path(run, "model", "model.safetensors").read_bytes()


def edit_config(run, old, new):
    path = Path(run, "config.toml")
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_a_finished_run_is_left_as_it_is(cli, trained):
    before = weights(trained)
    code, out, err = cli("train", "--resume", trained)
    assert (code, out) == (0, "")
    assert "run: already finished (2 epochs); nothing to do" in err
    assert cli.json("train", "--resume", trained)["test"]["n"] == 100
    assert weights(trained) == before


def test_a_run_without_a_checkpoint_starts_again(cli, trained):
    expected = weights(trained)
    config = Path(trained, "config.toml").read_bytes()
    shutil.rmtree(trained)
    Path(trained).mkdir()
    Path(trained, "config.toml").write_bytes(config)
    cli.ok("train", "--resume", trained)
    assert weights(trained) == expected


def test_extended_run_equals_a_longer_run(cli, idx_folder, trained):
    cli.ok("train", "--resume", trained, "--epochs", "4")
    cli.ok("train", *NO_EPOCHS, "--data", idx_folder, "--epochs", "4", "--out", "whole")
    assert weights(trained) == weights("whole")
    assert len(Path(trained, "history.jsonl").read_text().splitlines()) == 4


@pytest.mark.parametrize("missing", ["model/config.json", "model/model.safetensors"])
def test_missing_files_of_a_finished_run_are_restored(cli, trained, missing):
    before = weights(trained)
    Path(trained, missing).unlink()
    assert "trained, but files are missing" in cli("train", "--resume", trained)[2]
    assert weights(trained) == before
    assert "nothing to do" in cli("train", "--resume", trained)[2]


def test_missing_report_of_a_trained_run_is_written(cli, trained):
    """The process was killed, or the disk was full, after the metrics were written."""
    cli.ok("report", trained)
    before = {path: path.read_bytes() for path in Path(trained).rglob("*") if path.is_file()}
    page = Path(trained, "report.html")
    page.unlink()
    _, _, err = cli("train", "--resume", trained)
    assert "run: trained, but its report is missing; writing it" in err
    assert "report: run/report.html" in err
    assert set(before) == {path for path in Path(trained).rglob("*") if path.is_file()}
    assert page.read_bytes() == before[page]
    assert "nothing to do" in cli("train", "--resume", trained)[2]


def test_report_that_cannot_be_written_is_reported_with_how_to_resume(cli, trained, monkeypatch):
    from fashioncnn.reporting import report

    page = Path(trained, "report.html")
    page.unlink()
    write = report.write_atomic

    def fail(path, content):
        if path == page:
            raise WriteError(path, "No space left on device", "free some space")
        write(path, content)

    monkeypatch.setattr(report, "write_atomic", fail)
    assert cli.fails(1, "train", "--resume", trained) == (
        "fashioncnn: run/report.html: cannot be written (No space left on device); free some space "
        "and continue with --resume run"
    )


def test_damaged_checkpoint_is_reported_on_stderr(cli, trained):
    Path(trained, "metrics.json").unlink()
    newest = sorted(Path(trained, "checkpoints").glob("*.json"))[-1]
    text = newest.read_text()
    position = text.index('"position": ') + len('"position": ')
    newest.write_text(text[:position] + str(9 - int(text[position])) + text[position + 1 :])
    before = weights(trained)
    _, _, err = cli("train", "--resume", trained)
    assert f"run/checkpoints/{newest.stem}: damaged; resuming from step-" in err
    assert weights(trained) == before


def test_damaged_metrics_of_a_finished_run_are_restored(cli, trained):
    metrics = Path(trained, "metrics.json")
    before = metrics.read_bytes()
    metrics.write_text("{")
    assert "trained, but files are missing" in cli("train", "--resume", trained)[2]
    assert len(metrics.read_bytes()) == pytest.approx(len(before), rel=0.1)


def test_metrics_of_a_later_schema_are_left_as_they_are(cli, trained):
    metrics = Path(trained, "metrics.json")
    schema = f'"schema": {9}'
    text = metrics.read_text()
    for known in (1, 2):
        text = text.replace(f'"schema": {known}', schema)
    metrics.write_text(text)
    assert "another version" in cli.fails(1, "train", "--resume", trained)
    assert metrics.read_text() == text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--epochs", "1"], "--epochs 1: run was started with 2 epochs; it can only be extended"),
        (["--epochs", "1.5"], "--epochs 1.5: should be a valid integer"),
        (["--device", "tpu"], "--device tpu: should be auto"),
        (["--seed", "3"], "--seed: cannot be changed with --resume; start a new run from its"),
        (["--out", "x"], "--out: cannot be changed with --resume"),
        (["--set", "a.b=1"], "--set: cannot be changed with --resume"),
        (["honest", "--no-track-test"], "--track-test, recipe: cannot be changed with --resume"),
    ],
    ids=command_id,
)
def test_invalid_changes_are_rejected(cli, trained, arguments, message):
    config = Path(trained, "config.toml").read_bytes()
    assert message in cli.fails(2, "train", "--resume", trained, *arguments)
    assert Path(trained, "config.toml").read_bytes() == config


def test_a_run_with_a_decaying_learning_rate_cannot_be_extended(cli, idx_folder):
    linear = "--set", "schedule.name=linear"
    cli.ok("train", *QUICK, *linear, "--data", idx_folder, "--out", "r")
    before = Path("r/metrics.json").read_bytes()
    assert "start a new run from its weights with --from r" in cli.fails(
        2, "train", "--resume", "r", "--epochs", "4"
    )
    assert Path("r/metrics.json").read_bytes() == before


@pytest.mark.parametrize("data", ["nowhere", "sketches"])
def test_an_extension_with_other_data_leaves_the_run_as_it_was(cli, trained, data):
    before = {path: path.read_bytes() for path in Path(trained).glob("*.*")}
    code, _, _ = cli("train", "--resume", trained, "--epochs", "4", "--data", data)
    assert code in (1, 2)
    assert {path: path.read_bytes() for path in Path(trained).glob("*.*")} == before


def test_a_folder_that_is_not_a_run_is_rejected(cli, tmp_path):
    assert "no such run folder" in cli.fails(2, "train", "--resume", "nowhere")
    assert "not a run folder" in cli.fails(2, "train", "--resume", tmp_path)


@pytest.mark.usefixtures("no_compiler")
def test_a_run_resumes_without_native_kernels(cli, trained):
    edit_config(trained, 'kernels = "torch"', 'kernels = "native"')
    code, _, err = cli("train", "--resume", trained, "--epochs", "3")
    assert code == 0, err
    assert "run: started with native kernels, which are not available here" in err
    assert "slower than the native ones: no C compiler" in err
    assert 'kernels = "torch"' in Path(trained, "config.toml").read_text()


def test_a_run_resumes_on_another_device(cli, trained):
    edit_config(trained, 'device = "cpu"', 'device = "cuda:7"')
    Path(trained, "metrics.json").unlink()
    assert "try --device cpu" in cli.fails(2, "train", "--resume", trained)
    cli.ok("train", "--resume", trained, "--device", "cpu")


def test_a_rejected_extension_leaves_a_distilled_run_finished(cli, idx_folder):
    teachers = "--set", "distillation.ensemble_size=1", "distillation.epochs=1"
    _, _, err = cli("train", *QUICK, *teachers, "--data", idx_folder, "--out", "r")
    assert "1 teacher of 1 epoch first" in err
    cli.ok("train", "--resume", "r/teachers/1", "--epochs", "3")
    metrics = Path("r/metrics.json").read_bytes()
    assert "3 epochs, not 1" in cli.fails(1, "train", "--resume", "r", "--epochs", "4")
    assert Path("r/metrics.json").read_bytes() == metrics
    assert "nothing to do" in cli("train", "--resume", "r")[2]


def test_a_run_resumes_with_other_kernels_and_threads(cli, trained):
    """As a run in bf16 of an earlier version, whose native kernels are called mixed now."""
    before = Path(trained, "config.toml").read_text()
    assert 'kernels = "torch"' in before
    for kernels, threads in (("mixed", 2), ("torch", 1), ("auto", 3)):
        flags = "--kernels", kernels, "--threads", threads
        Path(trained, "metrics.json").unlink()
        code, _, err = cli("train", "--resume", trained, *flags)
        assert code == 0, err
        assert "not available" not in err
        config = Path(trained, "config.toml").read_text()
        assert f"threads = {threads}" in config
        assert f'kernels = "{kernels}"' in config or kernels == "auto"
        assert "auto" not in re.findall(r'kernels = "(\w+)"', config)


def test_a_run_resumed_on_fewer_cores_names_the_faster_number_of_threads(cli, trained, monkeypatch):
    """Eight threads on one core are many times slower; the bytes depend on their number."""
    edit_config(trained, "threads = 1", "threads = 2")
    Path(trained, "metrics.json").unlink()
    monkeypatch.setattr("fashioncnn.cli.runtime_notes.available_cores", lambda: 1)
    err = cli("train", "--resume", trained)[2]
    assert "threads = 2: only 1 core can be used; --threads 1 is faster" in err
    assert "threads = 2" in Path(trained, "config.toml").read_text()


def test_a_resumed_run_keeps_its_threads_whatever_the_environment_says(cli, trained, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    config = Path(trained, "config.toml").read_bytes()
    Path(trained, "metrics.json").unlink()
    cli.ok("train", "--resume", trained)
    assert Path(trained, "config.toml").read_bytes() == config
