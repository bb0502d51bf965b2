"""``fashioncnn report``."""

import csv
import json
import shutil
from pathlib import Path

import pytest

from .conftest import QUICK


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


def test_run_without_an_evaluated_split_is_reported_as_such(cli, idx_folder):
    """As after fine-tuning on a few images; it was called a damaged file."""
    cli.ok("train", *QUICK, "--no-track-test", "--data", idx_folder, "--out", "r")
    code, _, err = cli("report", "r")
    assert code == 0
    expected = (
        "r: the report shows no mistakes, no split was evaluated; evaluate one with: fashioncnn"
    )
    assert f"{expected} evaluate r\n" in err
    assert "damaged" not in err


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


@pytest.fixture
def group(trained):
    """A group of two runs with the seeds 0 and 4, and different models."""
    Path("g_1").mkdir()
    Path("g_1/group.toml").write_text("schema = 2\nseeds = [0, 4]\n")
    for seed, accuracy in ((0, 0.5), (4, 0.7)):
        shutil.copytree(trained, f"g_1/seed-{seed}")
        config, metrics = (
            Path(f"g_1/seed-{seed}/config.toml"),
            Path(f"g_1/seed-{seed}/metrics.json"),
        )
        config.write_text(config.read_text().replace("seed = 0", f"seed = {seed}"))
        content = json.loads(metrics.read_text())
        content["test"]["accuracy"] = accuracy
        metrics.write_text(json.dumps({**content, "checksum": None, "sha256": None}))
    return "g_1"


def test_report_of_a_group_is_written_into_its_folder(cli, group):
    assert cli.ok("report", group).strip() == "g_1/report.html"
    text = Path("g_1/report.md").read_text()
    assert "### Mean over seeds" in text
    assert "60.00 ± 14.14%" in text
    assert "seed-0; seed-4" in text


def test_group_and_run_are_shown_side_by_side(cli, group, trained):
    assert cli.ok("report", group, trained, "--out", "both").strip() == "both/report.html"
    assert "| g_1/seed-4 | 70.00% |" in Path("both/report.md").read_text()


def test_run_of_a_group_that_is_given_too_is_rejected(cli, group):
    assert "the same run is given twice" in cli.fails(2, "report", group, "g_1/seed-4")


def test_unfinished_group_is_rejected(cli, group):
    Path("g_1/seed-4/metrics.json").unlink()
    assert cli.fails(2, "report", group) == (
        "fashioncnn: g_1: seed-4 not finished; resume with: fashioncnn train --resume g_1"
    )


def test_csv_has_a_row_per_group(cli, group):
    (row,) = csv.DictReader(cli.ok("report", group, "--format", "csv").splitlines())
    assert (row["settings"], row["n"], row["seeds"]) == ("baseline", "2", "0 4")
    assert (row["dataset"], row["split"]) == ("own", "test")
    assert float(row["accuracy_mean"]) == pytest.approx(0.6)
    assert float(row["accuracy_sd"]) == pytest.approx(0.2 / 2**0.5)
    half = 12.706204736 * 0.1  # t quantile for one degree of freedom
    assert float(row["accuracy_ci95_high"]) == pytest.approx(0.6 + half)
    assert row["runs"] == "seed-0; seed-4"


def test_csv_has_a_row_per_run(cli, group, trained):
    rows = csv.DictReader(
        cli.ok("report", group, trained, "--format", "csv", "--rows", "runs").splitlines()
    )
    rows = list(rows)
    assert [row["run"] for row in rows] == ["g_1/seed-0", "g_1/seed-4", "run"]
    assert [row["seed"] for row in rows] == ["0", "4", "0"]
    assert float(rows[1]["accuracy"]) == 0.7


def test_csv_of_a_single_run_has_no_spread(cli, trained):
    (row,) = csv.DictReader(cli.ok("report", trained, "--format", "csv").splitlines())
    assert (row["n"], row["accuracy_sd"], row["accuracy_ci95_low"]) == ("1", "", "")


def test_latex_is_a_booktabs_table_with_escaped_names(cli, group):
    out = cli.ok("report", group, "--format", "latex", "--rows", "runs")
    lines = out.splitlines()
    assert lines[1:3] == [r"\begin{tabular}{lrrrrrllr}", r"\toprule"]
    assert lines[-2:] == [r"\bottomrule", r"\end{tabular}"]
    assert r"60.00 $\pm$ 14.14\%" in cli.ok("report", group, "--format", "latex")
    both = cli.ok("report", group, "run", "--format", "latex", "--rows", "runs")
    assert r"g\_1/seed-4 & 70.00\% & " in both


def test_markdown_is_printed(cli, group):
    out = cli.ok("report", group, "--format", "md")
    assert out.startswith("# fashioncnn report: 2 runs")
    assert not Path("g_1/report.html").exists()


@pytest.mark.parametrize(("out", "path"), [("x.csv", "x.csv"), ("folder", "folder/report.csv")])
def test_table_is_written_to_a_file(cli, trained, out, path):
    Path("folder").mkdir()
    printed = cli.ok("report", trained, "--format", "csv")
    assert cli.ok("report", trained, "--format", "csv", "--out", out) == ""
    assert Path(path).read_text() == printed


def test_runs_that_were_not_evaluated_are_reported(cli, trained):
    metrics = Path(trained, "metrics.json")
    content = json.loads(metrics.read_text())
    metrics.write_text(json.dumps({**content, "checksum": None, "test": None, "validation": None}))
    code, out, err = cli("report", trained, "--format", "csv")
    assert (code, out) == (2, "")
    assert "run: skipped, it was not evaluated on any split" in err
    assert "no run was evaluated; run fashioncnn evaluate" in err


@pytest.mark.parametrize("option", [["--rows", "runs"], ["--format", "csv", "--data", "sketches"]])
def test_option_without_effect_is_rejected(cli, trained, option):
    assert "has an effect on --format" in cli.fails(2, "report", trained, *option)
