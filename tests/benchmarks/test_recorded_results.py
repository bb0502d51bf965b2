"""Tables of docs/RESULTS.md, reproduced from the recorded results."""

import pytest

import fit_baseline
import results_table
import seeds
import studies
import subsets
import tuning_gain


def row_of(table, title):
    (row,) = [line for line in table.splitlines() if line.startswith(f"| {title} |")]
    return [cell.strip() for cell in row.strip("|").split("|")]


def test_bundled_recipes(call):
    table = call(results_table)
    assert row_of(table, "`fast93`")[5:8] == ["10", "93.32 ± 0.10%", "92.81 – 93.79%"]
    assert row_of(table, "`baseline`")[-1] == "–", "flip TTA was not evaluated"
    assert "accurate-75" not in table


def test_experiments_on_request(call):
    assert row_of(call(results_table, "accurate-75"), "`accurate-75`")[5] == "2"
    table = call(results_table, "--all")
    assert row_of(table, "`accurate-flip-equivariant`")[-1] == "the same"


def test_unknown_folder_is_rejected_with_the_known_ones(call, capsys):
    with pytest.raises(SystemExit):
        call(results_table, "fast92")
    assert "fast92: no recorded seeds (available: accurate, " in capsys.readouterr().err


def test_published_results_of_fashion_cnn(call):
    table = call(seeds, "--table")
    row = row_of(table, "final test accuracy")
    assert row[1:] == ["92.69%", "92.57 ± 0.21%", "92.38 – 92.93%", "+0.5"]
    assert row_of(table, "honest")[1:4] == ["11–14", "5", "92.08 ± 0.08%"]


def test_paired_comparison(call):
    table = call(seeds, "--compare", "baseline", "baseline-native")
    assert row_of(table, "test accuracy")[3:] == ["-0.08 [-0.26, +0.09]", "0.26"]


def test_candidates_of_the_baseline(call):
    assert row_of(call(fit_baseline, "--table"), "k3-p1-h256")[-2:] == ["3.5", "6.8"]


def test_subset(call):
    assert row_of(call(subsets, "--table"), "`medium`")[3:6] == ["10,000", "3", "47"]


def test_study_with_several_seeds(call):
    tables = call(studies, "networks", "--epochs", 8, "--table")
    overall, by_class = tables.split("\n\n")
    row = row_of(overall, "512 hidden units")
    assert row[1:4] == ["3", "0.2219 ± 0.0036", "-0.0159 [-0.0167, -0.0150]"]
    assert row_of(overall, "none")[7] == "72.6%"
    assert row_of(by_class, "twice the width")[1] == "+0.6"


def test_study_with_one_seed(call):
    tables = call(studies, "accurate-study", "--epochs", 12, "--table", "--only", "deeper")
    assert row_of(tables.split("\n\n")[0], "deeper")[3:5] == ["-0.0088", "0.1667"]


def test_unknown_variant_is_rejected_with_the_known_ones(call, capsys):
    with pytest.raises(SystemExit):
        call(studies, "residual", "--only", "hue")
    assert "--only hue: no such variant (available: brightness, " in capsys.readouterr().err


def test_tuning(call):
    table = call(tuning_gain, "--table")
    row = row_of(table, "tpe")
    assert row[1:6] == ["43", "0.1867", "5", "93.00 ± 0.14%", "+0.42 [+0.15, +0.69]"]
    assert "TPE minus random search: +0.63 [+0.45, +0.82]." in table
