import json
import sys
import time

import fashion_cnn
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import bench
import implementations
import measured_process
from implementations import Implementation, SkippedError
from measured_process import MeasuredProcess, busy_seconds

RATES = {
    "ours": ("fashioncnn", [400.0, 300.0, 500.0]),
    "keras": ("Keras", [200.0, 100.0, 500.0]),
}
PEER = """
import sys
sys.path.insert(0, {peers!r})
import protocol
options = protocol.make_parser("x").parse_args()
protocol.serve_rounds(options, "a peer", "fp32", (), lambda n: (128 * n, 0.01 * n))
"""


def result_of(rates, limit):
    entries = {
        name: {
            "name": title,
            "precision": "fp32",
            "versions": {"torch": "2"},
            "rounds": [{"images_per_second": r, "other_cores": 0.25} for r in values],
            "peak_memory_bytes": 5e8,
        }
        for name, (title, values) in rates.items()
    }
    entries["limit-fp32"] = {
        "name": "product",
        "precision": "fp32",
        "versions": {},
        "rounds": [{"gflops": gflops} for gflops in limit],
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
        "implementations": entries,
        "skipped": {"keras-bf16": "no instructions"},
    }


@pytest.fixture
def peer_script(tmp_path):
    path = tmp_path / "peer.py"
    path.write_text(PEER.format(peers=str(implementations.PEERS)))
    return path


def test_arithmetic_is_what_pytorch_counts():
    model = fashion_cnn.build_model()
    with FlopCounterMode(display=False) as counter:
        model(torch.rand(3, 1, 28, 28)).sum().backward()
    assert bench.megaflop_per_image() == pytest.approx(counter.get_total_flops() / 3 / 1e6)


def test_speedups_and_fractions_are_paired_by_round():
    result = result_of(RATES, [10.0, 20.0, 10.0])
    ours, keras = (result["implementations"][name] for name in RATES)
    assert bench.paired_speedups(ours, keras) == [2.0, 3.0, 1.0]
    # 400 · 20 MFLOP are 8 GFLOP of 10; then 6 of 20, and 10 of 10
    assert bench.fraction_of_limit(ours, [10.0, 20.0, 10.0], 20.0) == pytest.approx(0.8)


def test_table_lists_implementations_limit_load_and_skipped():
    text = bench.to_markdown(result_of(RATES, [10.0, 20.0, 10.0]))
    assert "| keras: Keras | 200 [100 – 500] | 2.00 [1.00 – 3.00] | 40% | 500 MB | " in text
    assert "Limit in fp32: 10 [10 – 20] GFLOP/s, 500 images per second" in text
    assert "Other programs used 0.25 [0.25 – 0.25] cores" in text
    assert "Skipped: keras-bf16, no instructions." in text


def test_table_of_a_recorded_result_is_rewritten(call, tmp_path):
    recorded = bench.RESULTS / "bench-2026-11-23.json"
    copy = tmp_path / recorded.name
    copy.write_bytes(recorded.read_bytes())
    assert "| 4.11 [3.56 – 5.02] | 27% |" in call(bench, "--table", copy)
    assert copy.with_suffix(".md").read_text() == recorded.with_suffix(".md").read_text()


def test_busy_seconds_include_this_process():
    before, cpu = busy_seconds(), time.process_time()
    if before is None:
        pytest.skip("no /proc")
    while time.process_time() - cpu < 0.3:
        pass
    assert busy_seconds() - before > 0.25


def test_rounds_last_as_long_as_requested_and_the_process_is_idle_between_them(peer_script):
    process = MeasuredProcess([sys.executable, str(peer_script), "throughput"])
    try:
        assert process.ready["name"] == "a peer"
        assert process.run_round(6.0)["seconds"] == pytest.approx(0.1)
        assert process.run_round(6.0)["seconds"] == pytest.approx(6.0)
        time.sleep(0.3)
        assert process.finish()["idle_cpu"] < 0.5
    finally:
        process.kill()


