"""The comparison of ONNX Runtime and PyTorch."""

import backends


def test_both_backends_are_measured(call, monkeypatch):
    monkeypatch.setattr(backends, "CALLS", 3)
    monkeypatch.setattr(backends, "PROCESS_MODELS", ("accurate",))
    output = call(backends, "--rounds", "1", "--skip-install")
    assert output.count("| onnx |") == output.count("| torch |") == 1
    assert "| accurate, onnx |" in output
    assert "| accurate, torch |" in output


def test_latencies_are_in_milliseconds():
    assert backends._percentiles_ms([0.001, 0.002, 0.003]) == {
        "n": 3,
        "ms_p50": 2.0,
        "ms_p99": 2.98,
        "ms_min": 1.0,
    }
