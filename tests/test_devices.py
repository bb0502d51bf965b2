"""Devices, kernels, threads and the state of torch."""

import threading
from types import SimpleNamespace

import pytest
import torch

from fashioncnn import devices
from fashioncnn.devices import (
    autocast,
    configure_process,
    gpu_name,
    has_bf16,
    isolated_torch_state,
    one_thread,
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


@pytest.fixture
def two_threads():
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)


def new_threads_count():
    """Return the number of threads of a Python thread that begins to use torch."""
    counts = []

    def count():
        torch.ones(1).sum()
        counts.append(torch.get_num_threads())

    thread = threading.Thread(target=count)
    thread.start()
    thread.join()
    return counts[0]


def test_one_thread_is_restored(two_threads):
    with one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2
    with pytest.raises(KeyError), one_thread():
        raise KeyError
    assert torch.get_num_threads() == 2


def test_one_thread_is_that_of_the_caller_only(two_threads):
    if devices._openmp() is None:
        pytest.skip("this build of PyTorch has other libraries of threads")
    with one_thread():
        assert new_threads_count() == 2


def test_one_thread_without_access_to_openmp(two_threads, monkeypatch):
    monkeypatch.setattr(devices, "_openmp", lambda: None)
    with one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == new_threads_count() == 2


@pytest.fixture
def openmp(two_threads):
    """Return PyTorch's OpenMP, whose limits are restored after the test."""
    library = devices._openmp()
    if library is None:
        pytest.skip("this build of PyTorch has other libraries of threads")
    levels = library.omp_get_max_active_levels()
    yield library
    library.omp_set_max_active_levels(levels)
    library.omp_set_dynamic(0)


@pytest.mark.parametrize("limit", [("omp_set_dynamic", 1), ("omp_set_max_active_levels", 0)])
def test_fewer_threads_than_pytorch_expects_are_rejected(openmp, limit):
    """Its convolutions' gradients of the weights would be incorrect."""
    config = RuntimeConfig(device="cpu", kernels="torch")
    assert resolve_runtime(config).threads == 2
    name, value = limit
    getattr(openmp, name)(value)
    with pytest.raises(UsageError, match=r"threads = 2: OpenMP grants 1, .*use --threads 1"):
        resolve_runtime(config)
    torch.set_num_threads(1)
    assert resolve_runtime(config).threads == 1


def test_limits_of_openmp_are_not_known_everywhere(two_threads, monkeypatch):
    monkeypatch.setattr(devices, "_openmp", lambda: None)
    assert resolve_runtime(RuntimeConfig(device="cpu", kernels="torch")).threads == 2


def test_one_thread_without_mkl(two_threads, monkeypatch, openmp):
    library = SimpleNamespace(omp_set_num_threads=openmp.omp_set_num_threads)
    monkeypatch.setattr(devices, "_openmp", lambda: library)
    with one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2
