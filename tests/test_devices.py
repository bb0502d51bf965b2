"""Devices, kernels, threads and the state of torch."""

import pytest
import torch

from fashioncnn import devices
from fashioncnn.devices import (
    autocast,
    configure_process,
    gpu_name,
    has_bf16,
    isolated_torch_state,
    report_out_of_memory,
    resolve_device,
    resolve_kernels,
    resolve_runtime,
)
from fashioncnn.errors import OutOfMemoryError, UsageError
from fashioncnn.settings import RuntimeConfig

from .torch_state import describe_state

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("cuda", "mps", "device"),
    [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_auto_prefers_cuda_then_mps(monkeypatch, cuda, mps, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert resolve_device("auto") == torch.device(device)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gpu", "device = gpu: should be"),
        ("cuda", "device = cuda: no such GPU"),
        ("cuda:3", r"device = cuda:3: no such GPU \(0 available\); try --device cpu"),
        ("mps", "device = mps: not available"),
    ],
)
def test_missing_device_is_rejected(monkeypatch, name, message):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(UsageError, match=message):
        resolve_device(name)


def test_existing_gpu_is_accepted_by_its_number(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert resolve_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(UsageError, match=r"cuda:2: no such GPU \(2 available\)"):
        resolve_device("cuda:2")


def test_gpu_name_of_the_cpu_is_none():
    assert gpu_name(CPU) is None


@pytest.mark.parametrize(("flags", "expected"), [({"avx512_bf16"}, True), ({"avx2"}, False)])
def test_bf16_depends_on_the_features_of_the_processor(monkeypatch, flags, expected):
    monkeypatch.setattr(devices, "cpu_flags", lambda: frozenset(flags))
    assert has_bf16(CPU) == expected
    config = RuntimeConfig(precision="auto", device="cpu", kernels="torch")
    assert resolve_runtime(config).precision == ("bf16" if expected else "fp32")


@pytest.mark.parametrize(
    ("reason", "auto"), [(None, "native"), ("no compiler", "torch")], ids=["native", "none"]
)
def test_auto_kernels_are_native_where_they_are_available(monkeypatch, reason, auto):
    monkeypatch.setattr(devices, "unavailable_reason", lambda: reason)
    assert resolve_kernels("auto", CPU) == auto
    assert resolve_kernels("torch", CPU) == "torch"
    assert resolve_kernels("auto", torch.device("cuda")) == "torch"
    with pytest.raises(UsageError, match="kernels = native: they need the CPU, not cuda"):
        resolve_kernels("native", torch.device("cuda"))
    if reason:
        with pytest.raises(UsageError, match="kernels = native: no compiler; try --kernels torch"):
            resolve_kernels("native", CPU)


def test_resolved_runtime_has_values(monkeypatch):
    monkeypatch.setattr(devices, "unavailable_reason", lambda: "no compiler")
    resolved = resolve_runtime(RuntimeConfig())
    assert "auto" not in resolved.model_dump().values()
    assert resolved.threads == torch.get_num_threads() == 1
    with pytest.raises(UsageError, match=r"threads = 2: this process uses 1; call torch\.set_num"):
        resolve_runtime(RuntimeConfig(threads=2))


def test_process_is_configured_for_the_command_line(monkeypatch):
    calls = []
    monkeypatch.setattr(devices, "configure_allocator", lambda: calls.append("allocator"))
    monkeypatch.setattr(torch, "set_num_threads", calls.append)
    monkeypatch.setattr(devices, "available_cores", lambda: 7)
    monkeypatch.setattr(devices, "default_threads", lambda: 5)
    configure_process(3)
    configure_process("auto")
    assert calls == [3, "allocator", 5, "allocator"]


@pytest.mark.parametrize(("processes", "expected"), [(2, 3), (9, 1)])
def test_processes_of_torchrun_divide_the_cores(monkeypatch, processes, expected):
    """Torchrun sets OMP_NUM_THREADS to 1, which the user did not ask for."""
    calls = []
    monkeypatch.setattr(torch, "set_num_threads", calls.append)
    monkeypatch.setattr(devices, "available_cores", lambda: 7)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    configure_process("auto", processes)
    configure_process(5, processes)
    assert calls == [expected, 5]


@pytest.fixture
def float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("error", [None, ZeroDivisionError])
def test_isolated_block_has_default_settings_and_restores_those_of_the_caller(float64, error):
    default = None
    with isolated_torch_state():
        default = describe_state()
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        before = describe_state()
        try:
            with isolated_torch_state():
                inside = describe_state()
                torch.manual_seed(1)
                torch.set_default_dtype(torch.float16)
                if error:
                    raise error
        except ZeroDivisionError:
            pass
        assert describe_state() == before
    assert inside == default
    defaults = {
        "dtype": torch.float32,
        "grad": True,
        "inference": False,
        "autocast": False,
        "cudnn": (True, False),
    }
    assert inside | defaults == inside


@pytest.mark.parametrize(
    ("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)]
)
def test_autocast_has_the_given_precision_inside_another_autocast(precision, dtype):
    layer = torch.nn.Linear(2, 2)
    with torch.autocast("cpu", torch.float16), autocast(CPU, precision):
        assert layer(torch.ones(1, 2)).dtype == dtype


def test_autocast_does_not_keep_weights_of_earlier_steps():
    layer = torch.nn.Linear(1, 1, bias=False)
    with torch.autocast("cpu", torch.bfloat16):
        outputs = []
        for value in (1.0, 2.0):
            torch.nn.init.constant_(layer.weight, value)
            with autocast(CPU, "bf16"):
                outputs.append(layer(torch.ones(1, 1)).item())
    assert outputs == [1.0, 2.0]


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
    ],
    ids=["gpu", "cpu"],
)
def test_lack_of_memory_is_reported_with_a_remedy(error):
    message = "training: not enough memory on cpu; try a smaller --batch-size"
    with (
        pytest.raises(OutOfMemoryError, match=message),
        report_out_of_memory("training", CPU, "a smaller --batch-size"),
    ):
        raise error


def test_other_errors_are_not_reported_as_a_lack_of_memory():
    with pytest.raises(RuntimeError, match="shapes"), report_out_of_memory("x", CPU, "y"):
        raise RuntimeError("shapes do not match")