def test_failed_process_is_skipped_with_its_last_message():
    code = "import sys; sys.exit('first line\\nno such setting')"
    with pytest.raises(SkippedError, match=r"^exit status 1: no such setting$"):
        MeasuredProcess([sys.executable, "-c", code])


def test_unresponsive_process_is_killed(monkeypatch):
    monkeypatch.setattr(measured_process, "TIMEOUT", 0.2)
    with pytest.raises(SkippedError, match="exit status -9: no message"):
        MeasuredProcess([sys.executable, "-c", "input()"])


def test_bench_measures_in_rounds_and_records_what_it_skipped(
    call, monkeypatch, gzipped_data, peer_script, tmp_path
):
    monkeypatch.setattr(implementations, "has_bf16", lambda _: False)
    entries = {
        "ours": Implementation(str(peer_script), None),
        "keras": Implementation(str(peer_script), None, ("--no-such-flag",)),
        "keras-bf16": Implementation(str(peer_script), None, needs_bf16=True),
    }
    implementations.IMPLEMENTATIONS.clear()
    implementations.IMPLEMENTATIONS.update(entries)
    text = call(bench, "--rounds", 2, "--seconds", 0.5, "--threads", 1, "--results", tmp_path)
    (path,) = tmp_path.glob("bench-*.json")
    result = json.loads(path.read_text())
    assert list(result["implementations"]) == ["ours"]
    assert [r["seconds"] for r in result["implementations"]["ours"]["rounds"]] == [0.5, 0.5]
    assert result["skipped"]["keras-bf16"] == "this processor has no bfloat16 instructions"
    assert "unrecognized arguments" in result["skipped"]["keras"]
    assert path.with_suffix(".md").read_text().strip() == text.strip()


@pytest.fixture(autouse=True)
def _restore_implementations(monkeypatch):
    saved = dict(implementations.IMPLEMENTATIONS)
    yield
    implementations.IMPLEMENTATIONS.clear()
    implementations.IMPLEMENTATIONS.update(saved)


def test_environment_is_created_once_per_requirements(monkeypatch, tmp_path):
    commands = []

    class Done:
        returncode, stderr = 0, ""

    def run(command, **_):
        commands.append(command)
        (tmp_path / "pytorch").mkdir(exist_ok=True)
        return Done

    monkeypatch.setattr(implementations, "ENVIRONMENTS", tmp_path)
    monkeypatch.setattr(implementations.subprocess, "run", run)
    peer = Implementation("pytorch_memory.py", "pytorch")
    peer.prepare()
    peer.prepare()
    assert [command[2] for command in commands] == ["venv", "pip"]
    Done.returncode, Done.stderr = 1, "…\nno matching distribution"
    (tmp_path / "pytorch" / "requirements.txt").write_text("of another version")
    with pytest.raises(SkippedError, match=r"pytorch.txt cannot be installed: no matching"):
        peer.prepare()


class FakeProcess:
    """Fails in the last of `rounds`, or when it is asked for its last message."""

    def __init__(self, rounds, last=None):
        self.rounds, self.last = iter(rounds), last

    def run_round(self, seconds):
        return next(self.rounds)()

    def finish(self):
        return (self.last or fail)()


def fail():
    raise SkippedError("exit status -9: no message")


def test_an_implementation_that_fails_while_measured_leaves_the_others(capsys):
    running = {
        "ours": FakeProcess([lambda: {"x": 1}, lambda: {"x": 2}], dict),
        "keras": FakeProcess([lambda: {"x": 3}, fail]),
    }
    skipped = {}
    measurements = bench.run_rounds(running, skipped, 2, 1.0)
    assert measurements["ours"] == [{"x": 1}, {"x": 2}]
    assert list(running) == ["ours"]
    assert skipped == {"keras": "failed while measured, exit status -9: no message"}
    assert "keras: skipped: failed while measured" in capsys.readouterr().err
