import shutil
from pathlib import Path

from .conftest import QUICK


def test_report_of_one_run_lies_in_it(cli, trained):
    Path(trained, "report.html").unlink()
    assert cli.ok("report", trained).strip() == "run/report.html"
    assert Path(trained, "report.html").exists()


def test_report_of_two_runs_lies_beside_them(cli, trained, idx_folder):
    cli.ok("train", *QUICK, "--data", idx_folder, "--seed", "1", "--out", "second")
    page = Path(cli.ok("report", trained, "second").strip())
    assert page == Path.cwd() / "report.html"
    cli.ok("report", trained, "second", "--out", "elsewhere")
    assert Path("elsewhere/report.md").exists()


def test_without_the_data_the_report_comes_without_images(cli, trained, idx_folder):
    for path in idx_folder.iterdir():
        path.unlink()
    _, _, err = cli("report", trained)
    assert "mistakes are shown without images" in err
    assert "data:image" not in Path(trained, "report.html").read_text()


def test_wrong_runs(cli, tmp_path):
    assert "at least one run" in cli.fails(2, "report")
    assert "no such run folder" in cli.fails(2, "report", "nowhere")


def test_the_same_run_twice_is_no_comparison(cli, trained):
    assert "named twice" in cli.fails(2, "report", trained, trained)


def test_runs_of_several_folders_need_a_place_to_write_to(cli, trained):
    Path("deeper").mkdir()
    shutil.copytree(trained, "deeper/run")
    assert "--out" in cli.fails(2, "report", trained, "deeper/run")
    cli.ok("report", trained, "deeper/run", "--out", "both")
    assert "deeper/run" in Path("both/report.html").read_text()


def test_damaged_runs_are_refused(cli, trained):
    Path(trained, "metrics.json").write_text("{}")
    assert "metrics.json: damaged" in cli.fails(1, "report", trained)


def test_a_shortened_history_is_no_whole_one(cli, trained):
    history = Path(trained, "history.jsonl")
    history.write_text(history.read_text().splitlines()[0] + "\n")
    assert "history.jsonl: damaged (it has 1 of 2 epochs)" in cli.fails(1, "report", trained)
