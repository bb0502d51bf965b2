import pytest

import photo_speed
from common import ROOT
from predict import create_photos

MEASURED = {
    "reference": [
        {"decode": 5.0, "views": 160.0, "network": 12.0, "images_per_second": rate}
        for rate in (12.0, 14.0, 13.0)
    ],
    "this version": [{"decode": 4.0, "views": 8.0, "network": 12.0, "images_per_second": 50.0}],
}


def test_table_has_medians_and_the_range_of_the_throughput():
    table = photo_speed.to_markdown(MEASURED).splitlines()
    assert table[2] == "| reference | 5.0 | 160.0 | 12.0 | 177.0 | 13.0 (12.0 – 14.0) |"
    assert table[3] == "| this version | 4.0 | 8.0 | 12.0 | 24.0 | 50.0 (50.0 – 50.0) |"


@pytest.mark.slow
def test_this_checkout_is_measured_in_its_own_processes(tmp_path):
    create_photos(tmp_path / "jpg", photo_speed.WARM_UP + 1)
    measured = photo_speed.measure_in_turns({"this version": ROOT}, tmp_path / "jpg", rounds=1)
    (only,) = measured["this version"]
    assert all(only[stage] > 0 for stage in photo_speed.STAGES)
    assert only["images_per_second"] > 0


def test_failure_of_a_checkout_is_reported(tmp_path):
    with pytest.raises(SystemExit, match="predict failed with status 2"):
        photo_speed.measure(ROOT, "folder", tmp_path / "missing")


def test_reference_without_the_package_is_rejected(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["photo_speed.py", "--reference", str(tmp_path)])
    with pytest.raises(SystemExit, match="no src/fashioncnn"):
        photo_speed.main()
