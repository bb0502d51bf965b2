import pytest

pytest.importorskip("ray", reason="needs the extra [ray]")

import ray_predict

MEASURED = {
    "images": 1000,
    "variants": {
        "plain": [
            {"start_seconds": 1.0, "seconds": seconds, "peak_resident_bytes": 300_000_000}
            for seconds in (5.0, 6.0, 3.0)
        ],
        "auto": [{"start_seconds": 9.0, "seconds": 13.0, "peak_resident_bytes": 1_234_000_000}],
    },
    "coordinator": {
        "listed_per_second": 50000.4,
        "verified_per_second": 200000.2,
        "input_bytes_per_image": 2.75,
        "part_bytes_per_image": 47.04,
    },
}


def test_table_has_rates_with_and_without_the_start():
    lines = ray_predict.to_markdown(MEASURED).splitlines()
    assert lines[2] == "| plain | 1.0 | 200 (167 – 333) | 250 (200 – 500) | 300 MB | 3 |"
    assert lines[3] == "| auto | 9.0 | 77 (77 – 77) | 250 (250 – 250) | 1,234 MB | 1 |"
    assert lines[5] == (
        "The command alone lists 50,000 images per second and verifies 200,000; an image takes 2.8 "
        "bytes in the lists and 47.0 in the parts."
    )


def test_memory_of_child_processes_is_counted(tmp_path):
    import subprocess
    import sys

    code = "x = bytearray(200 << 20); print(flush=True); input()"
    before = ray_predict.resident_bytes()
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        child.stdout.readline()
        assert ray_predict.resident_bytes() - before > 150 << 20
        child.communicate(b"\n")
