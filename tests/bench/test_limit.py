"""The machine's limit: the fastest matrix product, and how busy the processor is."""

import pytest
import torch

from fashioncnn.bench import limit as module
from fashioncnn.bench.limit import Limit, call_times

CPU = torch.device("cpu")


@pytest.mark.parametrize(("has_bf16", "precision"), [(True, "bf16"), (False, "fp32")])
def test_limit_is_measured_in_the_precision_of_the_hardware(monkeypatch, has_bf16, precision):
    monkeypatch.setattr(module, "has_bf16", lambda device: has_bf16)
    dtypes, multiply = set(), torch.mm

    def record(left, right, out):
        dtypes.add(left.dtype)
        return multiply(left, right, out=out)

    monkeypatch.setattr(torch, "mm", record)
    limit = Limit(CPU)
    assert limit.measure(0) > 0
    assert limit.as_dict()["limit_precision"] == precision
    assert dtypes == {torch.bfloat16 if has_bf16 else torch.float32}


def test_limit_is_the_fastest_product_of_all_rounds(monkeypatch):
    times = iter([[0.5, 0.25], [1.0]])
    monkeypatch.setattr(module, "call_times", lambda call, seconds: next(times))
    limit = Limit(CPU)
    assert limit.measure(1) == pytest.approx(2 * 64**3 / 0.25 / 1e9)
    limit.measure(1)
    assert limit.as_dict()["limit_gflops"] == pytest.approx(2 * 64**3 / 0.25 / 1e9)
    assert len(limit.as_dict()["limit_rounds"]) == 2
    assert limit.fraction(100, 64**3 * 2) == pytest.approx(25)


@pytest.mark.parametrize(
    ("cpu_seconds", "granted", "fraction"),
    [(1.0, None, 0.5), (2.0, None, 1.0), (3.0, None, 1.0), (1.0, 1.25, 0.8)],
)
def test_cpu_time_below_that_of_all_threads_shows_a_busy_machine(
    monkeypatch, cpu_seconds, granted, fraction
):
    walls, cpu = iter([0.0, 1.0]), iter([0.0, cpu_seconds])
    monkeypatch.setattr(module, "available_cores", lambda: 2)
    monkeypatch.setattr(module, "granted_cores", lambda: granted)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    monkeypatch.setattr(Limit, "_fastest", lambda self, side, seconds: 100.0)
    monkeypatch.setattr(module.time, "perf_counter", lambda: next(walls))
    monkeypatch.setattr(module.time, "process_time", lambda: next(cpu))
    limit = Limit(CPU)
    limit.measure(1)
    assert limit.as_dict()["processor_share"] == fraction


def test_calls_are_repeated_for_the_time_and_at_least_once(monkeypatch):
    calls = []
    assert len(call_times(lambda: calls.append(1), 0)) == len(calls) == 1
    clock = iter(range(100))
    monkeypatch.setattr(module.time, "perf_counter", lambda: next(clock))
    # The clock is read at the start, before and after each call, and to decide about another one.
    assert call_times(lambda: None, 7) == [1, 1, 1]
