"""Selection of precision and kernels by measurement."""

import pytest
import torch
from torch import nn

from fashioncnn.config import override, resolve
from fashioncnn.kernels import load_kernels, unavailable_reason
from fashioncnn.models import kernels_of
from fashioncnn.models.custom import as_custom_network
from fashioncnn.settings import FashionCNNConfig, RuntimeConfig
from fashioncnn.training import prepare, selection
from fashioncnn.training.initialize import create_state
from fashioncnn.training.prepare import prepare_resumed, prepare_settings
from fashioncnn.training.selection import fastest_candidate

NATIVE, MIXED, FP32 = ("bf16", "native"), ("bf16", "mixed"), ("fp32", "native")
TORCH = ("bf16", "torch"), ("fp32", "torch")
NETWORK = FashionCNNConfig(channels=(4,), hidden=8)


class Flat(nn.Sequential):
    """A network of a user."""

    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(784, 10))


@pytest.fixture(autouse=True)
def _measure_again():
    fastest_candidate.cache_clear()
    yield
    fastest_candidate.cache_clear()


@pytest.fixture
def native(compiled):
    if unavailable_reason():
        pytest.skip("no compiled kernels on this machine")
    return load_kernels()


@pytest.fixture
def seconds(monkeypatch):
    """Return a dictionary of the seconds that a measurement of each candidate gives."""
    values = {NATIVE: [1.0], MIXED: [1.0], FP32: [1.0]}

    def measure(network, candidate, images):
        values[candidate].append(values[candidate].pop(0))
        return values[candidate][-1]

    monkeypatch.setattr(selection, "_seconds", measure)
    return values


def select(*candidates):
    return fastest_candidate(candidates, NETWORK, 3, 1, 8, 16, torch.get_num_threads())


@pytest.mark.parametrize(
    ("mixed", "fp32", "expected"),
    [
        ([0.96], [0.97], NATIVE),
        ([0.9], [1.1], MIXED),
        ([0.9], [0.8], FP32),
        ([3.0, 0.9, 0.9, 0.9, 9.0, 9.0], [1.0], MIXED),  # the first does not count
        ([0.1, 0.1, 0.1, 1.1, 1.1, 1.1], [1.0], NATIVE),
    ],
    ids=["within the margin", "mixed", "fp32", "median", "minority"],
)
def test_the_first_is_selected_unless_another_is_clearly_faster(seconds, mixed, fp32, expected):
    seconds.update({MIXED: mixed, FP32: fp32})
    assert select(NATIVE, MIXED, FP32) == expected


def test_a_measurement_leaves_the_random_numbers_unchanged(native):
    state = torch.get_rng_state()
    assert select(NATIVE, MIXED, FP32) in (NATIVE, MIXED, FP32)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_network_is_measured_once(seconds):
    assert select(NATIVE, MIXED) == NATIVE
    seconds[MIXED] = [0.1]
    assert select(NATIVE, MIXED) == NATIVE
    torch.set_num_threads(2)
    assert select(NATIVE, MIXED) == MIXED, "once per number of threads"


@pytest.fixture
def candidates(monkeypatch, native):
    """Return the list of candidates that are measured; the last one of them is selected."""
    seen = []

    def fastest(given, *_):
        seen.append(given)
        return given[-1]

    monkeypatch.setattr(prepare, "fastest_candidate", fastest)
    monkeypatch.setattr("fashioncnn.devices.has_bf16", lambda device: True)
    monkeypatch.setattr(native, "bf16_convolutions", True)
    return seen


def settings_with(**flags):
    return resolve("baseline", flags={"device": "cpu", "epochs": 1, **flags})


@pytest.mark.parametrize(
    ("flags", "measured"),
    [
        ({"precision": "fp32"}, []),
        ({"precision": "bf16", "kernels": "torch"}, []),
        ({"precision": "bf16", "kernels": "mixed"}, []),
        ({"precision": "bf16", "kernels": "native"}, []),
        ({"precision": "bf16", "kernels": "auto"}, [(NATIVE, MIXED)]),
        ({"precision": "auto", "kernels": "native"}, [(NATIVE, FP32)]),
        ({"precision": "auto", "kernels": "mixed"}, [(MIXED, ("fp32", "mixed"))]),
        ({"precision": "auto", "kernels": "torch"}, [TORCH]),
        ({"precision": "auto", "kernels": "auto"}, [(NATIVE, MIXED, FP32)]),
    ],
    ids=str,
)
def test_only_what_is_requested_as_auto_is_measured(mini, candidates, flags, measured):
    runtime = prepare_settings(settings_with(**flags), mini).runtime
    assert candidates == measured
    if measured:
        assert (runtime.precision, runtime.kernels) == measured[0][-1]


def test_without_bf16_convolutions_native_is_not_measured_against_mixed(
    mini, candidates, native, monkeypatch
):
    monkeypatch.setattr(native, "bf16_convolutions", False)
    runtime = prepare_settings(settings_with(precision="bf16"), mini).runtime
    assert candidates == []
    assert (runtime.precision, runtime.kernels) == NATIVE


def test_precision_is_measured_without_native_kernels_too(mini, candidates, monkeypatch):
    monkeypatch.setattr("fashioncnn.devices.unavailable_reason", lambda: "no C compiler")
    runtime = prepare_settings(settings_with(precision="auto"), mini).runtime
    assert candidates == [TORCH]
    assert (runtime.precision, runtime.kernels) == TORCH[-1]


@pytest.mark.parametrize("slow", ["fp32", "bf16"])
def test_precision_of_a_custom_network_is_measured(mini, monkeypatch, slow):
    def measure(network, candidate, images):
        assert isinstance(network, Flat)
        assert images.shape == (32, 1, 28, 28)
        return 2.0 if candidate[0] == slow else 1.0

    monkeypatch.setattr(selection, "_seconds", measure)
    monkeypatch.setattr("fashioncnn.devices.has_bf16", lambda device: True)
    settings = settings_with(precision="auto")
    custom = as_custom_network(Flat)
    runtime = prepare_settings(settings, mini, custom=custom).runtime
    assert (runtime.precision, runtime.kernels) == (
        "bf16" if slow == "fp32" else "fp32",
        "torch",
    )


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_nothing_is_measured_for_a_gpu(candidates, device):
    requested = RuntimeConfig(precision="auto", kernels="auto")
    resolved = RuntimeConfig(device=device, precision="bf16", kernels="torch", threads=1)
    assert prepare._select_fastest(requested, resolved, pytest.fail) == resolved


@pytest.mark.parametrize("kernels", ["native", "mixed"])
def test_a_resumed_run_keeps_the_selection(mini, candidates, kernels):
    settings = prepare_settings(settings_with(precision="bf16", kernels=kernels), mini)
    candidates.clear()
    resumed = prepare_resumed(settings, mini)
    assert resumed == settings
    assert candidates == []
    state = create_state(resumed, mini.train, mini, torch.device("cpu"))
    assert kernels_of(state.network) == kernels


def test_a_run_resumed_without_native_kernels_uses_those_of_pytorch(mini, monkeypatch):
    settings = prepare_settings(settings_with(kernels="torch"), mini)
    settings = override(settings, {"runtime.kernels": "mixed"})
    monkeypatch.setattr("fashioncnn.devices.unavailable_reason", lambda: "no C compiler")
    assert prepare_resumed(settings, mini).runtime.kernels == "torch"
