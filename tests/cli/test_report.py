"""``fashioncnn report``."""

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def second(trained):
    shutil.copytree(trained, "second")
    return "second"


def test_report_of_one_run_is_written_into_its_folder(cli, trained):
    Path(trained, "report.html").unlink(missing_ok=True)
    assert cli.ok("report", trained).strip() == "run/report.html"
    assert "data:image/png" in Path(trained, "report.html").read_text()
    assert Path(trained, "report.md").exists()


def test_report_of_two_runs_is_written_into_their_common_folder(cli, trained, second):
    page = Path(cli.ok("report", trained, second).strip())
    assert page == Path("report.html")
    assert "2 runs side by side" in page.read_text()


def test_out_names_the_output_folder(cli, trained):
    assert cli.ok("report", trained, "--out", "elsewhere").strip() == "elsewhere/report.html"
    assert Path("elsewhere/report.md").exists()


@pytest.mark.parametrize("name", ["report.md", "report.html"])
def test_a_file_of_the_user_is_never_replaced(name, cli, trained, second):
    Path(name).write_text("my own report")
    assert f"{name}: exists and is no report" in cli.fails(2, "report", trained, second)
    assert Path(name).read_text() == "my own report"
    assert not Path({"report.md", "report.html"}.difference([name]).pop()).exists()
    Path(name).unlink()
    for _ in range(2):  # its own reports are replaced
        cli.ok("report", trained, second)


def test_report_without_the_data_shows_no_mistakes_and_prints_a_note(cli, trained):
    code, _, err = cli("report", trained, "--data", "missing")
    assert code == 0
    assert (
        "run: the report shows no mistakes, their images are not available (data = missing" in err
    )
    assert "data:image" not in Path(trained, "report.html").read_text()


def test_report_with_other_data_shows_no_mistakes_and_prints_a_note(cli, trained):
    code, _, err = cli("report", trained, "--data", "sketches")
    assert code == 0
    assert "run: the report shows no mistakes, the run was evaluated on other images" in err


def test_no_run_and_missing_run_are_rejected(cli):
    assert "name at least one" in cli.fails(2, "report")
    assert "no such run folder" in cli.fails(2, "report", "nowhere")


def test_link_to_itself_is_no_run_folder(cli):
    Path("loop").symlink_to("loop")
    assert "no such run folder" in cli.fails(2, "report", "loop")


def test_run_given_twice_is_rejected(cli, trained):
    assert "given twice" in cli.fails(2, "report", trained, Path(trained).resolve())


def test_runs_in_different_folders_need_an_output_folder(cli, trained):
    Path("deeper").mkdir()
    shutil.copytree(trained, "deeper/run")
    assert "--out" in cli.fails(2, "report", trained, "deeper/run")
    cli.ok("report", trained, "deeper/run", "--out", "both")
    assert "deeper/run" in Path("both/report.html").read_text()


def test_damaged_metrics_are_rejected(cli, trained):
    Path(trained, "metrics.json").write_text("{}")
    assert "metrics.json: damaged" in cli.fails(1, "report", trained)


def test_unfinished_run_is_rejected(cli, trained):
    Path(trained, "metrics.json").unlink()
    assert "run: not finished; resume it with --resume run" in cli.fails(1, "report", trained)
