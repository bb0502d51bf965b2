import sys
import time

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

ROWS = {
    "ours": ("fashioncnn", [400.0, 300.0, 500.0]),
    "keras": ("Keras", [200.0, 100.0, 500.0]),
}


def result_of(rows, limit):
    contestants = {
        name: {
            "name": title,
            "precision": "fp32",
            "versions": {"torch": "2"},
            "rounds": [{"images_per_second": r, "other_cores": 0.25} for r in rates],
            "peak_memory_bytes": 5e8,
        }
        for name, (title, rates) in rows.items()
    }
    contestants["limit-fp32"] = {
        "name": "product",
        "precision": "fp32",
        "versions": {},
        "rounds": [{"gflops": g} for g in limit],
        "peak_memory_bytes": 1e8,
    }
    machine = {"cpu": "a cpu", "cores": 2, "threads": 2, "bf16": False, "load_before": 0.0}
    return {
        "date": "2026-01-02",
        "command": "python benchmarks/bench.py",
        "machine": machine,
        "batch_size": 128,
        "megaflop_per_image": 20.0,
        "rounds": 3,
        "seconds_per_round": 6.0,
        "reference": "ours",
        "contestants": contestants,
        "left_out": {"keras-bf16": "no instructions"},
    }


def test_the_arithmetic_is_what_torch_counts():
    import pytorch_memory

    import bench

    model = pytorch_memory.build_model()
    with FlopCounterMode(display=False) as counter:
        model(torch.rand(3, 1, 28, 28)).sum().backward()
    assert bench.megaflop_per_image() == pytest.approx(counter.get_total_flops() / 3 / 1e6)


def test_ratios_and_shares_are_paired_by_round():
    import bench

    result = result_of(ROWS, [10.0, 20.0, 10.0])
    ours, keras = (result["contestants"][name] for name in ROWS)
    assert bench.paired_ratios(ours, keras) == [2.0, 3.0, 1.0]
    # 400 · 20 MFLOP = 8 GFLOP of 10, 6 of 20, 10 of 10
    assert bench.limit_share(ours, [10.0, 20.0, 10.0], 20.0) == pytest.approx(0.8)


def test_the_table_tells_every_contestant_the_limit_and_who_is_left_out():
    import bench

    text = bench.to_markdown(result_of(ROWS, [10.0, 20.0, 10.0]))
    assert "| keras: Keras | 200 [100 – 500] | 2.00 [1.00 – 3.00] | " in text
    assert "The limit in fp32: 10 [10 – 20] GFLOP/s, 500 images per second" in text
    assert "other programs kept 0.25 [0.25 – 0.25] cores busy" in text
    assert "Left out: keras-bf16, no instructions." in text


PEER = """
import sys
sys.path.insert(0, {peers!r})
import common
options = common.make_parser("x").parse_args(["throughput"])
common.serve_rounds(options, "x", "fp32", (), lambda n: (128 * n, 0.01 * n))
"""


def test_busy_seconds_count_the_work_of_this_process():
    import bench

    before, cpu = bench.busy_seconds(), time.process_time()
    if before is None:
        pytest.skip("the system does not tell")
    while time.process_time() - cpu < 0.3:
        pass
    assert bench.busy_seconds() - before > 0.25


def test_a_process_is_asked_for_rounds_as_long_as_wanted():
    import bench
    import contestants

    process = bench.Process([sys.executable, "-c", PEER.format(peers=str(contestants.PEERS))])
    try:
        assert process.ready["ready"] is True
        assert process.round(6.0)["seconds"] == pytest.approx(0.1)
        assert process.round(6.0)["seconds"] == pytest.approx(6.0)
        time.sleep(0.5)  # it waits, long enough to measure
        assert process.finish()["idle_cpu"] < 0.5, "it was busy while it waited for its turn"
    finally:
        process.kill()


def test_a_contestant_that_fails_is_left_out_with_its_last_words():
    import bench
    from contestants import LeftOutError

    code = "import sys; sys.exit('first line\\nno such setting')"
    with pytest.raises(LeftOutError, match=r"^ended with 1: no such setting$"):
        bench.Process([sys.executable, "-c", code])
